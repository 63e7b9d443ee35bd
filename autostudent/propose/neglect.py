"""Choices that the search has neglected: every few students one of them is tried again, whatever the model says.

An additive model that has seen a choice a few times in bad company is sure that it is bad, and never looks again: on
NAS-Bench-201 two searches of ten had the whole front five standard deviations away. A choice can also be neglected in
students of one size: a third had met the best operation of an edge in small cells, and hardly in larger ones. Which
student with that choice is tried is still for the model to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from autostudent.propose.catalogue import Option
from autostudent.records import Trial, Value

EVERY = 5  # students from one such try to the next
SIZES = 3  # classes of students by size, equally many of the space's draws in each
ENOUGH = 3  # students for each choice of a variable, from which a class has counts of its own

Pick = tuple[str, Value]


def is_due(students: int) -> bool:
    """Whether the next student, after so many, is one of these tries."""
    return students % EVERY == 0


def size_classes(costs: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The class (n,) of students by an exact cost (n,), given that of independent draws."""
    return np.searchsorted(np.quantile(drawn, np.arange(1, SIZES) / SIZES), costs)


def neglected(
    trials: Sequence[Trial], pool: Sequence[Option], tried_sizes: np.ndarray, pool_sizes: np.ndarray
) -> np.ndarray:
    """Which options (n,) of the pool hold the choice that was tried least: all where no variable is categorical.

    A choice counts beside the others of its variable: one among two is tried half the times that the variable was
    active at all. One whose variable never was active is neglected. Counted are all students, and those of each size
    class that has enough; then the options are of that class.
    """
    configs = [option.candidate.config for option in pool]
    everywhere = np.ones(len(pool), dtype=bool)
    least = min(_shares((trial.candidate.config for trial in trials), configs, 0), default=None)
    if least is None:
        return everywhere
    among = everywhere
    for size in np.unique(pool_sizes):
        here = pool_sizes == size
        tried = (trial.candidate.config for trial, its in zip(trials, tried_sizes, strict=True) if its == size)
        offered = (config for config, its in zip(configs, pool_sizes, strict=True) if its == size)
        found = min(_shares(tried, offered, ENOUGH), default=least)
        if found[0] < least[0]:
            least, among = found, here
    _, name, _, value = least
    return among & np.array([config.get(name) == value for config in configs])


def _shares(
    tried: Iterable[Mapping[str, Value]], pool: Iterable[Mapping[str, Value]], enough: int
) -> list[tuple[float, str, str, Value]]:
    """How much each choice in the pool was tried beside the others of its variable, with the variable and the choice.

    Only variables that were active ``enough`` times for each of their choices.
    """
    times, held = _counts(tried), _counts(pool)
    choices = Counter(name for name, _ in held)
    active: Counter[str] = Counter()
    for (name, _), count in times.items():
        active[name] += count
    return [
        (times[name, value] * choices[name] / max(active[name], 1), name, str(value), value)
        for name, value in held
        if active[name] >= enough * choices[name]
    ]


def _counts(configs: Iterable[Mapping[str, Value]]) -> Counter[Pick]:
    """How many hold each value of each categorical variable."""
    return Counter((name, value) for one in configs for name, value in one.items() if isinstance(value, (str, bool)))
