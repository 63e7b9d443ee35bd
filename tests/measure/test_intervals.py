"""Intervals against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from autostudent.measure.intervals import gap, interval, pack, paired, unpack, welch, with_pictures


def test_interval_agrees_with_scipy() -> None:
    values = [0.91, 0.93, 0.92, 0.95, 0.90]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))

    found = interval(values)

    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.sd == pytest.approx(np.std(values, ddof=1))


def test_one_value_claims_nothing() -> None:
    assert interval([0.5]).high == math.inf


def test_paired_differences_cancel_what_seeds_share() -> None:
    shared = [0.1, 0.5, 0.9]
    found = paired([s + 0.01 for s in shared], shared)

    assert found.mean == pytest.approx(0.01)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-9)


def test_welch_agrees_with_scipy() -> None:
    a, b = [0.91, 0.93, 0.92, 0.95], [0.90, 0.94, 0.88, 0.87, 0.89]
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)

    found = welch(a, b)

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.sd == pytest.approx(math.hypot(stats.sem(a), stats.sem(b)))
    sure = welch([0.5, 0.5], [0.4, 0.4])
    assert (sure.low, sure.high) == pytest.approx((0.1, 0.1))


def test_gap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits, rounds = 0, 300
    for _ in range(rounds):
        hardness = rng.random(400)
        teacher = torch.from_numpy(rng.random(400) > 0.25 * hardness)
        students = [torch.from_numpy(rng.random(400) > 0.35 * hardness) for _ in range(5)]
        found = gap(teacher, students)
        hits += found.low <= 0.05 <= found.high

    assert 0.9 <= hits / rounds <= 1.0


def test_networks_of_equal_accuracy_are_seldom_told_apart_however_many_seeds_train_them() -> None:
    """Each has pictures that are hard for it alone, with every seed; an interval over seeds takes that for a gain."""
    rng = np.random.default_rng(0)
    wrong, careless, rounds = 0, 0, 200
    for _ in range(rounds):
        chances = [np.where(rng.random(360) < 0.06, 0.6, 0.002) for _ in range(2)]  # of an error, a picture
        ours, theirs = ([torch.from_numpy(rng.random(360) > chance) for _ in range(10)] for chance in chances)
        seeds = welch(*([float(one.double().mean()) for one in each] for each in (ours, theirs)))
        whole = with_pictures(seeds, ours, theirs)
        wrong += not whole.low <= 0 <= whole.high
        careless += not seeds.low <= 0 <= seeds.high

    assert wrong / rounds <= 0.07
    assert careless / rounds >= 0.2


def test_bits_survive_packing() -> None:
    bits = torch.rand(37, generator=torch.Generator().manual_seed(1)) > 0.5

    assert torch.equal(unpack(pack(bits), 37), bits)
