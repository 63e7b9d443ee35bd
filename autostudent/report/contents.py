"""What a report is made of: plain data, no live objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autostudent.records import Objective, Trial
from autostudent.report.words import EXACT, axes_of
from autostudent.space.graph import Architecture


@dataclass(frozen=True)
class Reference:
    """One row to compare students with, or a student that was trained again with fresh seeds.

    ``kind``: "teacher", "assistant", "rival" (hand-designed, distilled), "control" (a front student without a teacher),
    "baseline" (logistic regression), "student" (a front member retrained; its name is "student" and its number),
    "family" (fresh graphs from a student's generator).
    ``accuracy`` is a fraction on ``split`` ("validation" or "test"), the mean over ``seeds`` trainings with standard
    deviation ``sd``. ``how``: what it learned from, in words. ``figures``: agreement, ece, nll, latency_ms.
    """

    name: str
    kind: str
    accuracy: float
    split: str = "validation"
    sd: float | None = None
    seeds: int = 1
    params: int | None = None
    macs: int | None = None
    memory_bytes: int | None = None
    how: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    def cost(self, name: str) -> float | None:
        """The cost of that name, None where it does not apply."""
        value: float | None = self.figures.get(name) if name not in EXACT else getattr(self, name)
        return value


@dataclass(frozen=True)
class Contents:
    """Everything that the page shows.

    ``study``: the resolved study as stored. ``trials``: all of them, in order of their numbers. ``front``: the store's
    front rows. ``recipes``: method and teachers of each trial by number, as labels. ``validation_images``: size of the
    validation split, from which standard errors follow. ``claims``: differences of accuracy with
    their intervals in points, as `autostudent.verify` stores them. ``graphs``: the front members' architectures by
    number, as far as they are to be drawn. ``papers``: what to cite for each method label.
    ``ledger``: seconds by student and teacher, as `report.ledger` gives them. ``effort``: where the search's time went,
    as `autostudent.driver.StudyDriver.effort` stores it. ``environment``: versions of packages,
    the machine. ``citations``: one text per method used. ``commands``: shell lines that repeat the study. ``created``:
    when the page was made, as text.
    """

    study: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    trials: Sequence[Trial]
    front: Sequence[Mapping[str, Any]]
    references: Sequence[Reference] = ()
    recipes: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    validation_images: int | None = None
    claims: Sequence[Mapping[str, Any]] = ()
    graphs: Mapping[int, Architecture] = field(default_factory=dict)
    papers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ledger: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    effort: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    citations: Sequence[str] = ()
    commands: Sequence[str] = ()
    created: str = ""

    @property
    def name(self) -> str:
        return str(self.study.get("study", "study"))

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of what lies beside accuracy: the exact costs and the other objectives."""
        return axes_of(objective.name for objective in self.objectives)

    def teacher(self, split: str = "validation") -> Reference | None:
        """The teacher that students are compared with, as measured on ``split``."""
        found = [row for row in self.references if row.kind == "teacher" and row.split == split]
        main = [row for row in found if row.name == self.study.get("teacher")]
        return next(iter([*main, *found]), None)

    def admits(self, trial: Trial) -> bool:
        """Whether a finished trial may be on the front: within every limit and no worse than any reference."""
        values = [(objective, trial.values[objective.name]) for objective in self.objectives]
        return all(objective.admits(value) and objective.counts(value) for objective, value in values)

    def method(self, trial: Trial) -> str:
        """The trial's method as a label."""
        return self.recipes.get(trial.number, ("", ""))[0] or "unknown"
