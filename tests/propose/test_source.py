"""A good earlier study helps, a misleading one does not hurt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autostudent.front import hypervolume
from autostudent.propose.base import generator
from autostudent.propose.bayes import Bayes
from autostudent.propose.catalogue import Catalogue
from autostudent.propose.design import design_size, first_design
from autostudent.propose.encoding import SAMPLE
from autostudent.propose.random import Random
from autostudent.propose.source import Source
from autostudent.records import Trial, TrialState
from autostudent.testing.landscape import landscape_problem
from autostudent.testing.proposers import invented, play


def volume(trials: list[Trial]) -> float:
    points = [[-t.values["accuracy"], t.costs["params"] / 12_000] for t in trials if t.state is TrialState.COMPLETE]
    return hypervolume(np.array(points), np.array([-0.4, 1.0])) / 0.6


def bayes(source: list[Trial]) -> Bayes:
    return Bayes(fresh=64, relatives=48, rounds=1, source=source)


def test_front_of_the_source_comes_first() -> None:
    problem = landscape_problem(30, seed=9)
    source, _ = play(Random(), problem)
    answers = bayes(source).ask(landscape_problem(20), [], 3)
    best = max(source, key=lambda trial: trial.values["accuracy"])
    assert best.candidate == answers[0].candidate
    keys = {trial.candidate.key for trial in source}
    assert all(answer.candidate.key in keys for answer in answers)
    small = replace(problem, objectives=(problem.objectives[0], replace(problem.objectives[1], limit=2_000)))
    for answer in bayes(source).ask(small, [], 3):
        assert problem.describe(answer.candidate).costs["params"] <= 2_000


def test_the_sources_front_counts_as_part_of_the_first_design() -> None:
    """A third of a budget of 21 is the first design: three of the source, four of our own, then the model decides."""
    problem = landscape_problem(21)
    catalogue = Catalogue(problem, generator)
    size = design_size(problem, catalogue)
    assert size == design_size(problem, catalogue, given=3) == 7
    assert design_size(landscape_problem(9), catalogue, given=3) == 6  # three choices, each tried once
    source, _ = play(Random(), landscape_problem(30, seed=9))
    trials, _ = play(bayes(source), problem, segments=size + 1)
    own = [option.candidate.key for option in first_design(problem, catalogue, size)]
    earlier = {trial.candidate.key for trial in source}
    assert all(trial.candidate.key in earlier for trial in trials[:3])
    assert [trial.candidate.key for trial in trials[3:size]] == own[: size - 3]
    assert trials[size].candidate.key not in own


def test_beliefs_are_in_spreads_of_fresh_draws() -> None:
    problem = landscape_problem(20)
    catalogue = Catalogue(problem, generator)
    source = Source(problem, catalogue, play(Random(), landscape_problem(30, seed=9))[0])
    found = source.believed(catalogue.fresh(0, SAMPLE))
    assert found.mean() == pytest.approx(0.0, abs=1e-6)
    assert found.std() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.slow
def test_good_source_helps_and_a_bad_one_costs_little() -> None:
    source, _ = play(Random(), landscape_problem(60, seed=9))
    reversed_, _ = play(Random(), landscape_problem(60, seed=9), measure=lambda trial: 1.2 - invented(trial))
    results: dict[str, list[float]] = {}
    for seed in range(3):
        for name, earlier in (("none", []), ("good", source), ("bad", reversed_)):
            trials, _ = play(bayes(earlier), landscape_problem(24, seed=seed))
            results.setdefault(name, []).append(volume(trials))
    assert np.mean(results["good"]) > np.mean(results["none"])
    assert np.mean(results["bad"]) > np.mean(results["none"]) - 0.02
