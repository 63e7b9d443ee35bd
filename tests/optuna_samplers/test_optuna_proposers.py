"""Optuna's samplers behind our interface."""

from __future__ import annotations

from dataclasses import replace

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autostudent.optuna_samplers.columns import Column
from autostudent.optuna_samplers.proposers import OptunaProposer, tpe
from autostudent.propose import make
from autostudent.propose.base import Proposer
from autostudent.propose.history import History
from autostudent.records import Result, TrialState
from autostudent.testing.landscape import landscape_problem
from autostudent.testing.proposers import ProposerSuite, play


class TestTPE(ProposerSuite):
    def make(self) -> Proposer:
        return make("tpe")


class TestNSGA2(ProposerSuite):
    def make(self) -> Proposer:
        return make("nsga2")


def test_nsga2_breeds_once_a_generation_is_there() -> None:
    """Children of two parents share their values; random draws of a real number never do."""
    problem = landscape_problem(60)
    record, _ = play(make("nsga2"), problem)
    rates = [trial.candidate.config["lr"] for trial in record]
    assert len(set(rates[:20])) == 20
    assert sum(rate in rates[:i] for i, rate in enumerate(rates)) > 10


def test_only_values_that_say_something_are_told() -> None:
    """Neither what came before the student was trained for its task, nor a student that diverged at a higher rung."""
    problem = landscape_problem(6, (1, 3, 9))
    record, _ = play(make("random"), problem, segments=5)
    early, late, good = record[:3]
    measured = problem.measured.name
    silent = replace(early, state=TrialState.PAUSED, results=(Result(1, {measured: 0.9}, valid=False, order=0),))
    failed = replace(late, state=TrialState.FAIL, results=(Result(1, {measured: 0.95}, order=1),))
    mended = replace(
        good,
        state=TrialState.PAUSED,
        results=(Result(1, {measured: 0.4}, order=2), Result(3, {measured: 0.9}, valid=False, order=3)),
    )
    proposer = tpe()
    assert isinstance(proposer, OptunaProposer)
    study = proposer._study(History.of(problem, [silent, failed, mended]), problem.space, 0)  # type: ignore[arg-type]
    assert [trial.values[0] for trial in study.trials] == [0.4]


def test_columns_code_and_decode_every_distribution() -> None:
    cases = [
        (CategoricalDistribution(("a", None, 3, True)), ["a", None, 3, True]),
        (FloatDistribution(0.1, 10, log=True), [0.1, 2.5, 10.0]),
        (FloatDistribution(0.0, 1.0, step=0.25), [0.0, 0.25, 1.0]),
        (IntDistribution(8, 128, step=8), [8, 64, 128]),
        (IntDistribution(1, 9), [1, 5, 9]),
    ]
    for distribution, values in cases:
        column = Column(distribution)
        for value in values:
            code = column.code(value)
            assert column.value(code) == value
            assert column.holds(value)
            assert 0 <= column.domain.encode(code) <= max(1, len(values))
