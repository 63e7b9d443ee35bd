"""The seam between a study and the place where its segments run.

A `Driver` (the study) says which segments to run and takes their results; a `Worker` runs one segment; a `Runner` moves
segments from the one to the other. The order in which the driver is asked and told is part of the contract, because a
study's decisions are a function of its record: see `Feed`.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self, TypeVar

from autostudent.errors import is_of_surroundings, is_out_of_memory
from autostudent.heap import give_back
from autostudent.records import Cause, Failure, Result, Segment

T = TypeVar("T")
R = TypeVar("R")


class Driver(Protocol):
    """What a runner asks of a study. All calls come from one thread at a time, never two at once."""

    @property
    def finished(self) -> bool:
        """True when no further segment will ever be wanted; `fill` is not called any more."""
        ...

    def fill(self, room: int) -> list[Segment]:
        """At most ``room`` segments to run next, in order.

        An empty list means "wait for results"; with no segment out, it ends the run. A segment counts as out from here
        until its result was committed.
        """
        ...

    def commit(self, segment: Segment, result: Result) -> None:
        """Takes the result of a segment; whether one with ``result.failure`` set runs again is decided here."""
        ...


class Worker(Protocol):
    """Runs segments one after the other in one process; data and teachers stay resident in it."""

    def run(self, segment: Segment) -> Result:
        """Trains one segment. Failures are returned as results, not raised."""
        ...


class Feed:
    """Keeps ``depth`` segments out of a driver: asks for as many as are missing once after every commit.

    What the driver is asked depends on the order of the commits alone, never on time. With one worker the commits come
    in the order of the segments, so that a whole study repeats exactly.
    """

    def __init__(self, driver: Driver, depth: int) -> None:
        self.driver = driver
        self.depth = depth
        self.out = 0

    @property
    def done(self) -> bool:
        """Nothing is out: after `start` or `commit` this means that the study has ended."""
        return self.out == 0

    def start(self) -> list[Segment]:
        """The first segments."""
        return self._fill()

    def commit(self, segment: Segment, result: Result, refill: bool = True) -> list[Segment]:
        """Hands a result to the driver; returns the segments that take its place."""
        self.driver.commit(segment, result)
        self.out -= 1
        return self._fill() if refill else []

    def _fill(self) -> list[Segment]:
        room = self.depth - self.out
        segments = [] if room <= 0 or self.driver.finished else list(self.driver.fill(room))
        assert len(segments) <= max(room, 0), f"the driver gave {len(segments)} segments for a room of {room}"
        self.out += len(segments)
        return segments


def ignore(*_: object) -> None:
    """Whoever wants to hear nothing."""


class Runner(ABC):
    """Where segments run. As a context manager it keeps what it started (processes, a cluster) between calls."""

    @abstractmethod
    def run(self, driver: Driver, make_worker: Callable[[], Worker]) -> None:
        """Runs a study until its driver wants no more.

        ``make_worker`` is called once in every worker process and must pickle. An exception that the driver raises ends
        the run and is raised here.
        """

    @abstractmethod
    def map(self, function: Callable[[T], R], items: Iterable[T], told: Callable[[int, R], object] = ignore) -> list[R]:
        """``[function(item) for item in items]``, possibly side by side; results in order, exceptions as they are.

        ``told`` hears the place and the result of each item once, as soon as it is there.
        """

    def warm(self, prepare: Callable[[], object]) -> None:
        """Says within the ``with`` block that a study will come: processes may start, and call ``prepare`` to load.

        ``prepare`` must pickle. It only saves time: what goes wrong in it is ignored, and nothing rests on its being
        called. The end of the block undoes it, and so may `map`; it may be said again.
        """
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: Any) -> None:
        return None


def guarded(make: Callable[[], Worker], segment: Segment) -> Result:
    """The worker's result; an exception that escapes from it becomes a failed result with its traceback.

    What the segment freed goes back to the operating system.
    """
    try:
        return make().run(segment)
    except Exception as error:
        cause = Cause.OUT_OF_MEMORY if is_out_of_memory(error) else Cause.BUG
        cause = Cause.SURROUNDINGS if is_of_surroundings(error) else cause
        message = f"{type(error).__name__}: {error}"
        return failed(segment, cause, message, traceback.format_exc())
    finally:
        give_back()


def failed(segment: Segment, cause: Cause, message: str, trace: str = "") -> Result:
    """The result of a segment that got nowhere."""
    return Result(epoch=segment.from_epoch, failure=Failure(cause, message, trace))
