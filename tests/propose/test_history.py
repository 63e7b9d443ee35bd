"""How a record is read: which value counts, who is done, and what a failure says of a candidate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autostudent.propose.history import History
from autostudent.records import Candidate, Cause, Failure, Result, Trial, TrialState
from autostudent.testing.landscape import landscape_problem

PROBLEM = landscape_problem(12, (1, 3, 9))
HISTORY = History.of(PROBLEM, [])


def student(*accuracies: float, state: TrialState = TrialState.PAUSED) -> Trial:
    results = tuple(Result(rung, {"accuracy": a}) for rung, a in zip(PROBLEM.rungs, accuracies, strict=False))
    return Trial(0, Candidate({"loss": "plain"}, 0), "f", state, {"params": 1.0}, results)


def test_the_last_value_that_may_be_ranked_counts() -> None:
    trial = student(0.5, 0.6, 0.7)
    assert HISTORY.loss(trial) == -0.7
    assert HISTORY.loss_at(trial, 3) == -0.6
    unranked = replace(trial, results=(*trial.results[:2], replace(trial.results[2], valid=False)))
    assert HISTORY.loss(unranked) == -0.6


def test_only_who_was_trained_to_the_end_with_a_value_is_complete() -> None:
    done = student(0.5, 0.6, 0.7, state=TrialState.COMPLETE)
    silent = replace(done, results=tuple(replace(result, valid=False) for result in done.results))
    cut = student(0.5, 0.6, state=TrialState.PRUNED)
    assert History.of(PROBLEM, [student(0.5), done, silent, cut]).complete == (done,)


@pytest.mark.parametrize("cause", list(Cause))
def test_only_what_a_candidate_does_itself_speaks_against_it(cause: Cause) -> None:
    failed = replace(student(0.5, state=TrialState.FAIL), failure=Failure(cause, "so it was"))
    assert HISTORY.bad(failed) == (cause in (Cause.DIVERGED, Cause.TIMEOUT, Cause.BUG))
