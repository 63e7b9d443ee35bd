"""From measured curves to what the model is fitted to: warped, aligned across rungs, clipped at the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autostudent.front import nondominated
from autostudent.propose.history import History, minimised
from autostudent.propose.warp import Warp, choose_reference, choose_warp
from autostudent.records import Objective, Trial

MARGIN = 0.05  # how far beyond the reference a value is still told apart, in rate or in widths of the warp
BEYOND_FRONT = 0.15  # how far beyond the front's worst member, on the modelled scale


@dataclass(frozen=True)
class Measurement:
    """One valid value of one trial at one rung, minimised; ``others`` are the trial's other objectives."""

    trial: Trial
    level: int
    loss: float
    order: int
    others: tuple[float, ...]


@dataclass(frozen=True)
class Targets:
    """What measurements mean on the modelled scale of the last rung.

    ``z`` (n,) are the measurements' values, ``worst`` the clip value, ``warp`` and ``reference`` (a minimised loss)
    define the scale.
    """

    z: np.ndarray
    worst: float
    warp: Warp
    reference: float


def measurements(history: History, objective: Objective) -> list[Measurement]:
    """All finite valid values of the objective in commit order, so that a longer record only appends."""
    found = []
    for trial in history.trials:
        others = tuple(history.costs(trial)) if objective is history.problem.measured else ()
        for result in trial.results:
            if result.valid and math.isfinite(result.values.get(objective.name, math.nan)):
                loss = minimised(objective, result.values[objective.name])
                found.append(Measurement(trial, history.level(result.epoch), loss, result.order, others))
    return sorted(found, key=lambda m: (m.order, m.trial.number, m.level))


def unusable(history: History, objective: Objective) -> list[Trial]:
    """Trials whose candidate is to blame for having no value: diverged, timed out, crashed, or measured as NaN."""
    nan = [
        trial
        for trial in history.trials
        if trial.results and not math.isfinite(trial.results[-1].values.get(objective.name, 0.0))
    ]
    return [trial for trial in history.trials if history.bad(trial) or trial in nan]


def targets(objective: Objective, rows: Sequence[Measurement], rungs: int) -> Targets:
    """Values on the scale of the last rung, a function of these rows alone.

    Low rungs are aligned by a regression of last-rung values on theirs over the trials that have both. The ones that
    went on are a selected, better set, which shifts their mean but not the regression. Losses beyond the reference can
    never add hypervolume, so how far beyond they lie is noise: they are clipped. So are losses clearly beyond the
    worst on the front, which add volume only to students cheaper than all.
    """
    last = rungs - 1
    final = [row.loss for row in rows if row.level == last]
    losses = final or [row.loss for row in rows]
    reference = choose_reference(objective, losses)
    warp = choose_warp(objective, losses, reference)
    worst = float(warp.to_model(np.array(reference + MARGIN * warp.width)))
    if (edge := _front_edge([row for row in rows if row.level == last])) is not None:
        worst = min(worst, float(warp.to_model(np.array(edge))) + BEYOND_FRONT)
    z = warp.to_model(np.array([row.loss for row in rows], dtype=float))
    level = np.array([row.level for row in rows], dtype=int)
    z[level == last] = np.minimum(z[level == last], worst)
    at_last = {row.trial.number: value for row, value in zip(rows, z, strict=True) if row.level == last}
    for lower in range(last):
        mask = level == lower
        both = [
            (z[i], at_last[row.trial.number]) for i, row in enumerate(rows) if mask[i] and row.trial.number in at_last
        ]
        z[mask] = np.minimum(_align(z[mask], np.array(both).reshape(-1, 2)), worst)
    return Targets(z, worst, warp, reference)


def _front_edge(rows: Sequence[Measurement]) -> float | None:
    """The largest loss on the front of fully trained students; None where nothing else is known of them."""
    points = np.array([[row.loss, *row.others] for row in rows if row.others])
    front = nondominated(points) if len(points) else np.zeros(0, dtype=bool)
    return float(points[front, 0].max()) if front.any() else None


def _align(z: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Low-rung values on the last rung's scale: the posterior mean of a line with slope near one.

    ``pairs`` (k, 2) are (low, last) values. Prior: rise N(0, 2^2) at the pairs' mean, slope N(1, 0.3^2), residuals of
    sd 0.3; so without pairs the values stay as they are.
    """
    if not len(pairs):
        return z
    centre = pairs[:, 0].mean()
    design = np.column_stack([np.ones(len(pairs)), pairs[:, 0] - centre])
    precision = design.T @ design / 0.3**2 + np.diag([1 / 2.0**2, 1 / 0.3**2])
    rise, tilt = np.linalg.solve(precision, design.T @ (pairs[:, 1] - pairs[:, 0]) / 0.3**2)
    return z + rise + tilt * (z - centre)
