"""Fronts against their definitions, on small random point sets with ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autostudent.front import free_cells, hypervolume, nondominated, ranks


@st.composite
def point_sets(draw: st.DrawFn) -> np.ndarray:
    m = draw(st.integers(1, 4))
    n = draw(st.integers(0, 12))
    values = draw(st.lists(st.integers(0, 6), min_size=n * m, max_size=n * m))
    return np.array(values, dtype=float).reshape(n, m) / 6


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(point_sets())
@settings(max_examples=150, deadline=None)
def test_mask_is_the_definition(points: np.ndarray) -> None:
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert nondominated(points).tolist() == expected


@given(point_sets())
@settings(max_examples=100, deadline=None)
def test_volume_is_the_share_of_dominated_grid_boxes(points: np.ndarray) -> None:
    m = points.shape[1]
    centres = np.stack(np.meshgrid(*[(np.arange(6) + 0.5) / 6] * m, indexing="ij"), axis=-1).reshape(-1, m)
    covered = (points[None] <= centres[:, None]).all(axis=2).any(axis=1) if len(points) else np.zeros(len(centres))
    assert hypervolume(points, np.ones(m)) == pytest.approx(float(np.mean(covered)))


@given(point_sets(), st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_cells_give_the_hypervolume_that_a_point_adds(points: np.ndarray, seed: int) -> None:
    m = points.shape[1]
    reference = np.ones(m)
    lower, upper = free_cells(points, reference)
    new = np.random.default_rng(seed).uniform(-0.1, 1.1, m)
    added = np.clip(upper - np.maximum(lower, new), 0, None).prod(axis=1).sum()
    expected = hypervolume(np.vstack([points, new]), reference) - hypervolume(points, reference)
    assert added == pytest.approx(expected)


@pytest.mark.parametrize("enough", [1, 7, 20, 40])
def test_ranks_stop_once_enough_are_ranked(enough: int) -> None:
    points = np.random.default_rng(enough).integers(0, 6, (40, 3)).astype(float)
    whole, part = ranks(points), ranks(points, enough)
    level = int(np.sort(whole)[enough - 1])
    assert (part[whole <= level] == whole[whole <= level]).all()
    assert (part[whole > level] == level + 1).all()


def test_ranks_peel_fronts_and_put_nan_last() -> None:
    points = np.array([[0, 3], [1, 1], [2, 2], [3, 3], [np.nan, 0], [1, 1]], dtype=float)
    assert ranks(points).tolist() == [0, 0, 1, 2, 3, 0]
    assert nondominated(points).tolist() == [True, True, False, False, False, True]


def test_points_need_two_dimensions() -> None:
    with pytest.raises(ValueError, match="shape"):
        nondominated(np.zeros(3))


def test_a_hundred_points_in_four_dimensions_take_no_time() -> None:
    points = np.random.default_rng(0).random((60, 4))
    lower, upper = free_cells(points, np.ones(4))
    inside = np.clip(upper - np.maximum(lower, 0), 0, None).prod(axis=1).sum()
    assert inside == pytest.approx(1 - hypervolume(points, np.ones(4)))
