"""What the record says of candidates: predicted losses, exact costs, and what each would add to the front."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from autostudent.front import free_cells, hypervolume, nondominated
from autostudent.propose.catalogue import Catalogue, Option
from autostudent.propose.duration import Durations
from autostudent.propose.ehvi import Axis, Known, Modelled, volume_in_cells
from autostudent.propose.encoding import SAMPLE, Encoder
from autostudent.propose.history import History, minimised
from autostudent.propose.memory import is_long, remembered
from autostudent.propose.surrogate import (
    MOST,
    Hyperparameters,
    Posterior,
    chosen_to_fit,
    fit,
    log_likelihood,
    rows_to_fit,
)
from autostudent.propose.targets import Measurement, Targets, crowds, measurements, targets, unusable
from autostudent.records import Objective, Trial

T = TypeVar("T")

FITS_KEPT = 8
WEIGHED = 128  # fully trained students by which the scale of the losses is chosen
LOST = 250  # trials without a value that are remembered, the newest


class FitCache:
    """What was fitted or found likelier, by the data that said so."""

    def __init__(self) -> None:
        self._fits: OrderedDict[tuple[object, ...], Hyperparameters] = OrderedDict()
        self._crowds: OrderedDict[tuple[object, ...], bool] = OrderedDict()

    def fit(self, encoder: Encoder, x: np.ndarray, z: np.ndarray) -> Hyperparameters:
        key = (encoder.layout, x.tobytes(), z.tobytes())
        return _once(self._fits, key, lambda: fit(encoder.layout, x, z))

    def crowds(self, encoder: Encoder, objective: Objective, rows: Sequence[Measurement], x: np.ndarray) -> bool:
        """See `autostudent.propose.targets.crowds`; ``x`` are the model's rows of these measurements."""
        key = (objective, encoder.layout, x.tobytes(), tuple((row.loss, row.others) for row in rows))
        likelihood = lambda at, z: log_likelihood(encoder.layout, x[at], z)  # noqa: E731
        return _once(self._crowds, key, lambda: crowds(objective, rows, likelihood))


def _once(cache: OrderedDict[tuple[object, ...], T], key: tuple[object, ...], make: Callable[[], T]) -> T:
    if key not in cache:
        cache[key] = make()
        if len(cache) > FITS_KEPT:
            cache.popitem(last=False)
    return cache[key]


@dataclass(frozen=True)
class Aspect:
    """The model of one measured objective; predictions are on the warped scale of the last rung."""

    objective: Objective
    posterior: Posterior
    targets: Targets
    location: float
    scale: float

    def axis(self, x: np.ndarray) -> Modelled:
        """Predictions at rows."""
        return self._modelled(*self.posterior.predict(x))

    def look(self, x: np.ndarray, seen_at: np.ndarray) -> tuple[Modelled, np.ndarray]:
        """Predictions at rows as sure as they will be once ``seen_at`` was measured, row by row.

        With them the standard deviations (n,), on the modelled scale, by which their means will move.
        """
        mean, sd, moves = self.posterior.look(x, seen_at)
        return self._modelled(mean, np.sqrt(np.maximum(sd**2 - moves**2, 1e-8))), self.scale * moves

    def _modelled(self, mean: np.ndarray, sd: np.ndarray) -> Modelled:
        return Modelled(self.location + self.scale * mean, self.scale * sd, self.targets.warp)

    def centre(self, x: np.ndarray) -> np.ndarray:
        """The losses (n,) to believe in: medians of what is predicted."""
        return self.targets.warp.to_loss(self.location + self.scale * self.posterior.mean(x))


