"""Who goes on, without a model and with one."""

from __future__ import annotations

from dataclasses import replace

from autostudent.propose import make
from autostudent.propose.history import History
from autostudent.propose.rungs import due, missing, promising, unranked
from autostudent.records import Proposal, Trial, TrialState
from autostudent.testing.landscape import accept, answer, landscape_problem
from autostudent.testing.proposers import play

PROBLEM = landscape_problem(12, (1, 3, 9))


def paused(accuracies: list[float]) -> list[Trial]:
    """Random students, all at the first rung with these accuracies."""
    catalogue = make("random").catalogue(PROBLEM)
    record: list[Trial] = []
    for i, (option, accuracy) in enumerate(zip(catalogue.fresh(0, 12), accuracies, strict=False)):
        record = accept(PROBLEM, record, Proposal(option.candidate, 1))
        record[-1] = answer(PROBLEM, record[-1], accuracy, i)
    return record


def test_quota_is_a_share_of_those_who_arrived_and_families_compete_within_themselves() -> None:
    record = paused([0.5, 0.9, 0.6, 0.7, 0.8, 0.3])
    history = History.of(PROBLEM, record)
    assert due(history) is not None
    order = promising(history, 0)
    assert len(order) == 6
    families = {history.family(trial) for trial in record}
    assert {history.family(trial) for trial in order[: len(families)]} == families
    for family in families:
        mine = [-history.loss(trial) for trial in order if history.family(trial) == family]
        rivals = [trial for trial in record if history.family(trial) == family]
        smallest = min(rivals, key=lambda trial: trial.costs["params"])
        assert mine[0] in (max(mine), -history.loss(smallest))


def test_among_families_of_one_the_worst_of_all_goes_last() -> None:
    record = paused([0.44, 0.97, 0.92, 0.91])
    history = History.of(PROBLEM, record)
    alone = {history.family(trial): trial for trial in record}
    assert len(alone) > 2
    by_size = sorted(alone.values(), key=lambda trial: -trial.costs["params"])
    record = [replace(trial, number=i, results=()) for i, trial in enumerate(by_size)]
    record = [answer(PROBLEM, trial, 0.4 if trial.number == 0 else 0.9, trial.number) for trial in record]
    history = History.of(PROBLEM, record)
    assert promising(history, 0)[-1].number == 0  # the largest, and the worst


def test_a_rung_that_says_nothing_stops_nobody() -> None:
    record = paused([0.5, 0.9])
    result = replace(record[0].results[0], valid=False)
    record[0] = replace(record[0], results=(result,))
    assert unranked(History.of(PROBLEM, record)) is record[0]
    for name in ("random", "evolution", "bayes"):
        (proposal,) = make(name).ask(PROBLEM, record, 1)
        assert (proposal.trial, proposal.until_epoch) == (0, 3)


def test_missing_counts_those_on_their_way() -> None:
    record = paused([0.5] * 12)
    assert missing(History.of(PROBLEM, record)) == 4
    record[3] = replace(record[3], state=TrialState.TRAINING, until_epoch=9)
    assert missing(History.of(PROBLEM, record)) == 3


def test_late_risers_are_not_starved() -> None:
    """The method that is worst at both rungs and best at the end gets trained to the end in numbers."""
    record, _ = play(make("bayes", fresh=96, relatives=48, rounds=1), landscape_problem(20, (1, 3, 9)))
    done = [trial.candidate.config["loss"] for trial in record if trial.state is TrialState.COMPLETE]
    assert done.count("late") >= len(done) / 3


def test_students_that_learned_nothing_go_last_however_small() -> None:
    record = paused([0.9, 0.91, 0.92, 0.9, 0.91, 0.92, 0.9, 0.91, 0.92, 0.9])
    history = History.of(PROBLEM, record)
    family = max({history.family(t) for t in record}, key=lambda f: sum(history.family(t) == f for t in record))
    members = [trial for trial in record if history.family(trial) == family]
    assert len(members) > 2
    smallest = min(members, key=lambda trial: trial.costs["params"])
    record[smallest.number] = answer(PROBLEM, replace(smallest, results=()), 0.1, 99)
    history = History.of(PROBLEM, record)
    assert promising(history, 0)[-1].number == smallest.number
