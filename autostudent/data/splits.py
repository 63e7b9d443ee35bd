"""Stratified cuts of a labelled set: pure functions of labels, size and seed."""

from __future__ import annotations

import numpy as np

from autostudent.errors import ConfigError


def share_of(key: str, size: object, total: int) -> int:
    """The number of samples that ``size`` asks for out of ``total``.

    Args:
        key: the entry's name for the error.
        size: a share between 0 and 1, or a count.
        total: samples to cut from.

    Raises:
        ConfigError: when it is neither, or leaves nothing.
    """
    if isinstance(size, bool) or not isinstance(size, int | float):
        raise ConfigError(key, size, "a share between 0 and 1, or a number of pictures")
    share = isinstance(size, float)
    count = round(size * total) if share and 0 < size < 1 else 0 if share else int(size)
    if not 0 < count < total:
        raise ConfigError(key, size, f"a share between 0 and 1, or a count from 1 to {total - 1}")
    return count


def stratified(y: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cuts ``count`` samples off with the class shares of the whole.

    Every class with two samples or more is on both sides as long as ``count`` and the rest allow it. Largest
    remainders decide who gets the odd sample.

    Args:
        y: labels ``(n,)``.
        count: samples to cut off.
        rng: decides which samples of a class are cut.

    Returns:
        (positions cut off, positions that stay), both ascending.
    """
    classes, sizes = np.unique(y, return_counts=True)
    exact = sizes * (count / len(y))
    quota = np.floor(exact).astype(int)
    least, most = (sizes > 1).astype(int), np.where(sizes > 1, sizes - 1, sizes)
    quota = np.clip(quota, least, np.maximum(sizes - 1, 0))
    _settle(quota, exact, count, least, most)
    _settle(quota, exact, count, np.zeros_like(sizes), sizes)
    cut = [rng.permutation(np.flatnonzero(y == label))[:n] for label, n in zip(classes, quota, strict=True)]
    taken = np.zeros(len(y), dtype=bool)
    taken[np.concatenate(cut)] = True
    return np.flatnonzero(taken), np.flatnonzero(~taken)


def _settle(quota: np.ndarray, exact: np.ndarray, count: int, least: np.ndarray, most: np.ndarray) -> None:
    """Moves ``quota`` in place between the bounds, one by one, until it sums to ``count`` or all are there."""
    while quota.sum() < count and (quota < most).any():
        quota[int(np.where(quota < most, exact - quota, -np.inf).argmax())] += 1
    while quota.sum() > count and (quota > least).any():
        quota[int(np.where(quota > least, quota - exact, -np.inf).argmax())] -= 1
