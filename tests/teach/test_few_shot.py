"""What is made for a teacher that only answers: blends, drawn pictures, and what it is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from autostudent.errors import ConfigError
from autostudent.teach.cvae import CVAE, train_cvae
from autostudent.teach.few_shot import Synthesis, blended, places, synthesised


def drawn(count: int = 40) -> Tensor:
    return torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_blends_lie_between_two_pictures_which_are_used_equally_often() -> None:
    x = torch.zeros(5, 1, 1, 5, dtype=torch.uint8)
    x[range(5), 0, 0, range(5)] = 200  # each picture has a pixel of its own
    mixed, share = blended(x, 1000, 1.0, np.random.default_rng(0))

    assert mixed.shape == (1000, 1, 1, 5)
    assert torch.equal(share, (share * 100).round() / 100)
    assert torch.allclose(mixed.sum((1, 2, 3)).float(), torch.full((1000,), 200.0), atol=1.01)
    assert (mixed.gt(0).sum((1, 2, 3)) <= 2).all()
    larger = mixed.flatten(1).amax(1).float() / 200
    assert torch.allclose(torch.maximum(share, 1 - share).float()[larger < 1], larger[larger < 1], atol=0.01)
    weight = mixed.float().sum((0, 1, 2))
    assert (weight / weight.mean() - 1).abs().max() < 0.1
    assert 0.06 < (torch.minimum(share, 1 - share) <= 0.05).double().mean() < 0.15  # a tenth for an even λ


def test_every_class_has_normal_and_even_places() -> None:
    z, label = places(403, np.array([0, 2, 3]), 2, np.random.default_rng(0))

    assert sorted(label.unique(return_counts=True)[1].tolist()) == [134, 134, 135]
    assert label.unique().tolist() == [0, 2, 3]
    for one in (0, 2, 3):
        own = z[label == one]
        assert own.abs().max() > 2.5
        in_turn = own.split(1)
        normal, even = torch.cat(in_turn[::2]), torch.cat(in_turn[1::2])
        assert even.abs().max() <= 3
        assert 0.8 < normal.std() < 1.2
        assert 1.5 < even.std() < 2  # √3


def test_the_pool_is_what_the_teacher_was_asked_about_once() -> None:
    asked: list[Tensor] = []

    def ask(x: Tensor) -> Tensor:
        asked.append(x)
        bright = x.float().mean((1, 2, 3)) / 255
        return torch.stack([1 - bright, bright], 1)

    x = torch.cat([drawn(20) // 4, 255 - drawn(20) // 4])
    pool = synthesised(x, ask, Synthesis(200, epochs=3))
    real, blends, by_hand = pool.counts

    assert (real, blends + by_hand) == (40, 200)
    assert by_hand > 5
    assert torch.equal(torch.cat(asked), pool.x)
    assert torch.equal(pool.x[:40], x)
    assert torch.equal(pool.labels[:40], torch.arange(40) // 20)
    assert torch.equal(pool.probabilities, ask(pool.x))
    assert pool.x.dtype == torch.uint8
    again = synthesised(x, ask, Synthesis(200, epochs=3))
    assert torch.equal(again.x, pool.x)
    assert not torch.equal(synthesised(x, ask, Synthesis(200, epochs=3), seed=1).x[40:140], pool.x[40:140])


def test_without_the_vae_dropped_blends_are_missing() -> None:
    pool = synthesised(drawn(), lambda x: torch.full((len(x), 2), 0.5), Synthesis(200, drawn=False))
    assert pool.absent == 1  # an even answer is the first class
    assert pool.counts[2] == 0
    assert 150 < pool.counts[1] < 200
    assert len(pool.x) == 40 + pool.counts[1]


def test_the_loss_of_the_vae_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    model, x, y = CVAE((1, 2, 3), 3).double(), torch.rand(4, 1, 2, 3).double(), torch.tensor([0, 1, 2, 2])
    noise = torch.randn(4, 2).double()
    classes = torch.eye(3).double()[y]
    mean, log_variance = model.encoder(torch.cat([x.flatten(1), classes], 1)).split(2, 1)
    spread = torch.distributions.Normal(mean, (log_variance / 2).exp())
    answer = torch.distributions.Bernoulli(
        logits=model.decoder(torch.cat([mean + spread.scale * noise, classes], 1)), validate_args=False
    )
    far = torch.distributions.kl_divergence(spread, torch.distributions.Normal(0.0, 1.0)).sum(1)

    assert torch.allclose(model.loss(x, y, noise), (far - answer.log_prob(x.flatten(1)).sum(1)).mean())


@pytest.mark.slow
def test_the_vae_draws_what_its_classes_look_like(digits) -> None:
    part = digits.train
    model = train_cvae(part.x, part.y, 10, epochs=60)
    means = torch.stack([part.x[part.y == label].float().mean(0) for label in range(10)])
    z, label = places(200, np.arange(10), 2, np.random.default_rng(0))
    near = torch.cdist(model.pictures(z, label).float().flatten(1), means.flatten(1)).argmin(1)

    assert (near == label).double().mean() > 0.8  # .1 by chance
    first, second = (train_cvae(part.x, part.y, 10, epochs=2).pictures(z, label) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("change", "key"), [({"pictures": 0}, "pictures"), ({"alpha": 0.0}, "alpha"), ({"discard": 0.5}, "discard")]
)
def test_numbers_that_mean_nothing_are_refused(change: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: "):
        Synthesis(**{"pictures": 10, **change})  # type: ignore[arg-type]
