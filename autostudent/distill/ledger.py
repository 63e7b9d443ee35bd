"""Whose seconds they are: the student's own, or those of what learns beside it or was trained for it alone."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch

Mark = float | torch.cuda.Event


def mark(device: torch.device) -> Mark:
    """Now; on a GPU the moment at which it will have done what it was given so far."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(first: Mark, last: Mark) -> float:
    """Seconds between two marks; a GPU must have passed the second."""
    if isinstance(first, float) or isinstance(last, float):
        return float(last) - float(first)  # type: ignore[arg-type]
    return float(first.elapsed_time(last)) / 1000


class Stopwatch:
    """Seconds of one step by network, told apart where the work on one ends and that on the next begins."""

    def __init__(self, device: torch.device, learners: Iterable[str] = ()) -> None:
        self.device, self.learners = device, tuple(learners)
        self._laps: list[tuple[str, Mark]] = []
        self._first = self._last = mark(device)

    def lap(self, name: str) -> None:
        """What was spent since the last lap was spent on the network ``name``."""
        self._laps.append((name, mark(self.device)))

    def stop(self) -> None:
        """The step has ended."""
        self._last = mark(self.device)

    def columns(self) -> dict[str, float]:
        """Seconds of the columns "student" and "private", to be asked for when the device has done the step's work.

        Everything that is not the student's is private. What was spent since the last lap (a backward pass on the sum
        of all losses) is shared among the learners in proportion to their laps.
        """
        seconds: dict[str, float] = {}
        before = self._first
        for name, now in self._laps:
            seconds[name] = seconds.get(name, 0.0) + between(before, now)
            before = now
        own = {name: seconds.get(name, 0.0) for name in self.learners}
        share = 1 + between(before, self._last) / max(sum(own.values()), 1e-9)
        found = {"student": 0.0, "private": 0.0}
        for name, spent in {**seconds, **{name: spent * share for name, spent in own.items()}}.items():
            found["student" if name == "student" else "private"] += spent
        return found
