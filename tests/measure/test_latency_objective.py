"""Latency as an objective of a search, with a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostudent.assets import Assets
from autostudent.driver import timed_elsewhere
from autostudent.measure.latency import latency_of
from autostudent.problem import with_references
from autostudent.records import LATENCY, Objective, TrialState
from autostudent.settings import BudgetSettings
from autostudent.store.store import Store
from autostudent.testing.studies import OBJECTIVES, InlineStudy, small_settings
from autostudent.verify.speed import too_slow


@pytest.mark.slow
def test_a_search_measures_limits_and_keeps_latency(tmp_path: Path) -> None:
    probe = InlineStudy(small_settings(tmp_path))
    limit = latency_of(probe.catalogue.architecture(probe.drawn[0][0]), Assets(tmp_path / "assets")).median_ms
    timed = (*OBJECTIVES[:2], Objective(LATENCY, "minimize", "ms", limit=limit))
    study = InlineStudy(small_settings(tmp_path, trials=4, objectives=timed, budget=BudgetSettings(4, 2, (1, 2))))
    least, median, most = study.check().sizes[LATENCY]
    assert 0 < least <= median <= most

    study.run()
    with study.open_store() as store:
        mine = store.described()["timed_on"]
        assert timed_elsewhere(store, mine) == []
        assert timed_elsewhere(store, "another") == [
            f"latency: students so far were measured on {mine}, from now on it is another: do not compare the two"
        ]

    with Store.read(study.settings.store, "small") as store:
        trials, described = store.trials(), store.described()
    for trial in trials:
        assert len({result.values[LATENCY] for result in trial.results}) == 1
        assert all(result.metrics["latency_spread_ms"] >= 0 for result in trial.results)
    complete = {t.number: t.values[LATENCY] for t in trials if t.state is TrialState.COMPLETE}
    assert complete
    for row in study.rows():
        assert row[LATENCY] == complete[row["trial"]] <= limit
    assert next(o["reference"] for o in described["objectives"] if o["name"] == LATENCY) == limit


def test_latency_counts_up_to_its_limit_or_the_slowest_draws() -> None:
    free, bound = Objective(LATENCY, "minimize", "ms"), Objective(LATENCY, "minimize", "ms", limit=2.0)
    accuracy = Objective("accuracy", "maximize")
    assert with_references((accuracy, free), [], {"accuracy": 0.9}, 10, 7.5)[1].reference == 7.5
    assert with_references((accuracy, bound), [], {"accuracy": 0.9}, 10, 7.5)[1].reference == 2.0


def test_finalists_that_are_slower_than_allowed_are_named() -> None:
    times = {"main": {LATENCY: 9.0}, "student 1": {LATENCY: 2.5}, "plain ResNet": {LATENCY: 2.0}}
    limited = (Objective("accuracy", "maximize"), Objective(LATENCY, "minimize", "ms", limit=2.0))
    assert too_slow(times, limited, "main") == ["student 1 took 2.5 ms for a picture, more than 2 ms"]
    assert too_slow(times, limited[:1], "main") == too_slow(times, (Objective(LATENCY, "minimize"),), "main") == []
