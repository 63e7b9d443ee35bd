"""Progress of a search: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from autostudent.cli.options import front_of
from autostudent.cli.shown import front_table
from autostudent.errors import StoreError
from autostudent.report.words import duration

if TYPE_CHECKING:
    from autostudent.driver import Event
    from autostudent.settings import StudySettings

LOOK = 5.0  # seconds between two looks at the store


class Shown(Protocol):
    """What a study reports to."""

    def __call__(self, event: Event) -> None: ...


class Pace:
    """Time left, from the epochs that this run has trained and those that the whole study is expected to need."""

    def __init__(self, expected: float, before: dict[int, int]) -> None:
        self.expected = expected
        self.epochs = dict(before)
        self.before = sum(before.values())
        self.begun: float | None = None
        self.done = 0

    def add(self, event: Event, now: float) -> None:
        """Counts a segment that came back; the clock starts with the first student, not with the teachers."""
        self.done = max(self.done, event.done)  # events that are not about students say 0
        if event.trial is None:
            return
        self.epochs[event.trial.number] = event.trial.epoch
        if self.begun is None:
            self.begun = now
            self.before = sum(self.epochs.values())  # nobody knows how long what comes first was trained

    def left(self, now: float) -> str:
        """As text; empty before anything is known."""
        done = sum(self.epochs.values())
        if self.begun is None or done <= self.before or done >= self.expected:
            return ""
        seconds = (now - self.begun) / (done - self.before) * (self.expected - done)
        return f"about {duration(seconds)} left"


@contextmanager
def view(console: Console, settings: StudySettings | None = None) -> Iterator[Shown]:
    """The view that fits ``console``; with the settings of a study it shows how far its search is."""
    pace = Pace(*expectation(settings)) if settings is not None else None
    if not console.is_terminal or settings is None or pace is None:
        yield Lines(console, pace)
        return
    live = LiveView(settings, pace)
    with Live(console=console, get_renderable=live.render, refresh_per_second=4, transient=True):
        yield live


def expectation(settings: StudySettings) -> tuple[float, dict[int, int]]:
    """Epochs that the whole study needs, and those that each trial in its store has already."""
    from autostudent.assets import Assets
    from autostudent.settings import epochs_of
    from autostudent.store.store import Store

    budget = settings.budget
    try:
        with Store.read(settings.store, settings.study, Assets(settings.artifacts)) as store:
            before = {trial.number: trial.epoch for trial in store.trials()}
    except StoreError:
        before = {}
    return epochs_of(budget.rungs, budget.trials), before


class Lines:
    """One line an event."""

    def __init__(self, console: Console, pace: Pace | None) -> None:
        self.console = console
        self.pace = pace

    def __call__(self, event: Event) -> None:
        if event.kind == "proposed":
            return
        text = event.text
        if self.pace is not None:
            now = time.monotonic()
            self.pace.add(event, now)
            left = self.pace.left(now)
            counted = f"[{self.pace.done}/{event.total}] " if event.total else ""
            text = f"{counted}{text}" + (f"; {left}" if left and event.kind == "segment" else "")
        self.console.print(text, markup=False, soft_wrap=True)


class LiveView:
    """A bar, the last event, and the front so far."""

    def __init__(self, settings: StudySettings, pace: Pace) -> None:
        self.settings = settings
        self.pace = pace
        self.bar = Progress(
            TextColumn("students"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")
        )
        self.task = self.bar.add_task("students", total=settings.budget.trials, left="")
        self.text = "starting"
        self.failed = 0
        self.front: list[dict[str, Any]] = []
        self.references: dict[str, dict[str, Any]] = {}
        self.looked = 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        self.pace.add(event, now)
        self.text = event.text
        self.failed += event.kind == "failed"
        if event.total:
            self.bar.update(self.task, completed=self.pace.done, total=event.total, left=self.pace.left(now))
        if event.kind == "segment" and now - self.looked > LOOK:
            self.look()
            self.looked = time.monotonic()

    def look(self) -> None:
        """Reads the front from the store; one that cannot be read just now must not stop the search."""
        with suppress(Exception):
            self.front, self.references = front_of(self.settings)

    def render(self) -> Group:
        """What the terminal shows now."""
        failed = f" ({self.failed} failed)" if self.failed else ""
        parts: list[Any] = [self.bar, f"{escape(self.text)}{failed}"]
        if self.front:
            parts.append(front_table(self.front, self.references, self.settings.objectives, title="front so far"))
        return Group(*parts)
