"""Segments one after the other in this process: for tests, debugging and tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache

from autostudent.run.base import Driver, Feed, R, Runner, T, Worker, guarded, ignore


class InlineRunner(Runner):
    """Runs everything in the calling thread.

    Args:
        ahead: segments that are asked for ahead of the one that runs. With 1 the driver sees the same questions in the
            same order as from a `RayRunner` with one worker.
    """

    def __init__(self, ahead: int = 1) -> None:
        self.ahead = ahead

    def run(self, driver: Driver, make_worker: Callable[[], Worker]) -> None:
        """See `Runner.run`; an exception that escapes from the worker becomes a failed result, as it does in Ray."""
        make = cache(make_worker)
        feed = Feed(driver, 1 + self.ahead)
        waiting = deque(feed.start())
        while waiting:
            segment = waiting.popleft()
            waiting.extend(feed.commit(segment, guarded(make, segment)))

    def map(self, function: Callable[[T], R], items: Iterable[T], told: Callable[[int, R], object] = ignore) -> list[R]:
        """See `Runner.map`."""
        results: list[R] = []
        for place, item in enumerate(items):
            results.append(function(item))
            told(place, results[-1])
        return results
