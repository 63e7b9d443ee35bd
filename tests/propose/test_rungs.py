"""Who goes on, without a model and with one."""

from __future__ import annotations

from dataclasses import replace

from autostudent.propose import make
from autostudent.propose.history import History
from autostudent.propose.rungs import SHARE, due, missing, promising, unranked
from autostudent.records import Candidate, Proposal, Result, Trial, TrialState
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


def student(number: int, *accuracies: float, params: float = 100.0, loss: str = "plain") -> Trial:
    """One that has these accuracies at its rungs, and may go on after the last of them."""
    rungs = PROBLEM.rungs[: len(accuracies)]
    results = tuple(Result(rung, {"accuracy": a}) for rung, a in zip(rungs, accuracies, strict=True))
    state = TrialState.COMPLETE if len(rungs) == len(PROBLEM.rungs) else TrialState.PAUSED
    return Trial(number, Candidate({"loss": loss}, number), str(number), state, {"params": params}, results, rungs[-1])


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
    record[4] = replace(record[4], state=TrialState.TRAINING, until_epoch=3)  # not to the end
    assert missing(History.of(PROBLEM, record)) == 3
    assert missing(History.of(PROBLEM, record[5:])) == 3  # of seven, a third and no less


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


def test_of_nine_five_reach_the_second_rung_and_three_the_last() -> None:
    done = [student(i, 0.5, 0.6, 0.7) for i in range(3)]
    four = History.of(PROBLEM, [*done, student(3, 0.5, 0.6), *(student(i, 0.5) for i in range(4, 9))])
    trial = due(four)
    assert trial is not None
    assert trial.epoch == 1
    five = [*done, *(student(i, 0.5, 0.6) for i in (3, 4)), *(student(i, 0.5) for i in range(5, 9))]
    assert due(History.of(PROBLEM, five)) is None
    two = History.of(PROBLEM, [*done[:2], *(student(i, 0.5, 0.6) for i in range(2, 9))])
    both = History.of(PROBLEM, [*(student(i, 0.5) for i in range(7)), *(student(i, 0.5, 0.6) for i in (7, 8))])
    for history in (two, both):  # the highest rung first
        trial = due(history)
        assert trial is not None
        assert trial.epoch == 3


def test_one_of_two_goes_on_however_small_the_share() -> None:
    pair = [student(i, 0.5, 0.6) for i in range(2)]
    assert due(History.of(PROBLEM, pair[:1]), SHARE / 4) is None
    assert due(History.of(PROBLEM, pair), SHARE / 4) is not None


def test_the_share_of_all_students_is_made_up_once_nothing_is_in_flight() -> None:
    """Each is of a family of its own, of which none has to reach the last rung."""
    record = [student(i, 0.5, 0.6, loss=str(i)) for i in range(PROBLEM.trials)]
    assert due(History.of(PROBLEM, record)) is not None
    assert due(History.of(PROBLEM, record[:-1])) is None  # another student is to come
    record[0] = replace(record[0], state=TrialState.TRAINING, until_epoch=9)
    assert due(History.of(PROBLEM, record)) is None


def test_students_are_compared_by_what_they_were_at_the_rung() -> None:
    slow = student(1, 0.5, 0.8, 0.9, params=50.0)  # by now better than the first, and smaller
    history = History.of(PROBLEM, [student(0, 0.6), slow, student(2, 0.45, params=10.0)])
    assert [trial.number for trial in promising(history, 0)] == [0, 2]


def test_of_equal_rank_the_most_isolated_goes_first_whatever_the_units() -> None:
    figures = [(0.9, 1000.0), (0.89, 600.0), (0.85, 450.0), (0.4, 100.0)]
    record = [student(i, accuracy, params=params) for i, (accuracy, params) in enumerate(figures)]
    assert [trial.number for trial in promising(History.of(PROBLEM, record), 0)] == [0, 3, 2, 1]
