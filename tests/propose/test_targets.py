"""How values of an early rung are read: every family has its own rise, partly pooled with the others'."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autostudent.propose.history import History
from autostudent.propose.targets import BEYOND_FRONT, MARGIN, Measurement, crowds, measurements, targets
from autostudent.propose.warp import Warp
from autostudent.records import Candidate, Objective, Problem, Result, Trial, TrialState
from autostudent.testing.landscape import landscape_problem

PROBLEM = replace(landscape_problem(40, (1, 9)), rung_costs=(0.1, 0.9))
RISES = {"plain": 0.05, "late": 0.3}  # by how much the error of a method falls after the first rung


def record(finals: dict[str, int], shift: float = 0.0) -> tuple[Problem, list[Trial]]:
    """Eight students a method; of each the first few reached the end. Both methods end up alike, but for ``shift``."""
    trials = []
    for method, finished in finals.items():
        for i in range(8):
            end = 0.1 + 0.01 * i + (shift if method == "late" else 0.0)
            results = [Result(1, {"accuracy": 1 - end - RISES[method]}, order=len(trials))]
            if i < finished:
                results.append(Result(9, {"accuracy": 1 - end}, order=len(trials) + 100))
            state = TrialState.COMPLETE if i < finished else TrialState.PAUSED
            candidate = Candidate({"loss": method, "block0": "thin"}, i)
            costs = {"params": 1 - end}  # the better the larger: all are on the front, and nothing is clipped
            trials.append(Trial(len(trials), candidate, str(len(trials)), state, costs, tuple(results), 1))
    return PROBLEM, trials


def aligned(finals: dict[str, int], shift: float = 0.0) -> dict[str, np.ndarray]:
    """Losses at the end that first-rung values are taken for, by method, of the students that did not go on."""
    problem, trials = record(finals, shift)
    rows = measurements(History.of(problem, trials), problem.measured)
    found = targets(problem.measured, rows, 2)
    losses = found.warp.to_loss(found.z)
    return {
        method: np.array(
            [
                loss + 1
                for row, loss in zip(rows, losses, strict=True)
                if row.family == (method,) and row.trial.state is TrialState.PAUSED
            ]
        )
        for method in finals
    }


def test_each_family_rises_by_its_own_amount() -> None:
    """The last two of eight ended at 0.16 and 0.17; with the other's rise they would be read as 0.25 away."""
    found = aligned({"plain": 6, "late": 6})
    for method in RISES:
        assert found[method].mean() == pytest.approx(0.165, abs=0.04)


def test_a_family_of_which_nobody_finished_is_not_taken_for_bad() -> None:
    """Read with the others' rise all of its students would be clipped to one value beyond the front."""
    found = aligned({"plain": 6, "late": 0})["late"]
    assert found[0] == pytest.approx(0.1, abs=0.04)
    assert (np.diff(found) > 0).all()


def test_one_that_finished_counts_more_than_the_guess_that_families_are_alike() -> None:
    nobody, one, many = (aligned({"plain": 6, "late": n}, 0.1)["late"][-1] for n in (0, 1, 6))
    assert nobody < one <= many + 0.02
    assert many == pytest.approx(0.27, abs=0.04)


ERROR = Objective("error", "minimize", reference=0.5)


def _smooth(z: np.ndarray) -> float:
    """Log density of values that a smooth process takes along a line."""
    x = np.linspace(-1, 1, len(z))
    covariance = np.exp(-((x[:, None] - x) ** 2)) + 0.01 * np.eye(len(z))
    return float(-0.5 * (z @ np.linalg.solve(covariance, z) + np.linalg.slogdet(covariance)[1]))


@pytest.mark.parametrize(
    ("warp", "crowded"), [(Warp(0.0, 1.0, rate=True), False), (Warp(0.045, 0.4, rate=False), True)]
)
def test_the_likelier_scale_is_told_from_the_losses(warp: Warp, crowded: bool) -> None:
    """Twenty losses that are linear on the one scale or on the other."""
    losses = warp.to_loss(np.linspace(*warp.to_model(np.array([0.08, 0.4])), 20))
    trial = record({"plain": 1})[1][0]
    rows = [Measurement(trial, 0, float(loss), i, (), ()) for i, loss in enumerate(losses)]
    assert crowds(ERROR, rows, lambda _, z: _smooth(z)) is crowded
    assert targets(ERROR, rows, 1, crowded).warp.rate is not crowded
    assert not crowds(ERROR, rows[:4], lambda _, z: _smooth(z))  # too few to tell


