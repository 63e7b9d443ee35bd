"""The losses on maps: numbers derived elsewhere, what they do not care about, and maps that have nothing to say."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from autostudent.distill import map_losses
from autostudent.measure.memory import Meter
from tests.distill.test_losses import GOLDEN, TS, S, T

Call = Callable[[Tensor, Tensor], Tensor]


def maps(x: Tensor) -> Tensor:
    """Rows as two channels of a row of pixels."""
    return x.reshape(len(x), 2, 1, -1)


def related(x: Tensor, others: tuple[Tensor, Tensor]) -> Tensor:
    return torch.stack((x, *(other.to(x.dtype)[: len(x), : x.shape[1]] for other in others)), 1)


DRAWN = torch.randn(2, 16, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def gram_distance(s: Tensor, t: Tensor) -> Tensor:
    first, second = (TS[1], TS[2]) if len(s) == 3 else DRAWN
    return map_losses.gram_distance(related(s, (first, second)), related(t, (second, first)))


CALLS: dict[str, Call] = {
    "hint": lambda s, t: map_losses.hint(maps(s), maps(t)),
    "attention_transfer": lambda s, t: map_losses.attention_transfer(maps(s), maps(t)),
    "similarity_preserving": lambda s, t: map_losses.similarity_preserving(maps(s), maps(t)),
    "relational_distance": map_losses.relational_distance,
    "relational_angle": map_losses.relational_angle,
    "gram_distance": gram_distance,
}
DIRECTIONS = ("attention_transfer", "similarity_preserving", "relational_distance", "relational_angle", "gram_distance")


def draw(seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(16, 10, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("name", CALLS)
def test_golden_numbers(name: str) -> None:
    golden = json.loads((GOLDEN / "losses.json").read_text())

    assert CALLS[name](S, T).tolist() == pytest.approx(golden[name], rel=1e-7)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_values_and_gradients_are_finite_and_one_a_sample(name: str, scale: float) -> None:
    student = draw(0, scale).requires_grad_()
    value = CALLS[name](student, draw(1, scale))
    value.sum().backward()

    assert value.shape == (16,)
    assert value.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("name", CALLS)
def test_equal_networks_have_nothing_to_learn_from_each_other(name: str) -> None:
    if name != "gram_distance":
        assert CALLS[name](draw(), draw()).abs().max() < 1e-12
    x = torch.randn(5, 3, 4)
    assert map_losses.gram_distance(x, x.clone()).abs().max() < 1e-12


@pytest.mark.parametrize("name", [name for name in CALLS if name != "gram_distance"])
def test_half_precision_is_widened(name: str) -> None:
    student, teacher = draw(0).bfloat16(), draw(1).bfloat16()
    half = CALLS[name](student, teacher)

    assert half.dtype == torch.float32
    assert torch.allclose(half, CALLS[name](student.float(), teacher.float()))


@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_scale_of_a_map_does_not_matter(name: str) -> None:
    student, teacher = draw(0).double(), draw(1).double()
    once = CALLS[name](student, teacher)

    assert torch.allclose(CALLS[name](7 * student, teacher), once)
    assert torch.allclose(CALLS[name](student, 0.1 * teacher), once)


def rotation(size: int) -> Tensor:
    random = torch.randn(size, size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return torch.linalg.qr(random)[0]


@pytest.mark.parametrize("name", ["relational_distance", "relational_angle"])
def test_relations_of_samples_do_not_change_when_the_space_is_turned_or_moved(name: str) -> None:
    student, teacher = draw(0).double(), draw(1).double()
    once = CALLS[name](student, teacher)

    assert torch.allclose(CALLS[name](student @ rotation(10) + 3, teacher), once)
    assert torch.allclose(CALLS[name](student, teacher @ rotation(10)), once)


@pytest.mark.parametrize("name", ["relational_distance", "relational_angle"])
def test_relations_of_large_batches_are_computed_in_pieces_with_the_same_gradients(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> tuple[Tensor, Tensor, int]:
        generator = torch.Generator().manual_seed(5)
        student, teacher = torch.randn(2, 48, 40, generator=generator)
        with Meter() as meter:
            value = CALLS[name](student.requires_grad_(), teacher)
            [slope] = torch.autograd.grad(value.square().sum(), [student])
        return value.detach(), slope, meter.peak

    value, slope, peak = run()
    monkeypatch.setattr(map_losses, "AT_ONCE", 5 * 48 * 48)  # nine slices of five anchors, and three
    in_pieces = run()

    assert torch.allclose(in_pieces[0], value, rtol=1e-6)
    assert torch.allclose(in_pieces[1], slope, rtol=1e-4, atol=1e-7)
    assert in_pieces[2] < peak / 3


def test_relations_of_modalities_do_not_change_when_their_space_is_turned() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 3, 10, generator=generator, dtype=torch.float64)
    once = map_losses.gram_distance(student, teacher)

    assert torch.allclose(map_losses.gram_distance(student @ rotation(10), teacher), once)
    assert map_losses.gram_distance(student @ rotation(10), student).abs().max() < 1e-12
    assert torch.allclose(map_losses.gram(student).diagonal(dim1=1, dim2=2), torch.ones(6, 3).double())


def test_similarities_do_not_change_when_channels_are_turned_and_attention_when_they_are_exchanged() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 8, 3, 3, generator=generator, dtype=torch.float64)
    turned = torch.einsum("bchw,cd->bdhw", student, rotation(8))
    other = student[:, torch.randperm(8, generator=generator)]

    assert torch.allclose(
        map_losses.similarity_preserving(turned, teacher), map_losses.similarity_preserving(student, teacher)
    )
    assert torch.allclose(
        map_losses.attention_transfer(other, teacher), map_losses.attention_transfer(student, teacher)
    )


def test_batch_values_are_those_of_the_papers() -> None:
    student, teacher = draw(0).double(), draw(1).double()

    def similar(x: Tensor) -> Tensor:
        return torch.nn.functional.normalize(x @ x.T, dim=1)

    def far(x: Tensor) -> Tensor:
        found = torch.cdist(x, x)
        return found / found[found > 0].mean()

    apart = similar(student) - similar(teacher)
    assert torch.allclose(
        map_losses.similarity_preserving(maps(student), maps(teacher)).mean(), apart.square().sum() / 16**2
    )
    assert torch.allclose(
        map_losses.relational_distance(student, teacher).mean(),
        torch.nn.functional.smooth_l1_loss(far(student), far(teacher)),
    )


@pytest.mark.parametrize("name", CALLS)
def test_empty_maps_and_samples_that_coincide_leave_no_trace(name: str) -> None:
    for student in (torch.zeros(16, 10), draw(0)[:1].expand(16, 10).clone(), draw(0)[[0, 0, *range(2, 16)]]):
        student.requires_grad_()
        value = CALLS[name](student, draw(1))
        value.sum().backward()

        assert value.isfinite().all()
        assert student.grad is not None
        assert student.grad.isfinite().all()
        assert student.grad.abs().max() < 1e3


def test_samples_that_coincide_do_not_count_in_the_mean_distance() -> None:
    found = map_losses.distances(torch.tensor([[0.0], [0.0], [3.0]]))

    assert found.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    assert map_losses.angles(slice(None), torch.zeros(2, 3)).abs().sum() == 0
    assert map_losses.distances(torch.zeros(1, 3)).tolist() == [[0.0]]


def test_the_larger_map_is_averaged_down() -> None:
    small, large = torch.rand(2, 3, 2, 2), torch.rand(2, 5, 4, 4)
    pooled = torch.nn.functional.avg_pool2d(large, 2)

    for first, second in ((small, large), (large, small)):
        own, wanted = map_losses.alike(first, second)
        assert torch.equal(own, pooled if first is large else small)
        assert torch.equal(wanted, pooled if second is large else small)
    assert [x.shape[2:] for x in map_losses.alike(torch.rand(1, 1, 4, 2), torch.rand(1, 1, 3, 6))] == [(3, 2)] * 2
