"""A study small enough for a test that still goes through every room: real digits, a trained teacher, all recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autostudent.records import Objective
from autostudent.run.base import Runner
from autostudent.run.inline import InlineRunner
from autostudent.settings import (
    BudgetSettings,
    LadderSettings,
    RivalSettings,
    RunSettings,
    SearchSettings,
    SpaceSettings,
    StudySettings,
    TrainingSettings,
)
from autostudent.study import Study

OBJECTIVES = (
    Objective("accuracy", "maximize", "fraction"),
    Objective("params", "minimize", "parameters", limit=20_000, exact=True),
    Objective("memory_bytes", "minimize", "bytes", exact=True),
)


class InlineStudy(Study):
    """A study whose work runs in this process, one segment after the other."""

    def runner(self) -> Runner:
        return InlineRunner()


def small_settings(folder: Path, trials: int = 6, **changes: Any) -> StudySettings:
    """Settings of a study of seconds; store and assets lie in ``folder``."""
    settings: dict[str, Any] = {
        "study": "small",
        "data": {"name": "digits", "limit": 600},
        "teachers": {"main": {"resnet": {"depth": 8, "width": 8}, "epochs": 4, "lr": 0.05, "batch_size": 32}},
        "ladder": LadderSettings("main", 2, smallest=3_000),
        "space": SpaceSettings("hnag_tiny", "kd_basic"),
        "objectives": OBJECTIVES,
        "budget": BudgetSettings(trials, 6, (2, 6)),
        "search": SearchSettings("random", 0),
        "training": TrainingSettings(batch_size=16),
        "run": RunSettings(workers=2),
        "rivals": RivalSettings(trials=2),
        "store": f"sqlite:///{folder / 'small' / 'study.db'}",
        "artifacts": str(folder / "assets"),
    }
    return StudySettings(**{**settings, **changes})
