"""Choices that the search has neglected: every few students one of them is tried again, whatever the model says.

An additive model that has seen a choice a few times in bad company is sure that it is bad, and never looks again: on
NAS-Bench-201 two searches of ten had the whole front five standard deviations away. Which student with that choice is
tried is still for the model to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from autostudent.propose.catalogue import Catalogue, Option
from autostudent.records import Trial, Value

EVERY = 5  # students from one such try to the next
DRAWS = 192  # fresh draws that tell how common a choice is

Pick = tuple[str, Value]


def is_due(students: int) -> bool:
    """Whether the next student, after so many, is one of these tries."""
    return students % EVERY == 0


def neglected(catalogue: Catalogue, trials: Sequence[Trial], pool: Sequence[Option]) -> np.ndarray:
    """Which options (n,) of the pool hold the choice that was tried least, beside how often the space draws it.

    Choices are values of categorical variables. A choice that only a few others make active is common among nobody,
    and is not neglected for that. All options where the space has no categorical variable.
    """
    tried = _counts(trial.candidate.config for trial in trials)
    drawn = _counts(option.candidate.config for option in catalogue.fresh(0, DRAWS))
    held = _counts(option.candidate.config for option in pool)
    if not held:
        return np.ones(len(pool), dtype=bool)
    name, value = min(held, key=lambda pick: (tried[pick] / max(drawn[pick], 1), pick[0], str(pick[1])))
    return np.array([option.candidate.config.get(name) == value for option in pool])


def _counts(configs: Iterable[Mapping[str, Value]]) -> Counter[Pick]:
    """How many hold each value of each categorical variable."""
    return Counter((name, value) for one in configs for name, value in one.items() if isinstance(value, (str, bool)))
