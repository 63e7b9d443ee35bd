from __future__ import annotations

import errno
import os

import pytest
import torch

from autostudent.distill.fit import Diverged
from autostudent.records import Candidate, Cause, Result, Segment
from autostudent.run.base import Feed, Runner
from autostudent.run.inline import InlineRunner
from autostudent.trial import cause_of


class Counting:
    """A driver with ``total`` segments that writes down what it was asked."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.given = 0
        self.log: list[tuple[str, int]] = []
        self.results: list[Result] = []

    @property
    def finished(self) -> bool:
        return self.given == self.total

    def fill(self, room: int) -> list[Segment]:
        self.log.append(("fill", room))
        first, self.given = self.given, min(self.total, self.given + room)
        return [Segment(number, Candidate({}, number), 0, 3) for number in range(first, self.given)]

    def commit(self, segment: Segment, result: Result) -> None:
        self.log.append(("commit", segment.trial))
        self.results.append(result)


class Echo:
    def run(self, segment: Segment) -> Result:
        if segment.trial == 2:
            raise ValueError("two is too many")
        return Result(epoch=segment.until_epoch, values={"accuracy": segment.trial / 10})


def test_asks_once_after_every_commit() -> None:
    driver = Counting(4)
    InlineRunner().run(driver, Echo)
    assert driver.log == [
        ("fill", 2),
        ("commit", 0),
        ("fill", 1),
        ("commit", 1),
        ("fill", 1),
        ("commit", 2),
        ("commit", 3),
    ]


def test_an_escaped_exception_becomes_a_failed_result() -> None:
    driver = Counting(4)
    InlineRunner().run(driver, Echo)
    failure = driver.results[2].failure
    assert failure is not None
    assert (failure.cause, failure.message) == (Cause.BUG, "ValueError: two is too many")
    assert "in run" in failure.traceback
    assert [r.failure for r in driver.results].count(None) == 3


def test_a_worker_that_cannot_be_made_is_tried_again_for_every_segment() -> None:
    def broken() -> Echo:
        raise MemoryError("no room")

    driver = Counting(3)
    InlineRunner().run(driver, broken)
    assert [r.failure.cause for r in driver.results if r.failure] == [Cause.OUT_OF_MEMORY] * 3


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError(), Cause.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("Tried to allocate 2.00 GiB"), Cause.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: out of memory"), Cause.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), Cause.OUT_OF_MEMORY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            Cause.OUT_OF_MEMORY,
        ),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), Cause.OUT_OF_MEMORY),
        (RuntimeError("GET was unable to find an engine to execute this computation"), Cause.OUT_OF_MEMORY),
        (RuntimeError("shapes do not fit"), Cause.BUG),
        (Diverged("the loss is nan"), Cause.DIVERGED),
    ],
)
def test_errors_have_one_cause_wherever_they_are_caught(error: Exception, cause: Cause) -> None:
    def broken() -> Echo:
        raise error

    assert cause_of(error) is cause
    if cause is not Cause.DIVERGED:  # which only a training can be
        driver = Counting(1)
        InlineRunner().run(driver, broken)
        assert driver.results[0].failure.cause is cause


def test_a_driver_that_waits_is_asked_again_after_the_next_result() -> None:
    class Generations(Counting):
        """Gives the next two only when the last two are back."""

        def fill(self, room: int) -> list[Segment]:
            if self.given > len(self.results):
                self.log.append(("wait", room))
                return []
            return super().fill(min(room, 2))

    driver = Generations(4)
    InlineRunner().run(driver, Echo)
    assert [entry for entry in driver.log if entry[0] != "commit"] == [("fill", 2), ("wait", 1), ("fill", 2)]


def test_an_empty_answer_with_nothing_out_ends_the_run() -> None:
    class Done(Counting):
        @property
        def finished(self) -> bool:
            return False

    driver = Done(1)
    InlineRunner().run(driver, Echo)
    assert driver.log == [("fill", 2), ("commit", 0), ("fill", 2)]


def test_what_the_driver_raises_is_raised() -> None:
    class Full(Counting):
        def commit(self, segment: Segment, result: Result) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        InlineRunner().run(Full(3), Echo)


def test_too_many_segments_are_our_bug() -> None:
    class Greedy(Counting):
        def fill(self, room: int) -> list[Segment]:
            return super().fill(room + 1)

    with pytest.raises(AssertionError, match="room of 3"):
        Feed(Greedy(9), 3).start()


def test_map_keeps_the_order() -> None:
    runner: Runner = InlineRunner()
    with runner:
        assert runner.map(str, [3, 1, 2]) == ["3", "1", "2"]
