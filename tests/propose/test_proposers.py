"""Every proposer passes the suite that plug-in writers get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autostudent.errors import ConfigError
from autostudent.propose import PROPOSERS, make
from autostudent.propose.base import Proposer
from autostudent.propose.evolution import Evolution
from autostudent.propose.history import History
from autostudent.records import TrialState
from autostudent.testing.landscape import landscape_problem
from autostudent.testing.proposers import ProposerSuite, play


class TestRandom(ProposerSuite):
    def make(self) -> Proposer:
        return make("random")


class TestEvolution(ProposerSuite):
    def make(self) -> Proposer:
        return make("evolution", population=6, tournament=3)


class TestBayes(ProposerSuite):
    trials = 6

    def make(self) -> Proposer:
        return make("bayes", fresh=48, relatives=32, rounds=1)


def test_names_and_options_are_checked() -> None:
    assert set(PROPOSERS) >= {"random", "evolution", "bayes"}
    with pytest.raises(ConfigError, match="did you mean 'bayes'"):
        make("bays")
    with pytest.raises(ConfigError, match=r"search\.options\.population.*fresh"):
        make("bayes", population=3)


def test_evolution_takes_no_failed_student_for_a_parent() -> None:
    problem = landscape_problem(60)
    record, _ = play(make("random"), problem, segments=4)
    failed = [replace(trial, state=TrialState.FAIL) for trial in record]  # with the values they had before
    evolution = Evolution(population=4)
    assert evolution.propose(problem, record) is not None
    assert evolution._child(History.of(problem, record)) is not None
    assert evolution._child(History.of(problem, failed)) is None


def test_first_design_tries_every_choice_and_spreads_sizes() -> None:
    problem = landscape_problem(24)
    answers = make("bayes").ask(problem, [], 8)
    assert {answer.candidate.config["loss"] for answer in answers} == {"plain", "early", "late"}
    sizes = sorted(problem.describe(answer.candidate).costs["params"] for answer in answers)
    assert sizes[0] < 1_000
    assert sizes[-1] > 5_000
