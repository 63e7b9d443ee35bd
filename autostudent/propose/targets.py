"""From measured curves to what the model is fitted to: warped, aligned across rungs, clipped at the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autostudent.front import nondominated
from autostudent.propose.history import History, minimised
from autostudent.propose.warp import Warp, choose_reference, possible_warps
from autostudent.records import Objective, Trial

FEWEST = 5  # students below which nothing is said of their losses
FEW = 0.5  # a reference is demanding where a smaller share of the losses reaches it, fully where half of that does
APART = 0.9  # share of the losses that are told apart however demanding the reference
MARGIN = 0.05  # how far beyond the reference a value is still told apart, in rate or in widths of the warp
RESIDUAL = 0.3  # standard deviation of last-rung values around the line, and of families' means, on the modelled scale
SLOPE = 0.3  # by how much the line's slope differs from one
COMMON = 1.0  # by how much families' rises differ
BEYOND_FRONT = 0.15  # how far beyond the front's worst member, on the modelled scale


@dataclass(frozen=True)
class Measurement:
    """One valid value of one trial at one rung, minimised.

    ``others`` are the trial's other objectives, ``family`` its method (see `History.family`).
    """

    trial: Trial
    level: int
    loss: float
    order: int
    others: tuple[float, ...]
    family: tuple[Any, ...]


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
        family = history.family(trial)
        for result in trial.results:
            if result.valid and math.isfinite(result.values.get(objective.name, math.nan)):
                loss = minimised(objective, result.values[objective.name])
                found.append(Measurement(trial, history.level(result.epoch), loss, result.order, others, family))
    return sorted(found, key=lambda m: (m.order, m.trial.number, m.level))


def unusable(history: History, objective: Objective) -> list[Trial]:
    """Trials whose candidate is to blame for having no value: diverged, timed out, crashed, or measured as NaN."""

    def unmeasured(trial: Trial) -> bool:
        return bool(trial.results) and not math.isfinite(trial.results[-1].values.get(objective.name, 0.0))

    return [trial for trial in history.trials if history.bad(trial) or unmeasured(trial)]


def crowds(
    objective: Objective, rows: Sequence[Measurement], likelihood: Callable[[np.ndarray, np.ndarray], float]
) -> bool:
    """Whether losses of fully trained students (n) look like crowding towards a floor just below the best of them.

    The likelier of the `possible_warps`, as densities of the losses (Snelson, Rasmussen, Ghahramani 2003, "Warped
    Gaussian processes"). ``likelihood(places, z)`` is the logarithm of the density of standardised values ``z`` (k,) at
    these places of the rows. Losses that `targets` clips do not count.
    """
    losses = np.array([row.loss for row in rows])
    reference = choose_reference(objective, losses.tolist())
    warps = possible_warps(objective, losses.tolist(), reference)
    edge = _front_edge(rows)
    places = np.flatnonzero(losses <= (reference if edge is None else min(reference, edge)))
    if len(warps) < 2 or len(places) < FEWEST or np.ptp(losses[places]) == 0:
        return False

    def evidence(warp: Warp) -> float:
        z = warp.to_model(losses[places])
        slopes = warp.log_slope(losses[places]) - np.log(z.std())
        return likelihood(places, (z - z.mean()) / z.std()) + float(slopes.sum())

    return evidence(warps[-1]) > evidence(warps[0])


def targets(objective: Objective, rows: Sequence[Measurement], rungs: int, crowded: bool = False) -> Targets:
    """Values on the scale of the last rung, a function of these rows alone; ``crowded`` as `crowds` says.

    Low rungs are aligned by regression over the trials that have both values. The ones that went on are a selected,
    better set, which shifts their mean but not the regression. Losses beyond the reference can never add hypervolume,
    so how far beyond they lie is noise: they are clipped. The fewer than `FEW` reach the reference, the nearer is the
    clip to the share `APART`, for the others must show the way. Clipped too are losses clearly beyond the worst on the
    front, which add volume only to students cheaper than all.
    """
    last = rungs - 1
    losses = [row.loss for row in rows if row.level == last] or [row.loss for row in rows]
    reference = choose_reference(objective, losses)
    warp = possible_warps(objective, [row.loss for row in rows], reference)[-1 if crowded else 0]
    apart = reference + MARGIN * warp.width
    if losses and (reach := float(np.mean(np.array(losses) <= reference))) < FEW:
        apart += min(1.0, 2 * (1 - reach / FEW)) * max(0.0, float(np.quantile(losses, APART)) - apart)
    worst = float(warp.to_model(np.array(apart)))
    if (edge := _front_edge([row for row in rows if row.level == last])) is not None:
        worst = min(worst, float(warp.to_model(np.array(edge))) + BEYOND_FRONT)
    z = warp.to_model(np.array([row.loss for row in rows], dtype=float))
    level = np.array([row.level for row in rows], dtype=int)
    z[level == last] = np.minimum(z[level == last], worst)
    at_last = {row.trial.number: value for row, value in zip(rows, z, strict=True) if row.level == last}
    for lower in range(last):
        places = [i for i, row in enumerate(rows) if row.level == lower]
        if places:
            final = np.array([at_last.get(rows[i].trial.number, np.nan) for i in places])
            z[places] = np.minimum(_align(z[places], final, [rows[i].family for i in places]), worst)
    return Targets(z, worst, warp, reference)


def _front_edge(rows: Sequence[Measurement]) -> float | None:
    """The largest loss on the front of fully trained students; None where nothing else is known of them."""
    points = np.array([[row.loss, *row.others] for row in rows if row.others])
    front = nondominated(points) if len(points) else np.zeros(0, dtype=bool)
    return float(points[front, 0].max()) if front.any() else None


def _align(z: np.ndarray, final: np.ndarray, families: Sequence[tuple[Any, ...]]) -> np.ndarray:
    """Low-rung values (n,) on the last rung's scale: each family rises by its own amount, all with one slope near one.

    ``final`` (n,) are the last-rung values of the same students, NaN where there is none. A family's rise is a
    compromise, weighted by certainty, between what its own students did, the common rise, and the guess that families
    end up alike on average. The last keeps a slow riser, of which nobody was trained to the end, from being mistaken
    for a bad method.
    """
    paired = np.isfinite(final)
    gaps = final[paired] - z[paired]
    common = gaps.sum() / RESIDUAL**2 / (paired.sum() / RESIDUAL**2 + 1 / 2.0**2)
    codes = {family: code for code, family in enumerate(dict.fromkeys(families))}
    coded = np.array([codes[family] for family in families])
    members = {family: coded == code for family, code in codes.items()}
    known = [mask for mask in members.values() if (mask & paired).any()]
    level = (
        np.mean([z[mask].mean() + np.nanmean(final[mask] - z[mask]) for mask in known]) if known else z.mean() + common
    )
    top = bottom = 0.0
    for mask in members.values():
        both = mask & paired
        if both.any():
            low, gap = z[both] - z[both].mean(), final[both] - z[both]
            top += float(low @ (gap - gap.mean()))
            bottom += float(low @ low)
    tilt = top / (bottom + (RESIDUAL / SLOPE) ** 2)
    aligned = np.empty_like(z)
    for mask in members.values():
        both = mask & paired
        votes = [(common, COMMON**-2)]
        if both.any():
            votes.append((float((final[both] - z[both]).mean()), both.sum() / RESIDUAL**2))
        if len(members) > 1:
            votes.append((level - z[mask].mean(), 1 / (z.var() / mask.sum() + RESIDUAL**2)))
        rise = sum(value * weight for value, weight in votes) / sum(weight for _, weight in votes)
        aligned[mask] = z[mask] + rise + tilt * (z[mask] - z[both if both.any() else mask].mean())
    return aligned
