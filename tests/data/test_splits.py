import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostudent.data.splits import share_of, stratified
from autostudent.errors import ConfigError


@given(st.lists(st.integers(0, 4), min_size=10, max_size=200), st.floats(0.05, 0.95), st.integers(0, 5))
def test_cut_is_a_stratified_partition(labels, share, seed):
    y = np.array(labels)
    count = min(max(1, round(share * len(y))), len(y) - 1)
    off, stay = stratified(y, count, np.random.default_rng(seed))
    assert len(off) == count
    assert sorted([*off, *stay]) == list(range(len(y)))
    again, _ = stratified(y, count, np.random.default_rng(seed))
    assert np.array_equal(off, again)


def test_class_shares_are_kept():
    y = np.repeat([0, 1, 2], [600, 300, 100])
    off, stay = stratified(y, 100, np.random.default_rng(0))
    assert np.bincount(y[off]).tolist() == [60, 30, 10]
    assert np.bincount(y[stay]).tolist() == [540, 270, 90]


def test_a_rare_class_is_on_both_sides():
    y = np.repeat([0, 1], [998, 2])
    off, stay = stratified(y, 100, np.random.default_rng(0))
    assert (y[off] == 1).sum() == 1
    assert (y[stay] == 1).sum() == 1


def test_rare_classes_are_on_both_sides_of_any_cut_that_has_room_for_them():
    y = np.repeat(range(6), [500, 300, 9, 3, 2, 2])
    for count in (6, 7, 20, 400, 800, 810):
        for side in stratified(y, count, np.random.default_rng(0)):
            assert set(y[side]) == set(range(6))
    off, stay = stratified(y, 3, np.random.default_rng(0))  # no room
    assert (len(off), len(stay)) == (3, 813)


@pytest.mark.parametrize(("size", "count"), [(0.2, 20), (30, 30), (1, 1), (0.99, 99)])
def test_shares_and_counts(size, count):
    assert share_of("data.test", size, 100) == count


@pytest.mark.parametrize("size", [0, 100, -0.1, 1.0, 1.5, 50.0, float("nan"), "half", True, None])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ConfigError, match="data"):
        share_of("data.test", size, 100)
