"""How values of an early rung are read: every family has its own rise, partly pooled with the others'."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autostudent.propose.history import History
from autostudent.propose.targets import measurements, targets
from autostudent.records import Candidate, Problem, Result, Trial, TrialState
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
