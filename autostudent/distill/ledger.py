"""Whose seconds they are: the student's own, or those of what learns beside it or was trained for it alone."""

from __future__ import annotations

import time
from collections.abc import Iterable


class Stopwatch:
    """Seconds of one step by network, told apart where the work on one ends and that on the next begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What was spent since the last lap was spent on the network ``name``."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now

    def columns(self, learners: Iterable[str]) -> dict[str, float]:
        """Seconds of the columns "student" and "private"; everything that is not the student's is private.

        What was spent since the last lap (a backward pass on the sum of all losses) is shared among the ``learners`` in
        proportion to their laps.
        """
        own = {name: self.seconds.get(name, 0.0) for name in learners}
        share = 1 + (time.perf_counter() - self._last) / max(sum(own.values()), 1e-9)
        found = {"student": 0.0, "private": 0.0}
        for name, spent in {**self.seconds, **{name: spent * share for name, spent in own.items()}}.items():
            found["student" if name == "student" else "private"] += spent
        return found