class Judge:
    """Models of the measured objectives, conditioned on the record, and the front with pending work believed in.

    Columns are ordered as in `History.points`: the measured objective first, the others in the problem's order.
    ``known`` are the trials that the model remembers (see `autostudent.propose.memory`), all of them in records of
    usual length; ``paused`` are those of them that may go on.
    """

    def __init__(self, history: History, catalogue: Catalogue, encoder: Encoder, fits: FitCache) -> None:
        problem = history.problem
        self.history, self.catalogue, self.encoder = history, catalogue, encoder
        self.objectives = (problem.measured, *(o for o in problem.objectives if o is not problem.measured))
        self.last = len(problem.rungs) - 1
        self._rows = {o.name: measurements(history, o) for o in self.objectives if not o.exact}
        self._kept = {name: remembered(rows, self.last) for name, rows in self._rows.items()}
        numbers = {rows[i].trial.number for name, rows in self._rows.items() for i in self._kept[name]}
        self.known = tuple(trial for trial in history.trials if trial.number in numbers)
        self.paused = tuple(trial for trial in history.paused if trial.number in numbers)
        self.aspects = {o.name: self._aspect(o, fits) for o in self.objectives if not o.exact}
        self.reference = np.array([self._reference(objective) for objective in self.objectives])
        self.ideal = self._ideal()
        self.front = self._front()
        self._cells = free_cells(self.front, self.reference)
        self._durations = Durations(self.known, self._bodies(self.options(self.known)))

    def duration(self, options: Sequence[Option]) -> np.ndarray:
        """How long training each takes (n,), 1 being the record's average."""
        return self._durations.relative(self._bodies(options))

    def _bodies(self, options: Sequence[Option]) -> np.ndarray:
        return self.encoder.rows(options, 0, [-1] * len(options))[:, :-3]

    def options(self, trials: Sequence[Trial]) -> list[Option]:
        """The trials' candidates as options; a trial in the record can always be described."""
        found = []
        for trial in trials:
            described = self.catalogue.describe(trial.candidate)
            assert described is not None, f"trial {trial.number} can no longer be drawn"
            found.append(Option(trial.candidate, described, ()))
        return found

    def rows(self, options: Sequence[Option], level: int, trials: Sequence[Trial] = ()) -> np.ndarray:
        """Model rows of new students, or of these trials."""
        numbers = [trial.number for trial in trials] or [-1 - i for i in range(len(options))]
        return self.encoder.rows(options, level, numbers)

    def axes(self, options: Sequence[Option], trials: Sequence[Trial] = ()) -> list[Axis]:
        """Fully trained outcomes, a column each."""
        x = self.rows(options, self.last, trials)
        return [
            self.aspects[o.name].axis(x) if o.name in self.aspects else self.exact(o, options) for o in self.objectives
        ]

    def centres(self, options: Sequence[Option], trials: Sequence[Trial] = ()) -> np.ndarray:
        """(n, m) believed points of full trainings."""
        x = self.rows(options, self.last, trials)
        columns = [
            self.aspects[o.name].centre(x) if o.name in self.aspects else self.exact(o, options).values
            for o in self.objectives
        ]
        return np.column_stack(columns)

    def exact(self, objective: Objective, options: Sequence[Option]) -> Known:
        return Known(np.array([minimised(objective, o.description.costs[objective.name]) for o in options]))

    def value(self, axes: Sequence[Axis]) -> np.ndarray:
        """EHVI (n,) as a share of the box between ideal and reference."""
        box = float(np.prod(self.reference - self.ideal))
        return volume_in_cells(self._cells, axes) / max(box, 1e-300)

    @property
    def reached(self) -> float:
        """The hypervolume of the believed front, in the units of `value`."""
        box = float(np.prod(self.reference - self.ideal))
        return hypervolume(self.front, self.reference) / max(box, 1e-300)

    def _aspect(self, objective: Objective, fits: FitCache) -> Aspect:
        rows, kept = self._rows[objective.name], self._kept[objective.name]
        first = rows[: rows_to_fit(len(rows))]
        crowded = self._crowds(objective, first, fits)
        fitted = targets(objective, first, self.last + 1, crowded)
        location = float(fitted.z.mean()) if len(first) else 0.0
        spread = float(fitted.z.std()) if len(first) > 1 else 0.0
        scale = spread if spread > 1e-6 else 1.0
        z = (fitted.z - location) / scale
        chosen = self._chosen(first, z)
        hyper = fits.fit(self.encoder, self._measured_rows([first[i] for i in chosen]), z[chosen])
        now = targets(objective, rows, self.last + 1, crowded)
        lost = unusable(self.history, objective)[-LOST:]
        x = np.vstack([self._measured_rows([rows[i] for i in kept]), self.rows(self.options(lost), self.last, lost)])
        z = np.concatenate([now.z[kept], np.full(len(lost), now.worst)])
        posterior = Posterior(hyper, x, (z - location) / scale, self._pending_rows())
        return Aspect(objective, posterior, now, location, scale)

    def _crowds(self, objective: Objective, rows: Sequence[Measurement], fits: FitCache) -> bool:
        full = [row for row in rows if row.level == self.last]
        full = [full[i] for i in chosen_to_fit(np.array([row.loss for row in full]), WEIGHED)]
        return fits.crowds(self.encoder, objective, full, self._measured_rows(full))

    def _chosen(self, rows: Sequence[Measurement], z: np.ndarray) -> np.ndarray:
        """Places of the measurements that the hyperparameters come from."""
        if not is_long(len(rows)):
            return chosen_to_fit(z)
        places = remembered(rows, self.last)
        return places[chosen_to_fit(z[places], MOST * 2 // 3)]

    def _measured_rows(self, rows: Sequence[Measurement]) -> np.ndarray:
        x = self.rows(self.options([row.trial for row in rows]), 0, [row.trial for row in rows])
        x[:, -3] = [row.level for row in rows]
        return x

    def _pending_rows(self) -> np.ndarray:
        pending = self.history.in_flight
        x = self.rows(self.options(pending), 0, pending)
        x[:, -3] = [self.history.level(self.history.target(trial)) for trial in pending]
        return x

    def _reference(self, objective: Objective) -> float:
        if objective.name in self.aspects:
            return self.aspects[objective.name].targets.reference
        for given in (objective.reference, objective.limit):
            if given is not None:
                return minimised(objective, given)
        return float(self._sampled(objective).max())

    def _sampled(self, objective: Objective) -> np.ndarray:
        return self.exact(objective, self.catalogue.fresh(0, SAMPLE)).values

    def _ideal(self) -> np.ndarray:
        """(m,) a point near the best of every objective; only scales the values."""
        best = []
        for objective, reference in zip(self.objectives, self.reference, strict=True):
            if objective.name in self.aspects:
                seen = [m.loss for m in self._rows[objective.name]]
            else:
                seen = self._sampled(objective).tolist()
            best.append(min([*seen, reference - 1e-12 * (1 + abs(reference))]))
        return np.array(best)

    def _front(self) -> np.ndarray:
        """Completed points, with those in flight at their believed values (k, m)."""
        points = self.history.points(self.history.complete)
        pending = self.history.in_flight
        if pending:
            points = np.vstack([points, self.centres(self.options(pending), pending)])
        return points[nondominated(points)]
