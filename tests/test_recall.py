"""What a new process takes from the record instead of drawing its graphs anew, and that nothing else comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autostudent.assets import Assets
from autostudent.problem import Catalogue, make_problem, structural
from autostudent.propose import make
from autostudent.records import Candidate, Description, Objective, Problem, Result, Trial, TrialState
from autostudent.space.architecture import InputShape
from autostudent.space.features import feature_names
from autostudent.space.space import Space, load_space
from autostudent.store import record
from autostudent.store.scan import scan
from autostudent.store.store import Store

OBJECTIVES = (
    Objective("accuracy", "maximize", reference=0.5),
    Objective("params", "minimize", limit=20_000, reference=20_000, exact=True),
)
RUNGS = (3, 9)


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("hnag_tiny", "kd_basic")


class Counting(Catalogue):
    """Says whose graphs were drawn."""

    def __init__(self, space: Space) -> None:
        super().__init__(space, InputShape(1, 8, 8, 10), OBJECTIVES)
        self.drawn: list[str] = []

    def _describe(self, candidate: Candidate) -> Description | str:
        self.drawn.append(candidate.key)
        return super()._describe(candidate)


def problem_of(catalogue: Catalogue) -> Problem:
    return make_problem(catalogue, OBJECTIVES, RUNGS, 100, 0, structural(catalogue.space))


def finished(catalogue: Catalogue, count: int) -> list[Trial]:
    """Trained students as a record holds them."""
    rng, trials = np.random.default_rng(0), []
    for number, option in enumerate(make("random").catalogue(problem_of(catalogue)).fresh(0, count)):
        known = option.description
        results = tuple(
            Result(epoch, {"accuracy": float(0.7 + 0.2 * rng.random())}, order=2 * number + place)
            for place, epoch in enumerate(RUNGS)
        )
        trial = Trial(number, option.candidate, known.fingerprint, TrialState.COMPLETE, known.costs, results, RUNGS[-1])
        trials.append(replace(trial, features=known.features))
    return trials


def test_a_recalled_student_is_described_as_if_it_were_drawn_and_is_not_drawn(space: Space) -> None:
    trials = finished(Catalogue(space, InputShape(1, 8, 8, 10), OBJECTIVES), 12)
    recalled, fresh = Counting(space), Counting(space)
    recalled.recall(trials)
    for trial in trials:
        assert recalled.describe(trial.candidate) == fresh.describe(trial.candidate)
    assert recalled.drawn == []
    assert len(fresh.drawn) == 12


def test_the_next_student_is_the_same_whether_the_record_was_recalled_or_drawn(space: Space) -> None:
    trials = finished(Catalogue(space, InputShape(1, 8, 8, 10), OBJECTIVES), 30)
    recalled, fresh = Counting(space), Counting(space)
    recalled.recall(trials)
    options = {"fresh": 24, "relatives": 8, "rounds": 1}
    (mine,) = make("bayes", **options).ask(problem_of(recalled), trials, 1)
    (theirs,) = make("bayes", **options).ask(problem_of(fresh), trials, 1)
    assert mine == theirs
    students = {Catalogue._key(recalled, trial.candidate) for trial in trials}
    assert len(students) == 30
    assert len(fresh.drawn) - len(recalled.drawn) > 0
    assert {trial.candidate.key for trial in trials}.isdisjoint(recalled.drawn)


def test_a_limit_that_is_lower_now_counts_for_recalled_students_too(space: Space) -> None:
    trials = finished(Catalogue(space, InputShape(1, 8, 8, 10), OBJECTIVES), 6)
    tight = (OBJECTIVES[0], replace(OBJECTIVES[1], limit=1.0))
    catalogue = Catalogue(space, InputShape(1, 8, 8, 10), tight)
    catalogue.recall(trials)
    assert not any(catalogue.describe(trial.candidate).feasible for trial in trials)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url, assets = f"sqlite:///{tmp_path}/study.db", Assets(tmp_path / "assets")
    with Store.create_or_open(url, "s", {"study": "s"}, OBJECTIVES, assets, rungs=RUNGS) as opened:
        yield opened


def test_the_store_keeps_features_to_the_last_bit_and_out_of_sight(space: Space, store: Store) -> None:
    trial = finished(Catalogue(space, InputShape(1, 8, 8, 10), OBJECTIVES), 1)[0]
    made = store.create(trial.candidate, trial.fingerprint, trial.costs, {"method": "kd"}, features=trial.features)
    assert len(made.features) == len(feature_names(space))
    with Store.read(store.url) as reader:
        assert reader.trials()[0].features == trial.features == made.features
        assert not [name for name in reader.rows()[0] if "features" in name]


def test_features_of_another_version_or_too_long_for_an_attribute_are_not_taken(
    space: Space, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = finished(Catalogue(space, InputShape(1, 8, 8, 10), OBJECTIVES), 1)[0]
    known = trial.candidate, trial.fingerprint, trial.costs, {"method": "kd"}
    store.create(*known, features=trial.features)
    store.create(*known, features=[1 / 3] * 1000)
    rows = scan(store._trials._storage, store._trials.study_id)
    assert max(len(json.dumps(value)) for row in rows for value in row.attributes.values()) <= 4000
    assert [len(record.read(row, None).trial.features) for row in rows] == [len(trial.features), 0]  # type: ignore[union-attr]
    monkeypatch.setattr(record, "FEATURES", "features:0")
    assert record.read(rows[0], None).trial.features == ()  # type: ignore[union-attr]
