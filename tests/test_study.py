"""A study as a Python user holds it: what it needs, what it refuses, what a second run may change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from autostudent.errors import ConfigError, StoreError
from autostudent.records import Objective
from autostudent.report.cite import papers
from autostudent.settings import BudgetSettings, RunSettings, SearchSettings, SpaceSettings, epochs_of
from autostudent.store.store import Store
from autostudent.testing.studies import InlineStudy, small_settings


def test_a_study_runs_resumes_and_grows(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, trials=4)
    InlineStudy(settings).run()
    before = Store.read(settings.store, "small").trials()
    seen: list[str] = []
    InlineStudy(settings).run(lambda event: seen.append(event.kind))

    larger = dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, trials=6))
    study = InlineStudy(larger).run()

    after = Store.read(settings.store, "small").trials()
    assert "segment" not in seen
    assert after[:4] == before
    assert len(after) == 6
    assert set(study.front().index) <= set(range(6))
    references = Store.read(settings.store, "small").references()
    assert {name: row["kind"] for name, row in references.items()} == {
        "main": "teacher",
        "ta1": "assistant",
        "ta2": "assistant",
    }
    stored = Store.read(settings.store, "small").described()["papers"]
    assert stored == papers(recipe.name for recipe in study.recipes)
    assert "kd" in stored


def test_a_study_of_another_space_or_teacher_is_refused(tmp_path: Path) -> None:
    settings = small_settings(tmp_path, trials=2)
    InlineStudy(settings).run()

    with pytest.raises(StoreError, match=r"space.recipe was 'kd_basic', now 'kd_single'"):
        InlineStudy(dataclasses.replace(settings, space=SpaceSettings("hnag_tiny", "kd_single"))).run()

    class Retaught(InlineStudy):
        shared_seed = 77  # other initial weights under the same settings

    with pytest.raises(StoreError, match="another teacher 'main'"):
        Retaught(settings).run()


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    study = InlineStudy(small_settings(tmp_path))

    with study.open_store(), pytest.raises(StoreError, match=r"driven by process \d+ on host"):
        InlineStudy(study.settings).run()


def test_recipes_that_need_a_ladder_are_refused_without_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="assistants"):
        InlineStudy(small_settings(tmp_path, ladder=None)).check()


def test_a_limit_below_every_student_is_refused_before_any_training(tmp_path: Path) -> None:
    limits = (Objective("accuracy", "maximize"), Objective("params", "minimize", "parameters", limit=50, exact=True))

    with pytest.raises(ConfigError, match=r"objectives\.params\.limit: got 50; expected at least [\d,]+ parameters"):
        InlineStudy(small_settings(tmp_path, objectives=limits)).run()
    assert not (tmp_path / "assets" / "teachers").exists()


def test_expected_epochs_follow_the_rungs() -> None:
    assert epochs_of((9,), 10) == 90
    assert epochs_of((1, 3, 9), 9) == pytest.approx(9 * (1 + 2 / 3**0.5 + 6 / 3))
    assert BudgetSettings(3, 9, (1, 9)).rungs == (1, 9)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPUs")
@pytest.mark.parametrize("verb", ["check", "run"])
def test_gpus_that_are_not_there_are_refused_before_any_training(tmp_path: Path, verb: str) -> None:
    study = InlineStudy(small_settings(tmp_path, run=RunSettings(gpus_per_trial=0.5)))

    with pytest.raises(ConfigError, match=r"run\.gpus_per_trial: got 0\.5; .*this machine has no GPU"):
        getattr(study, verb)()
    assert not (tmp_path / "assets" / "teachers").exists()


HINTS = ("fitnets", "at", "sp", "rkd", "pursuhint", "modality_gram")


@pytest.mark.slow
def test_students_of_random_graphs_learn_from_hints(tmp_path: Path) -> None:
    (tmp_path / "hints.yaml").write_text(f"params: {{kd.loss: {{choice: [{', '.join(HINTS)}]}}}}")
    space = SpaceSettings("hnag_tiny", str(tmp_path / "hints.yaml"))
    settings = small_settings(tmp_path, trials=8, ladder=None, space=space, search=SearchSettings("random", 26))
    study = InlineStudy(settings).run()
    front, trials = study.front(), Store.read(settings.store, "small").trials()

    assert {str(trial.candidate.config["kd.loss"]) for trial in trials} == {*HINTS}
    assert [trial.failure for trial in trials] == [None] * 8
    assert front["accuracy"].max() > 0.2
    stored = Store.read(settings.store, "small").described()["papers"]
    assert {*HINTS} <= set(stored)