def test_other_than_rates_have_one_scale() -> None:
    trial = record({"plain": 1})[1][0]
    rows = [Measurement(trial, 0, 1.0 + i, i, (), ()) for i in range(9)]
    assert not crowds(Objective("nll", "minimize"), rows, lambda _, z: _smooth(z))
    assert not targets(Objective("nll", "minimize"), rows, 1).warp.rate


@pytest.mark.parametrize(("reference", "told_apart"), [(0.85, 10), (0.45, 8)])
def test_losses_beyond_the_reference_are_told_apart_only_where_few_reach_it(reference: float, told_apart: int) -> None:
    accuracies = [0.9, 0.8, 0.7, 0.6, 0.56, 0.5, 0.42, 0.3, 0.2, 0.1]  # 0.42 is within the margin
    trials = [
        Trial(i, Candidate({}, i), str(i), TrialState.COMPLETE, {"params": a}, (Result(9, {"accuracy": a}),), 9)
        for i, a in enumerate(accuracies)
    ]
    objectives = (replace(PROBLEM.objectives[0], reference=reference), *PROBLEM.objectives[1:])
    problem = replace(PROBLEM, objectives=objectives, rungs=(9,), rung_costs=(1.0,))
    rows = measurements(History.of(problem, trials), problem.measured)
    assert len(np.unique(targets(problem.measured, rows, 1).z)) == told_apart


def test_what_may_not_be_ranked_is_not_measured_and_a_longer_record_only_appends() -> None:
    problem, trials = record({"plain": 3})
    rows = measurements(History.of(problem, trials), problem.measured)
    assert [row.order for row in rows] == sorted(row.order for row in rows)
    assert [(row.trial.number, row.level) for row in rows[-3:]] == [(0, 1), (1, 1), (2, 1)]
    trials[0] = replace(trials[0], results=(replace(trials[0].results[0], valid=False), trials[0].results[1]))
    fewer = measurements(History.of(problem, trials), problem.measured)
    assert len(fewer) == len(rows) - 1
    assert [row.level for row in fewer if row.trial.number == 0] == [1]


def seen(
    level: int, losses: np.ndarray, costs: list[float] | None = None, first: int = 0, family: str = ""
) -> list[Measurement]:
    """One value at a rung for each of some students, who are numbered from ``first``."""
    trials = [replace(record({"plain": 1})[1][0], number=first + i) for i in range(len(losses))]
    others = [(cost,) for cost in costs] if costs else [()] * len(losses)
    figures = zip(trials, losses, others, strict=True)
    return [Measurement(trial, level, float(loss), 0, other, (family,)) for trial, loss, other in figures]


def test_only_fully_trained_students_say_where_the_front_ends() -> None:
    done = seen(1, np.array([0.1, 0.2, 0.45]), [900.0, 500.0, 600.0])
    found = targets(ERROR, [*done, *seen(0, np.array([0.4]), [10.0], first=3)], 2)
    assert found.worst == pytest.approx(float(found.warp.to_model(np.array(0.2))) + BEYOND_FRONT)


def test_a_spread_that_shrinks_towards_the_end_is_read_as_that() -> None:
    warp, low = Warp(0.0, 1.0, rate=True), np.linspace(-2.4, -0.2, 24)
    final = 0.5 * low - 1.35
    rows = [*seen(0, warp.to_loss(low)), *seen(1, warp.to_loss(final)), *seen(0, warp.to_loss(low[[0, -1]]), first=24)]
    best, worst = targets(ERROR, rows, 2).z[-2:]
    assert worst - best == pytest.approx(final[-1] - final[0], rel=0.2)  # at the first rung twice as far apart


def test_a_family_of_which_many_finished_is_read_by_its_own_rise() -> None:
    """Both begin alike; the one ends where it began, the other far better."""
    warp, low = Warp(0.0, 1.0, rate=True), np.linspace(-1.2, -0.2, 24)
    rows = []
    for place, (family, rise) in enumerate({"flat": 0.0, "steep": -1.0}.items()):
        rows += seen(0, warp.to_loss(low), first=100 * place, family=family)
        rows += seen(1, warp.to_loss(low + rise), first=100 * place, family=family)
    rows += seen(0, warp.to_loss(np.array([-0.7])), first=300, family="steep")
    assert targets(ERROR, rows, 2).z[-1] == pytest.approx(-1.7, abs=0.05)


def test_early_rungs_do_not_say_how_few_reach_the_reference() -> None:
    rows = [*seen(1, np.array([0.1, 0.2, 0.3])), *seen(0, np.full(9, 0.9), first=3)]
    found = targets(ERROR, rows, 2)
    assert found.worst == pytest.approx(float(found.warp.to_model(np.array(0.5 + MARGIN))))
