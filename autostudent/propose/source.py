"""Warm start: what an earlier study of the same space says, as a first guess that may turn out wrong.

The earlier record is modelled once. Its front members open the first design, and count as part of it as far as that
leaves room to cover its choices. Its predictions enter the new model as one more number about a candidate, with a
linear effect of unknown size. That size is inferred from the new results: a source that ranks them well carries the
model from the start, one that does not is multiplied by almost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from autostudent.front import nondominated
from autostudent.propose.catalogue import Catalogue, Option
from autostudent.propose.encoding import SAMPLE, Encoder
from autostudent.propose.history import History
from autostudent.propose.surrogate import Posterior, fit
from autostudent.propose.targets import measurements, targets
from autostudent.records import Problem, Trial

FIRST = 3  # front members of the source that are tried before anything else
FEWEST = 5  # complete source trials below which nothing is learned from it


class Source:
    """A model of an earlier study's measured objective, over the candidates of this one."""

    def __init__(self, problem: Problem, catalogue: Catalogue, trials: Sequence[Trial]) -> None:
        flat = replace(problem, rungs=problem.rungs[-1:], rung_costs=())
        complete = [trial for trial in History.of(flat, trials).complete if catalogue.describe(trial.candidate)]
        self._history = History.of(flat, complete)
        self._catalogue, self._encoder = catalogue, Encoder(flat, catalogue)
        rows = measurements(self._history, flat.measured)
        rows = list({row.trial.number: row for row in rows}.values())  # the last value of each
        self._posterior: Posterior | None = None
        if len(rows) < FEWEST:
            return
        z = targets(flat.measured, rows, 1).z
        options = [self._option(row.trial) for row in rows]
        x = self._encoder.rows(options, 0, [row.trial.number for row in rows])
        z = (z - z.mean()) / max(float(z.std()), 1e-6)
        self._posterior = Posterior(fit(self._encoder.layout, x, z), x, z, x[:0])
        sample = self._predict(catalogue.fresh(0, SAMPLE))
        self._centre, self._spread = float(sample.mean()), max(float(sample.std()), 1e-6)

    @property
    def useful(self) -> bool:
        """Whether there is anything to learn from."""
        return self._posterior is not None

    def believed(self, options: Sequence[Option]) -> np.ndarray:
        """Predicted losses (n, 1), standardised over fresh draws."""
        return ((self._predict(options) - self._centre) / self._spread)[:, None]

    @cached_property
    def first(self) -> list[Option]:
        """Front members that may be trained here, evenly spread along the front from its most accurate end."""
        trials = self._history.complete
        if not trials:
            return []
        points = self._history.points(trials)
        front = [trials[i] for i in np.flatnonzero(nondominated(points))]
        front.sort(key=lambda trial: (self._history.loss(trial), trial.number))
        options = [option for trial in front if (option := self._catalogue.option(trial.candidate)) is not None]
        places = np.unique(np.linspace(0, len(options) - 1, min(FIRST, len(options))).round().astype(int))
        return [options[place] for place in places]

    def _option(self, trial: Trial) -> Option:
        described = self._catalogue.describe(trial.candidate)
        assert described is not None
        return Option(trial.candidate, described, ())

    def _predict(self, options: Sequence[Option]) -> np.ndarray:
        assert self._posterior is not None
        mean = self._posterior.mean(self._encoder.rows(options, 0, [-1 - i for i in range(len(options))]))
        return np.round(mean, 9)  # beyond, bits depend on who else is asked about, and a resumed search asks others
