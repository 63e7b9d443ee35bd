"""Who goes on to the next rung: the multi-objective rule that needs no model.

The rule is successive halving with non-dominated sorting: among the trials that reached a rung, those of the same
family (a method's curve has its own shape) are ranked by non-dominated sorting on (value, exact costs), and within a
rank spread along the front. At least a `SHARE` of all students reaches the last rung.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from autostudent.front import ranks
from autostudent.propose.history import IN_FLIGHT, History, minimised
from autostudent.records import Proposal, Trial, TrialState

SHARE = 1 / 3  # of the students reach the last rung
HOPELESS = 4.0  # times as far behind a rung's best as its median is

Family = tuple[Any, ...]


def _part(history: History, share: float, level: int) -> float:
    """Share of all students that goes on from a rung, such that ``share`` goes on from the last but one."""
    return share ** ((level + 1) / (len(history.problem.rungs) - 1))


def unranked(history: History) -> Trial | None:
    """The first paused trial whose rung says nothing (no valid value there yet): it goes on without being compared."""
    return next((trial for trial in history.paused if not math.isfinite(history.loss(trial))), None)


def promising(history: History, level: int) -> list[Trial]:
    """Paused trials at a rung: families of which the smallest share went on first, in each the best by rank.

    Ties go to the most isolated, and on the fronts of families, whose ends are all infinitely isolated, to those whom
    the fewest students of any family dominate. Last come the `hopeless`, whom only their small size keeps on the front.
    """
    epoch = history.problem.rungs[level]
    reached = _arrived(history, epoch)
    order: list[tuple[tuple[bool, float, int, float], Trial, np.ndarray]] = []
    for group in _families(history, reached).values():
        lost = hopeless(history, group, epoch)
        values = _points_at(history, group, epoch)
        rank = ranks(values)
        spread = _isolation(values, rank)
        gone = sum(trial.epoch > epoch or _climbs(history, trial, level) for trial in group) / len(group)
        order += [
            ((trial.number in lost, gone, int(rank[i]), -spread[i]), trial, values[i])
            for i, trial in enumerate(group)
            if trial.state is TrialState.PAUSED and trial.epoch == epoch
        ]
    alike = Counter(key for key, _, _ in order)
    everybody = _points_at(history, reached, epoch)

    def place(entry: tuple[tuple[bool, float, int, float], Trial, np.ndarray]) -> tuple[float, ...]:
        key, trial, point = entry
        tied = alike[key] > 1 and key[2] == 0
        return (*key, _dominators(everybody, point) if tied else 0, trial.number)

    return [trial for _, trial, _ in sorted(order, key=place)]


def hopeless(history: History, group: Sequence[Trial], epoch: int) -> set[int]:
    """Numbers of those in one family whose loss at a rung is `HOPELESS` times as far behind the best as the median.

    Students that learned nothing are cheap, and would go on for that alone. A loss within the measured objective's
    reference is never hopeless.
    """
    losses = [history.loss_at(trial, epoch) for trial in group]
    best, middle = min(losses), sorted(losses)[(len(losses) - 1) // 2]
    worst = best + HOPELESS * (middle - best)
    measured = history.problem.measured
    if measured.reference is not None:
        worst = max(worst, minimised(measured, measured.reference))
    return {trial.number for trial, loss in zip(group, losses, strict=True) if loss > worst}


def due(history: History, share: float = SHARE) -> Trial | None:
    """The trial that must go on because too few of its family did, highest rung first; None when all quotas are met.

    ``share`` of a family's students, rounded, but one of two, is to reach the last rung while the study runs, so that
    no family is judged by its first epochs alone. At the study's end `SHARE` of all students is.
    """
    rungs = history.problem.rungs
    ending = not history.students_left and not history.in_flight
    families = [history.family(trial) for trial in history.trials]
    for level in reversed(range(len(rungs) - 1)):
        gone, started = Counter[Family](), Counter[Family]()
        for family, trial in zip(families, history.trials, strict=True):
            started[family] += trial.epoch >= rungs[0]
            gone[family] += trial.epoch > rungs[level] or _climbs(history, trial, level)
        part = _part(history, share, level)
        short = {
            family
            for family in started
            if gone[family] < max(math.floor(part * started[family] + 0.5), started[family] > 1)
        }
        too_few = gone.total() < math.ceil(_part(history, SHARE, level) * len(history.trials) - 1e-9)
        if not short and not (ending and too_few):
            continue  # ranking a long record takes longer than all of this
        waiting = promising(history, level)
        groups = _families(history, _arrived(history, rungs[level]))
        lost: dict[Family, set[int]] = {}
        for trial in waiting:
            family = history.family(trial)
            if family not in short:
                continue
            if family not in lost:
                lost[family] = hopeless(history, groups[family], rungs[level])
            if trial.number not in lost[family]:
                return trial
        if waiting and ending and too_few:
            return waiting[0]
    return None


def going_on(history: History, trial: Trial) -> Proposal:
    """The proposal that takes a paused trial to its next rung."""
    return Proposal(trial.candidate, history.next_rung(trial), trial.number)


def missing(history: History) -> int:
    """How many more students must reach the last rung before the study may end."""
    last = history.problem.rungs[-1]
    there = len(history.complete) + sum(history.target(trial) == last for trial in history.in_flight)
    return math.ceil(SHARE * len(history.trials) - 1e-9) - there


def _arrived(history: History, epoch: int) -> list[Trial]:
    """All trials with a valid value at a rung, wherever they are by now."""
    name = history.problem.measured.name
    return [
        trial
        for trial in history.trials
        if any(result.epoch == epoch and result.valid and name in result.values for result in trial.results)
    ]


def _points_at(history: History, trials: Sequence[Trial], epoch: int) -> np.ndarray:
    """(n, objectives) of trials, the measured one as it was at a rung."""
    points = history.points(trials)
    points[:, 0] = [history.loss_at(trial, epoch) for trial in trials]
    return points


def _dominators(points: np.ndarray, point: np.ndarray) -> int:
    """How many of ``points`` (n, m) are nowhere worse than ``point`` and somewhere better."""
    return int(((points <= point).all(axis=1) & (points < point).any(axis=1)).sum())


def _families(history: History, trials: Sequence[Trial]) -> dict[Family, list[Trial]]:
    """The trials by family, families in the order of their first trials."""
    found: dict[Family, list[Trial]] = {}
    for trial in trials:
        found.setdefault(history.family(trial), []).append(trial)
    return found


def _climbs(history: History, trial: Trial, level: int) -> bool:
    """In flight from this rung to a higher one."""
    return trial.state in IN_FLIGHT and history.target(trial) > history.problem.rungs[level] >= trial.epoch > 0


def _isolation(values: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """NSGA-II's crowding distance (n,) within each rank; the ends of a front are infinitely isolated."""
    distance = np.zeros(len(values))
    for level in np.unique(rank):
        members = np.flatnonzero(rank == level)
        for column in values[members].T:
            by_value = members[np.argsort(column, kind="stable")]
            ordered = np.sort(column, kind="stable")
            width = ordered[-1] - ordered[0]
            distance[by_value[[0, -1]]] = np.inf
            if width > 0:
                distance[by_value[1:-1]] += (ordered[2:] - ordered[:-2]) / width
    return distance
