"""Pareto fronts: who is dominated, how much volume a front covers, and the cells that it leaves free.

All functions take points of shape (n, m) whose m coordinates are *minimised*; maximised objectives are negated first.
A row with a NaN belongs to no front.
"""

from __future__ import annotations

import numpy as np

Cell = tuple[tuple[float, float], ...]


def nondominated(points: np.ndarray) -> np.ndarray:
    """Boolean mask (n,) of the points that no other point dominates.

    A point dominates another when it is nowhere worse and somewhere better, so equal points do not dominate each other:
    all copies of a front point are kept.
    """
    points = _matrix(points)
    mask = np.zeros(len(points), dtype=bool)
    finite = np.flatnonzero(~np.isnan(points).any(axis=1))
    if not len(finite):
        return mask
    unique, inverse = np.unique(points[finite], axis=0, return_inverse=True)
    # Rows of `unique` are in lexicographic order: only an earlier row can dominate a later one.
    keep = np.ones(len(unique), dtype=bool)
    if points.shape[1] <= 2:
        last = unique[:, -1]
        keep[1:] = last[1:] < np.minimum.accumulate(last)[:-1]
        if points.shape[1] == 1:
            keep[1:] = False
    else:
        for row in range(len(unique)):
            if keep[row]:
                keep[row + 1 :] &= (unique[row + 1 :] < unique[row]).any(axis=1)
    mask[finite] = keep[inverse.ravel()]
    return mask


def ranks(points: np.ndarray, enough: int | None = None) -> np.ndarray:
    """Rank (n,) by repeated removal of the front: 0 for the front, 1 for the front of the rest, ...; NaN rows last.

    Once ``enough`` points are ranked the rest share the next rank.
    """
    points = _matrix(points)
    rank = np.full(len(points), -1)
    level = 0
    while len(left := np.flatnonzero(rank < 0)):
        if enough is not None and len(points) - len(left) >= enough:
            rank[left] = level
            break
        front = nondominated(points[left])
        rank[left[front] if front.any() else left] = level
        level += 1
    return rank


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Volume that is dominated by ``points`` and dominates ``reference`` (m,), in the units of the objectives."""
    points, reference = _matrix(points), np.asarray(reference, dtype=float)
    inside = points[(points < reference).all(axis=1)]
    return _volume(inside[nondominated(inside)], reference)


def _volume(front: np.ndarray, reference: np.ndarray) -> float:
    """Hypervolume by slicing along the last coordinate; ``front`` lies strictly inside the reference."""
    if not len(front):
        return 0.0
    if front.shape[1] == 1:
        return float(reference[0] - front.min())
    if front.shape[1] == 2:
        front = front[np.argsort(front[:, 0], kind="stable")]
        best = np.minimum.accumulate(front[:, 1])
        right = np.append(front[1:, 0], reference[0])
        return float(((right - front[:, 0]) * (reference[1] - best)).sum())
    levels = np.unique(front[:, -1])
    total = 0.0
    for level, above in zip(levels, np.append(levels[1:], reference[-1]), strict=True):
        below = front[front[:, -1] <= level][:, :-1]
        total += (above - level) * _volume(below[nondominated(below)], reference[:-1])
    return total


def free_cells(points: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint boxes (lower, upper), both (k, m), of the region inside ``reference`` that no point dominates.

    Lower bounds may be -inf. With the boxes, the hypervolume that a new point y adds is the sum over boxes of
    prod_i max(0, upper_i - max(lower_i, y_i)), a product that survives expectation over independent coordinates.
    """
    points, reference = _matrix(points), np.asarray(reference, dtype=float)
    inside = points[(points < reference).all(axis=1)]
    cells = _cells(inside[nondominated(inside)], tuple(float(r) for r in reference))
    bounds = np.array(cells, dtype=float).reshape(len(cells), len(reference), 2)
    return bounds[:, :, 0], bounds[:, :, 1]


def _cells(front: np.ndarray, reference: tuple[float, ...]) -> list[Cell]:
    """Cuts the first coordinate into strips at the front's levels; a cell that lives on in the next strip is merged."""
    if len(reference) == 1:
        return [((-np.inf, float(front.min()) if len(front) else reference[0]),)]
    levels = [-np.inf, *np.unique(front[:, 0]).tolist()]
    done: list[Cell] = []
    alive: dict[Cell, float] = {}
    for level in levels:
        below = front[front[:, 0] <= level][:, 1:]
        cells = _cells(below[nondominated(below)], reference[1:])
        started = {cell: alive.get(cell, level) for cell in cells}
        done += [((start, level), *cell) for cell, start in alive.items() if cell not in started]
        alive = started
    return done + [((start, reference[0]), *cell) for cell, start in alive.items()]


def _matrix(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=float)
    if points.ndim != 2:
        raise ValueError(f"points must have shape (n, m), got {points.shape}")
    return points
