"""Optuna's samplers behind our interface."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autostudent.optuna_samplers.columns import Column
from autostudent.propose import make
from autostudent.propose.base import Proposer
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
