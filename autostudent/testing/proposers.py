"""Conformance tests for proposers, for plug-in writers.

from autostudent.testing.proposers import ProposerSuite

class TestMine(ProposerSuite):
    def make(self):
        return Mine()
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from autostudent.propose.base import Proposer
from autostudent.propose.catalogue import identity
from autostudent.records import Cause, Failure, Problem, Proposal, Trial, TrialState
from autostudent.testing.landscape import Landscape, accept, answer, landscape_problem

Measure = Callable[[Trial], float]
TWO_RUNGS, THREE_RUNGS = (1, 9), (1, 3, 9)


def invented(trial: Trial) -> float:
    """What the invented landscape says of the segment in flight."""
    return Landscape().accuracy(trial.candidate, trial.until_epoch)


def play(
    proposer: Proposer,
    problem: Problem,
    trials: list[Trial] | None = None,
    measure: Measure = invented,
    segments: int = 10_000,
) -> tuple[list[Trial], list[Proposal]]:
    """Runs a study with one worker from this record on, until it is done or ``segments`` more were trained."""
    record = list(trials or [])
    order = sum(len(trial.results) for trial in record)
    proposals: list[Proposal] = []
    while len(proposals) < segments and (answers := proposer.ask(problem, record, 1)):
        proposals += answers
        record = accept(problem, record, answers[0])
        record = [
            answer(problem, trial, measure(trial), order) if trial.state is TrialState.TRAINING else trial
            for trial in record
        ]
        order += 1
    return record, proposals


class ProposerSuite(ABC):
    """Inherit, say how to `make` the proposer, and pytest does the rest; about ten seconds for a model-based one."""

    trials = 8

    @abstractmethod
    def make(self) -> Proposer:
        """A new proposer with the options under test."""

    def test_answers_are_a_function_of_the_record(self) -> None:
        problem = landscape_problem(self.trials, TWO_RUNGS)
        _, whole = play(self.make(), problem)
        record, first = play(self.make(), problem, segments=self.trials)
        _, rest = play(self.make(), problem, record)
        assert [p.candidate.key for p in first + rest] == [p.candidate.key for p in whole]
        assert [p.until_epoch for p in first + rest] == [p.until_epoch for p in whole]

    def test_several_at_once_equal_one_after_the_other(self) -> None:
        problem = landscape_problem(self.trials + 4)
        record, _ = play(self.make(), problem, segments=self.trials)
        pending = record
        single = []
        proposer = self.make()
        for _ in range(4):
            single += proposer.ask(problem, pending, 1)
            pending = accept(problem, pending, single[-1])
        assert self.make().ask(problem, record, 4) == single

    def test_many_at_once_are_distinct_and_within_the_limits(self) -> None:
        problem = landscape_problem(60)
        record, _ = play(self.make(), problem, segments=8)
        answers = self.make().ask(problem, record, 8)
        described = [problem.describe(answer.candidate) for answer in answers]
        known = [identity(problem, trial.candidate, trial.fingerprint) for trial in record]
        new = [identity(problem, a.candidate, d.fingerprint) for a, d in zip(answers, described, strict=True)]
        assert len({*known, *new}) == len(known) + 8
        assert all(d.costs["params"] <= 12_000 for d in described)

    def test_budget_is_kept_and_a_third_reaches_the_last_rung(self) -> None:
        problem = landscape_problem(self.trials, THREE_RUNGS)
        record, _ = play(self.make(), problem)
        assert len(record) == self.trials
        done = [trial for trial in record if trial.state is TrialState.COMPLETE]
        assert len(done) >= math.ceil(self.trials / 3)
        assert all(trial.epoch in THREE_RUNGS for trial in record)
        for trial in record:
            problem.space.check(trial.candidate.config)

    def test_waits_with_work_in_flight_and_ends_without(self) -> None:
        problem = landscape_problem(3)
        answers = self.make().ask(problem, [], 5)
        assert len(answers) == 3
        record: list[Trial] = []
        for proposal in answers:
            record = accept(problem, record, proposal)
        assert self.make().ask(problem, record, 2) == []
        record = [answer(problem, trial, 0.5, i) for i, trial in enumerate(record)]
        assert self.make().ask(problem, record, 2) == []
        assert len(self.make().ask(replace(problem, trials=5), record, 9)) == 2

    def test_records_without_any_lesson(self) -> None:
        problem = landscape_problem(self.trials)
        for measure in (lambda trial: 0.5, lambda trial: math.nan):
            record, _ = play(self.make(), problem, measure=measure, segments=6)
            assert len(record) == 6
        failed = [
            replace(t, state=TrialState.FAIL, results=(), failure=Failure(Cause.DIVERGED, "loss is NaN"))
            for t in play(self.make(), problem, segments=5)[0]
        ]
        for record in (failed, failed[:1], play(self.make(), problem, segments=1)[0]):
            (proposal,) = self.make().ask(problem, record, 1)
            assert proposal.trial is None
            assert identity(problem, proposal.candidate, problem.describe(proposal.candidate).fingerprint) not in [
                identity(problem, trial.candidate, trial.fingerprint) for trial in record
            ]

    def test_failures_between_rungs_still_end(self) -> None:
        problem = landscape_problem(9, THREE_RUNGS)
        record: list[Trial] = []
        order = 0
        proposer = self.make()
        while answers := proposer.ask(problem, record, 1):
            record = accept(problem, record, answers[0])
            trial = next(trial for trial in record if trial.state is TrialState.TRAINING)
            if order % 4 == 3:
                changed = replace(trial, state=TrialState.FAIL, failure=Failure(Cause.OUT_OF_MEMORY, "killed"))
            else:
                changed = answer(problem, trial, invented(trial), order)
            record[trial.number] = changed
            order += 1
            assert order < 100
        assert len(record) == 9
