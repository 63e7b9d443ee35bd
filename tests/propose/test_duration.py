"""The price of a training in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autostudent.propose import make
from autostudent.propose.bayes import Bayes
from autostudent.propose.duration import Durations
from autostudent.propose.history import History
from autostudent.records import Proposal, Trial
from autostudent.testing.landscape import accept, answer, landscape_problem

PROBLEM = landscape_problem(40, (9,))


def record(seconds: list[float]) -> tuple[History, np.ndarray]:
    """Trained students and random columns that describe them, the first of which the seconds depend on."""
    trials: list[Trial] = []
    for i, (option, spent) in enumerate(
        zip(make("random").catalogue(PROBLEM).fresh(0, len(seconds)), seconds, strict=True)
    ):
        trials = accept(PROBLEM, trials, Proposal(option.candidate, 9))
        done = answer(PROBLEM, trials[-1], 0.9, i)
        trials[-1] = replace(done, results=(replace(done.results[0], seconds={"student": spent, "lost": 1e6}),))
    return History.of(PROBLEM, trials), np.random.default_rng(0).normal(size=(len(seconds), 5))


def test_what_took_longer_is_expected_to_take_longer() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 5))
    history, _ = record(list(9 * np.exp(rows[:, 0])))
    durations = Durations(history.trials, rows)
    slow, average, fast = durations.relative(np.array([[1.0, 0, 0, 0, 0], [0.0] * 5, [-1.0, 0, 0, 0, 0]]))
    assert 2.0 < slow < 2.8
    assert 0.35 < fast < 0.6
    assert 0.8 < average < 1.3
    assert durations.relative(np.full((1, 5), 1e6))[0] <= 4.0


def test_without_seconds_all_are_alike() -> None:
    for seconds in ([0.0] * 8, [2.0] * 8, [1.0, 3.0]):
        history, rows = record(seconds)
        assert (Durations(history.trials, rows).relative(rows) == 1).all()


def test_of_two_like_promises_the_fast_one_is_taken() -> None:
    """Small students are made very slow: the proposals that follow are larger than where all cost the same."""
    catalogue = make("random").catalogue(PROBLEM)
    slow: list[Trial] = []
    even: list[Trial] = []
    for i, option in enumerate(catalogue.fresh(0, 16)):
        size = option.description.costs["params"]
        accuracy = 0.6 + 0.03 * np.log(size)
        for trials, seconds in ((slow, 9e9 / size**2), (even, 9.0)):
            trials[:] = accept(PROBLEM, trials, Proposal(option.candidate, 9))
            done = answer(PROBLEM, trials[-1], min(accuracy, 0.99), i)
            trials[-1] = replace(done, results=(replace(done.results[0], seconds={"student": seconds}),))
    chosen = [Bayes(fresh=96, relatives=48, rounds=0).ask(PROBLEM, trials, 1)[0].candidate for trials in (slow, even)]
    sizes = [catalogue.describe(candidate).costs["params"] for candidate in chosen]  # type: ignore[union-attr]
    assert sizes[0] > sizes[1]
