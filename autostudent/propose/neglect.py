"""Choices that the search has neglected: every few students one of them is tried again, whatever the model says.

An additive model that has seen a choice a few times in bad company is sure that it is bad, and never looks again: on
NAS-Bench-201 two searches of ten had the whole front five standard deviations away. Which student with that choice is
tried is still for the model to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from autostudent.propose.catalogue import Option
from autostudent.records import Trial, Value

EVERY = 5  # students from one such try to the next

Pick = tuple[str, Value]


def is_due(students: int) -> bool:
    """Whether the next student, after so many, is one of these tries."""
    return students % EVERY == 0


def neglected(trials: Sequence[Trial], pool: Sequence[Option]) -> np.ndarray:
    """Which options (n,) of the pool hold the choice that was tried least: all where no variable is categorical.

    A choice counts beside the others of its variable: one among two is tried half the times that the variable was
    active at all. One whose variable never was active is neglected.
    """
    tried = _counts(trial.candidate.config for trial in trials)
    held = _counts(option.candidate.config for option in pool)
    if not held:
        return np.ones(len(pool), dtype=bool)
    choices = Counter(name for name, _ in held)
    active: Counter[str] = Counter()
    for (name, _), times in tried.items():
        active[name] += times
    shares = {pick: tried[pick] * choices[pick[0]] / max(active[pick[0]], 1) for pick in held}
    name, value = min(held, key=lambda pick: (shares[pick], pick[0], str(pick[1])))
    return np.array([option.candidate.config.get(name) == value for option in pool])


def _counts(configs: Iterable[Mapping[str, Value]]) -> Counter[Pick]:
    """How many hold each value of each categorical variable."""
    return Counter((name, value) for one in configs for name, value in one.items() if isinstance(value, (str, bool)))
