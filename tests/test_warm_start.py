"""A study that starts from an earlier one: its front first, the same record after a resume, other spaces refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from autostudent.errors import AutostudentError, ConfigError, StoreError
from autostudent.records import TrialState
from autostudent.settings import BudgetSettings, SearchSettings, SpaceSettings, StudySettings
from autostudent.store.store import Store
from autostudent.testing.studies import InlineStudy, small_settings
from autostudent.warm_start import options_of


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> StudySettings:
    settings = small_settings(tmp_path_factory.mktemp("earlier"))
    InlineStudy(settings).run()
    return settings


def later_of(earlier: StudySettings, folder: Path, trials: int = 3) -> StudySettings:
    return dataclasses.replace(
        earlier,
        study="later",
        budget=BudgetSettings(trials, 6, (2, 6)),
        search=SearchSettings("bayes", 5, warm_start=earlier.store),
        store=f"sqlite:///{folder / 'later' / 'study.db'}",
    )


def test_the_earlier_front_comes_first_and_a_resume_needs_the_earlier_store_no_more(
    earlier: StudySettings, tmp_path: Path
) -> None:
    moved = tmp_path / "moved" / "study.db"
    moved.parent.mkdir()
    shutil.copy(earlier.store.removeprefix("sqlite:///"), moved)
    settings = later_of(dataclasses.replace(earlier, store=f"sqlite:///{moved}"), tmp_path)
    with Store.read(earlier.store) as store:
        front = {row["trial"] for row in store.front()}
        keys = {trial.candidate.key for trial in store.trials() if trial.number in front}
    InlineStudy(settings).run()
    with Store.read(settings.store) as store:
        first = store.trials()[0].candidate.key
        held = store.described()["warm_start"]
    assert first in keys
    moved.unlink()
    InlineStudy(dataclasses.replace(settings, budget=BudgetSettings(4, 6, (2, 6)))).run()
    with Store.read(settings.store) as store:
        assert len(store.trials()) == 4
        assert store.described()["warm_start"] == held


def test_before_the_first_student_another_earlier_study_may_be_named(earlier: StudySettings, tmp_path: Path) -> None:
    other = dataclasses.replace(
        earlier,
        budget=BudgetSettings(2, 6, (2, 6)),
        search=SearchSettings("random", 99),
        store=f"sqlite:///{tmp_path / 'other' / 'study.db'}",
    )
    InlineStudy(other).run()
    told = {}
    for name, begun in (("first", earlier), ("second", other)):
        settings = later_of(begun, tmp_path)
        study = InlineStudy(dataclasses.replace(settings, store=f"sqlite:///{tmp_path / 'later.db'}"))
        with study.open_store() as store:
            source = options_of(study.settings, study.space.to_json(), store, study.assets)["source"]
        told[name] = [trial.candidate.key for trial in source]
    with Store.read(other.store) as store:
        done = [trial.candidate.key for trial in store.trials() if trial.state is TrialState.COMPLETE]
    assert told["second"] == done != told["first"]


def test_other_spaces_and_missing_stores_are_refused(earlier: StudySettings, tmp_path: Path) -> None:
    other = dataclasses.replace(later_of(earlier, tmp_path), space=SpaceSettings("hnag_tiny", "kd_logit"))
    with pytest.raises(ConfigError, match=r"search\.warm_start.*same space"):
        InlineStudy(other).run()
    missing = dataclasses.replace(earlier, store=f"sqlite:///{tmp_path / 'nothing.db'}")
    with pytest.raises(AutostudentError, match=r"nothing\.db"):
        InlineStudy(later_of(missing, tmp_path / "b")).run()


def test_an_earlier_study_that_is_not_there_leaves_no_trace(earlier: StudySettings, tmp_path: Path) -> None:
    missing = dataclasses.replace(earlier, store=f"sqlite:///{tmp_path / 'nothing.db'}")
    settings = later_of(missing, tmp_path)
    for refused in (InlineStudy(settings).run, InlineStudy(settings).check):
        with pytest.raises(StoreError, match=r"search\.warm_start: .*nothing\.db"):
            refused()
    assert not (tmp_path / "later").exists()


def test_one_of_several_studies_of_a_store_is_named(earlier: StudySettings, tmp_path: Path) -> None:
    shared = tmp_path / "study.db"
    shutil.copy(earlier.store.removeprefix("sqlite:///"), shared)
    told = {"store": f"sqlite:///{shared}", "study": earlier.study, "artifacts": earlier.artifacts}
    settings = dataclasses.replace(
        later_of(earlier, tmp_path, trials=1),
        store=told["store"],
        search=SearchSettings("bayes", 5, warm_start=told),
    )
    InlineStudy(settings).run()
    InlineStudy(settings).check()  # it has its copy: the earlier study is not looked for
    other = dataclasses.replace(settings, study="third", search=SearchSettings("bayes", 5, warm_start=told["store"]))
    with pytest.raises(StoreError, match=r"search\.warm_start: .*single study.*\{store: URL, study: NAME\}"):
        InlineStudy(other).run()
    with Store.read(told["store"], "later") as store:
        assert len(store.trials()) == 1


def test_only_bayes_starts_from_an_earlier_study() -> None:
    with pytest.raises(ConfigError, match=r"search\.warm_start.*random"):
        SearchSettings("random", warm_start="sqlite:///x.db")
