"""Reading the record: what was measured, what is in flight, what may go on."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autostudent.propose.catalogue import identity
from autostudent.records import Cause, Objective, Problem, Trial, TrialState

# Failures that say something about the candidate itself. Memory is exact, a lost worker is no one's fault.
BAD_CANDIDATE = (Cause.DIVERGED, Cause.TIMEOUT, Cause.BUG)
IN_FLIGHT = (TrialState.NEW, TrialState.TRAINING)


def minimised(objective: Objective, value: float) -> float:
    """The value with its sign turned so that smaller is better."""
    return value if objective.direction == "minimize" else -value


@dataclass(frozen=True)
class History:
    """A problem with its trials, read in ways that proposers share."""

    problem: Problem
    trials: tuple[Trial, ...]

    @classmethod
    def of(cls, problem: Problem, trials: Sequence[Trial]) -> History:
        return cls(problem, tuple(trials))

    @cached_property
    def in_flight(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.state in IN_FLIGHT)

    @cached_property
    def paused(self) -> tuple[Trial, ...]:
        """Trials that may go on to their next rung."""
        last = self.problem.rungs[-1]
        return tuple(trial for trial in self.trials if trial.state is TrialState.PAUSED and trial.epoch < last)

    @cached_property
    def complete(self) -> tuple[Trial, ...]:
        """Fully trained students with a usable final value."""
        return tuple(t for t in self.trials if t.state is TrialState.COMPLETE and math.isfinite(self.loss(t)))

    @cached_property
    def identities(self) -> frozenset[tuple[Any, ...]]:
        """Of everything finished, running or failed."""
        return frozenset(identity(self.problem, trial.candidate, trial.fingerprint) for trial in self.trials)

    @property
    def students_left(self) -> bool:
        return len(self.trials) < self.problem.trials

    def target(self, trial: Trial) -> int:
        """The epoch that a trial in flight will reach; a NEW one may not say so yet."""
        return max(trial.until_epoch, self.problem.rungs[0])

    def next_rung(self, trial: Trial) -> int:
        """Epochs at which the next segment of a paused trial ends."""
        return next(rung for rung in self.problem.rungs if rung > trial.epoch)

    def level(self, epoch: int) -> int:
        """Index of the rung that ends at ``epoch`` or first after it."""
        rungs = self.problem.rungs
        return min(bisect_left(rungs, epoch), len(rungs) - 1)

    def loss(self, trial: Trial) -> float:
        """The last valid measured value, minimised; NaN where there is none."""
        name = self.problem.measured.name
        found = (result.values[name] for result in reversed(trial.results) if result.valid and name in result.values)
        value = next(found, None)
        return math.nan if value is None else minimised(self.problem.measured, value)

    def loss_at(self, trial: Trial, epoch: int) -> float:
        """The measured value at a rung, minimised; NaN where there is none."""
        name = self.problem.measured.name
        for result in trial.results:
            if result.epoch == epoch and result.valid and name in result.values:
                return minimised(self.problem.measured, result.values[name])
        return math.nan

    def costs(self, trial: Trial) -> list[float]:
        """The other objectives, minimised, in their order; all exact but for unusual problems."""
        values = trial.values
        return [minimised(o, values.get(o.name, math.nan)) for o in self._others]

    @cached_property
    def _others(self) -> tuple[Objective, ...]:
        return tuple(o for o in self.problem.objectives if o is not self.problem.measured)

    def points(self, trials: Sequence[Trial]) -> np.ndarray:
        """(n, m) minimised objectives, the measured one first."""
        rows = [[self.loss(trial), *self.costs(trial)] for trial in trials]
        return np.array(rows, dtype=float).reshape(len(rows), len(self.problem.objectives))

    def family(self, trial: Trial) -> tuple[Any, ...]:
        """What a training curve's shape depends on: the covered choices, such as method and teaching scheme."""
        return tuple(trial.candidate.config.get(name) for name in self.problem.cover)

    def bad(self, trial: Trial) -> bool:
        """Failed in a way that the candidate is to blame for."""
        failed = trial.state is TrialState.FAIL
        return failed and (trial.failure is None or trial.failure.cause in BAD_CANDIDATE)
