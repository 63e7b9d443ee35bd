"""Verification: fresh seeds, the same outcome when it is run again, no training twice, the test split only here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from autostudent.data.datasets import Dataset
from autostudent.errors import ConfigError
from autostudent.store.store import Store
from autostudent.testing.studies import InlineStudy, small_settings
from autostudent.verify import check_shortlist, verify


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> InlineStudy:
    """A finished small study."""
    study = InlineStudy(small_settings(tmp_path_factory.mktemp("verify")))
    study.run()
    return study


def taught(study: InlineStudy) -> int:
    """A front member that a teacher taught."""
    return next(row["trial"] for row in study.rows() if row["method"] != "none")


def test_a_search_never_reads_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Dataset) -> Any:
        raise AssertionError("the search read the test split")

    monkeypatch.setattr(Dataset, "test", property(forbidden))
    InlineStudy(small_settings(tmp_path, trials=3)).run()


def test_students_stand_beside_controls_rival_teacher_and_baseline(study: InlineStudy) -> None:
    proof = verify(study, [taught(study)], seeds=2)

    kinds = [row["kind"] for row in proof.rows]
    assert kinds == ["teacher", "student", "control", "control", "control", "rival", "baseline"]
    student, rival = proof.rows[1], proof.rows[5]
    assert student["seeds"] == 2
    assert 0.7 * student["params"] <= rival["params"] <= student["params"]
    assert all(0 <= row["accuracy"] <= 1 for row in proof.rows)
    assert [claim["seeds"] for claim in proof.claims] == [2] * 5
    json.dumps(dataclasses.asdict(proof))
    stored = Store.read(study.settings.store, study.settings.study).references()
    assert stored[f"verified: {student['name']}"]["accuracy"] == student["accuracy"]


def test_a_second_run_trains_nothing_and_says_the_same(study: InlineStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    first = verify(study, [taught(study)], seeds=2)

    def forbidden(*_: Any) -> Any:
        raise AssertionError("trained again")

    monkeypatch.setattr("autostudent.verify.Fit", forbidden)
    second = verify(study, [taught(study)], seeds=2)

    assert [row["accuracy"] for row in second.rows] == [row["accuracy"] for row in first.rows]
    assert second.claims == first.claims


def test_finished_trials_are_left_alone(study: InlineStudy) -> None:
    reader = Store.read(study.settings.store, study.settings.study)
    before = [trial.results for trial in reader.trials()]
    verify(study, [taught(study)], seeds=2, compare=False)

    assert [trial.results for trial in reader.trials()] == before


def test_long_lists_and_strangers_are_refused(study: InlineStudy) -> None:
    rows = {row["trial"]: row for row in study.rows()}
    stranger = max(rows) + 100

    with pytest.raises(ConfigError, match="at most 3"):
        check_shortlist([0, 1, 2, 3], rows)
    with pytest.raises(ConfigError, match=f"got {stranger}; expected students of the front"):
        verify(study, [stranger])


def test_front_is_a_data_frame_with_the_promised_columns(study: InlineStudy) -> None:
    frame = study.front()

    assert frame.index.name == "trial"
    assert list(frame.columns[:6]) == ["accuracy", "params", "macs", "memory_bytes", "method", "teachers"]
    assert (frame["params"] <= 20_000).all()


def test_check_reports_teacher_sizes_and_time_without_a_store(tmp_path: Path) -> None:
    study = InlineStudy(small_settings(tmp_path))
    report = study.check()

    assert [row["name"] for row in report.teachers] == ["main", "ta1", "ta2"]
    least, median, most = report.sizes["params"]
    assert least < median < most <= 20_000
    assert report.seconds > 0
    assert not (tmp_path / "small" / "study.db").exists()
