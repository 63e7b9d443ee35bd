"""What was tried least is tried again, however bad the model believes it to be."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from autostudent.propose import make
from autostudent.propose.base import generator
from autostudent.propose.catalogue import Catalogue, Option
from autostudent.propose.neglect import EVERY, neglected
from autostudent.records import Candidate, Description, Objective, Problem, Result, Trial, TrialState, Value


class Letters:
    """Two categorical variables, the second with a choice that is drawn rarely, and a number that does not matter."""

    recipe: tuple[str, ...] = ()
    names = ("first", "second", "third")
    allowed: ClassVar = {"first": "abcdefgh", "second": "xyyyyyyy", "third": range(10)}

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        return {name: values[int(rng.integers(len(values)))] for name, values in self.allowed.items()}

    def check(self, config: dict[str, Value]) -> None:
        assert set(config) == set(self.names)

    def encode(self, config: dict[str, Value]) -> np.ndarray:
        return np.array([float(self.allowed[name].index(config[name])) for name in self.names])

    def mutate(self, config: dict[str, Value], rng: np.random.Generator, names: tuple[str, ...]) -> dict[str, Value]:
        return {**config, names[0]: self.sample(rng)[names[0]]}


def problem() -> Problem:
    def describe(candidate: Candidate) -> Description:
        return Description("".join(map(str, candidate.config.values())), {"cost": 1.0})

    objectives = (
        Objective("error", "minimize", reference=1.0),
        Objective("cost", "minimize", reference=2.0, exact=True),
    )
    return Problem(Letters(), objectives, (1,), 60, 0, describe)


def trial(number: int, config: dict[str, Value]) -> Trial:
    # "h" is the one good letter, but whoever had it first was spoilt by "x"
    spoilt = {"h": 0.97}.get(str(config["first"]), 0.6)
    error = spoilt if config.get("second") == "x" else 0.1 if config["first"] == "h" else 0.5
    result = Result(1, {"error": error + 0.001 * number}, order=number)
    costs = {"cost": 1.0}
    name = "".join(map(str, config.values()))
    return Trial(number, Candidate(config, 0), name, TrialState.COMPLETE, costs, (result,), 1)


def test_the_least_tried_choice_is_meant_beside_the_others_of_its_variable() -> None:
    pool = Catalogue(problem(), generator).fresh(0, 400)
    tried = [trial(i, {"first": letter, "second": "xy"[i % 2], "third": 0}) for i, letter in enumerate("abcdefg" * 2)]
    held = neglected(tried, pool)
    assert 0 < held.sum() < len(pool)
    assert {option.candidate.config["first"] for option, is_held in zip(pool, held, strict=True) if is_held} == {"h"}

    tried += [trial(i, {"first": "h", "second": "y", "third": 0}) for i in range(3)]
    assert {pool[i].candidate.config["second"] for i in np.flatnonzero(neglected(tried, pool))} == {"x"}


def test_a_choice_that_was_seldom_active_is_not_neglected_for_that() -> None:
    pool = Catalogue(problem(), generator).fresh(0, 400)
    tried = [trial(i, {"first": letter, "third": 0}) for i, letter in enumerate("abcdefghabcdefg")]
    tried += [trial(i, {"first": "a", "second": second, "third": 0}) for i, second in enumerate("xy")]
    assert {pool[i].candidate.config["first"] for i in np.flatnonzero(neglected(tried, pool))} == {"h"}


def test_true_and_false_are_choices_like_others() -> None:
    pool = [Option(Candidate({"flag": flag}, 0), Description("f", {}), ()) for flag in (True, False)]
    assert neglected([trial(0, {"first": "a", "flag": True})], pool).tolist() == [False, True]


def test_every_few_students_a_neglected_choice_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = problem()
    pairs = [*zip("abcdefgabcdefg", "y" * 14, strict=True), *zip("abcdeh", "x" * 6, strict=True)]
    record = [trial(i, {"first": first, "second": second, "third": 0}) for i, (first, second) in enumerate(pairs)]
    assert len(record) % EVERY == 0
    (proposal,) = make("bayes").ask(asked, record, 1)
    assert proposal.candidate.config["first"] == "h"

    monkeypatch.setattr("autostudent.propose.bayes.is_due", lambda students: False)
    (proposal,) = make("bayes").ask(asked, record, 1)
    assert proposal.candidate.config["first"] != "h"
