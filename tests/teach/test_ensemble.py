"""Weights of an ensemble by differential evolution: never worse than what it began with, kept under its teachers."""

import numpy as np
import pytest
import torch

from autostudent.assets import Assets
from autostudent.errors import AssetError
from autostudent.teach.ensemble import MIXES, SCORES, EnsembleWeights, shares, weigh, worth
from autostudent.teach.ladder import ladder


def voices(seed: int = 0, count: int = 120):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    signal = torch.nn.functional.one_hot(labels, 4)
    noise = torch.randn(3, count, 4, generator=draw)
    return noise + torch.tensor([0.6, 1.0, 1.4])[:, None, None] * signal, labels


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("score", SCORES)
def test_an_ensemble_is_no_worse_than_equal_weights_or_any_one_alone(mix, score):
    logits, labels = voices()
    weights = weigh(logits, labels, mix, score).double().numpy()[:, None]
    own = (logits.softmax(2) if mix == "probabilities" else logits).double().numpy()
    known = np.concatenate([np.full((3, 1), 1 / 3), np.eye(3)], 1)

    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= 0
    assert (
        worth(weights, own, labels.numpy(), mix, score)[0] >= worth(known, own, labels.numpy(), mix, score).max() - 1e-9
    )


def test_the_best_weights_of_two_opposite_voices_are_found():
    """One is right where the other is wrong: Σ log(.1 + .8 w) + log(.9 - .8 w) is largest at w = 1/2."""
    a = torch.log(torch.tensor([[0.9, 0.1], [0.1, 0.9]])).repeat(20, 1)
    weights = weigh(torch.stack([a, a.flip(1)]), torch.zeros(40, dtype=torch.long), "probabilities", "nll")

    assert weights.tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


def test_nothing_is_divided_by_zero():
    assert shares(np.zeros((4, 1)))[:, 0].tolist() == [0.25] * 4
    assert shares(np.array([[2.0], [6.0]]))[:, 0].tolist() == [0.25, 0.75]


@pytest.fixture(scope="module")
def flat(digits, teacher, shared):
    return list(ladder(teacher, 2, 400, digits, shared, family="flat").values())


def test_weights_are_found_once_and_kept_under_the_assistants(digits, flat, tmp_path):
    kept = EnsembleWeights(Assets(tmp_path), digits, tuple(one.key for one in flat))
    with pytest.raises(AssetError):
        kept.load()
    made = kept.ensure(flat)
    assert set(made) == {f"ensemble_{mix}_{score}" for mix in MIXES for score in SCORES}
    facts = EnsembleWeights(Assets(tmp_path), digits, kept.assistants).facts()
    assert all(fact.shape == (len(digits.train), 2) for fact in facts.values())
    assert all(torch.equal(facts[name][7], made[name]) for name in made)
    assert EnsembleWeights(Assets(tmp_path), digits, ()).facts() == {}


def test_flat_assistants_learn_from_the_teacher_and_never_see_the_meta_split(digits, teacher, flat):
    assert [one.name for one in flat] == ["flat1", "flat2"]
    assert all(one.about["parents"] == [teacher.key] for one in flat)
    places = {*digits.without_meta.index.tolist()}, {*digits.held_out.index.tolist()}
    assert places[0] | places[1] == {*digits.train.index.tolist()}
    assert not places[0] & places[1]


def test_dense_assistants_learn_from_all_larger_ones(digits, teacher, shared):
    chain = ladder(teacher, 2, 400, digits, shared)
    dense = ladder(teacher, 2, 400, digits, shared, family="dense")
    assert list(dense) == ["ta1", "dense2"]
    assert dense["ta1"].key == chain["ta1"].key
    assert dense["dense2"].about["parents"] == [teacher.key, chain["ta1"].key]
