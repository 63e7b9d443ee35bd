"""What lives in a Ray worker process: one worker object, reused over segments, under a watchdog."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune

from autostudent.errors import AutostudentError
from autostudent.records import Cause, Result, Segment
from autostudent.run.base import Worker, failed, guarded

BROKEN = "The GPU answered no more."  # how a note begins of a worker that left for that
PROCESS = 512 * 2**20  # bytes of a GPU's memory that a process takes beside what torch allocates


@dataclass(frozen=True)
class Plan:
    """What every worker process needs to know.

    ``cpus`` and ``gpus`` are the share of one segment. ``timeout_s`` limits one segment, and the making of the worker
    on its own; ``notes`` is the folder where the watchdog leaves its word. ``prepare`` is a pickled function that a
    process calls before it knows its work, to import and load what that will need.
    """

    cpus: float
    gpus: float
    timeout_s: float | None
    notes: str
    prepare: bytes | None = None


def note_of(notes: str, segment: Segment) -> Path:
    """The file in which the watchdog explains why it ended the process in this segment."""
    return Path(notes) / f"{segment.trial}-{segment.until_epoch}-{segment.attempt}.txt"


class SegmentTrainable(tune.Trainable):
    """A Tune trial that is one segment: its first step trains it and reports the result.

    The actor is reused for the next trial (`reset_config`), and with it the worker object and all that it holds. A
    trial without a segment only warms the process up.
    """

    _plan: Plan
    _make_worker: bytes
    _worker: Worker | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # relative paths mean what they meant to the caller
        super().__init__(*arguments, **named)

    def employ(self, make_worker: bytes) -> None:
        """Called once in the life of an actor, before its first segment.

        ``make_worker`` is pickled by Ray's cloudpickle and opened inside the first segment, so that whatever goes wrong
        there is a failed result with its traceback.
        """
        self._make_worker = make_worker

    def apply(self, common: bytes, pickled: bytes) -> bytes:
        """Called between trials for other work of the study, see `attempt`."""
        return attempt(common, pickled)

    def setup(self, config: dict[str, Any], plan: Plan | None = None) -> None:
        """Called by Tune once per actor process."""
        assert plan is not None
        self._plan = plan

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Tune between trials; `step` reads the new segment from ``self.config``."""
        return True

    def step(self) -> dict[str, Any]:
        """Runs the segment. The result travels as one JSON text: Tune need not understand it."""
        if self.config["segment"] is None:
            self._warm_up()
            return {"done": True}
        segment = Segment.from_json(json.loads(self.config["segment"]))
        with self._watched(segment):
            result = guarded(self._get_worker, segment)
        if result.failure is not None:
            leave_broken_device(result.failure.traceback, note_of(self._plan.notes, segment))
        try:
            text = json.dumps(result.to_json())
        except (TypeError, ValueError) as error:
            bug = failed(segment, Cause.BUG, f"the result cannot be written as JSON: {error}", repr(result))
            text = json.dumps(bug.to_json())
        return {"done": True, "result": text}

    def _warm_up(self) -> None:
        """What fails here fails again, and is reported, when a segment needs it."""
        _limit_threads(self._plan.cpus)
        if self._plan.timeout_s is not None:
            faulthandler.dump_traceback_later(self._plan.timeout_s, exit=True)
        with suppress(Exception):
            assert self._plan.prepare is not None
            cloudpickle.loads(self._plan.prepare)()
        faulthandler.cancel_dump_traceback_later()

    def _get_worker(self) -> Worker:
        if self._worker is None:
            _limit_threads(self._plan.cpus)
            worker: Worker = cloudpickle.loads(self._make_worker)()
            _limit_resources(self._plan.cpus, self._plan.gpus)
            self._worker = worker
            self._arm()  # the first segment gets its full time
        return self._worker

    @contextmanager
    def _watched(self, segment: Segment) -> Iterator[None]:
        """Ends the process when a segment takes too long, even one that hangs inside native code.

        `faulthandler` watches from a thread of its own that needs no Python; it writes where every thread stood.
        """
        if self._plan.timeout_s is None:
            yield
            return
        with ExitStack() as opened:
            try:
                path = note_of(self._plan.notes, segment)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._note = opened.enter_context(path.open("w"))
                opened.callback(path.unlink, missing_ok=True)
            except OSError:  # another machine than the driver's, which reads no note there
                self._note = opened.enter_context(tempfile.TemporaryFile("w"))
            opened.callback(faulthandler.cancel_dump_traceback_later)
            self._arm()
            yield

    def _arm(self) -> None:
        if self._plan.timeout_s is not None:
            faulthandler.dump_traceback_later(self._plan.timeout_s, exit=True, file=self._note)


def attempt(common: bytes, pickled: bytes) -> bytes:
    """Applies a function to an item, both pickled, ``common`` with the shares of a processor and of a GPU.

    Exceptions travel in parts, because many cannot be pickled whole.
    """
    told, trace = _applied(common, pickled)
    if trace:
        leave_broken_device(trace)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):
            torch.cuda.empty_cache()  # the process goes on, in a share that is made for students
    return told


def _applied(common: bytes, pickled: bytes) -> tuple[bytes, str]:
    """The answer, and the traceback of what went wrong."""
    try:
        function, cpus, gpus = cloudpickle.loads(common)
        _limit_resources(cpus, gpus)
        return cloudpickle.dumps((function(cloudpickle.loads(pickled)), None)), ""
    except Exception as error:
        trace = traceback.format_exc()
        try:
            return cloudpickle.dumps((None, (type(error), error.args, vars(error), trace))), trace
        except Exception:  # it holds what cannot travel: a lock, a socket
            whole: tuple[Any, ...] = (AutostudentError, (f"{type(error).__name__}: {error}",), {}, trace)
            return cloudpickle.dumps((None, whole)), trace


def leave_broken_device(trace: str, note: Path | None = None) -> None:
    """Ends this process when a GPU answers it no more: after some errors nothing works there until a new one begins.

    What it was to do is then lost with it, not failed, and done elsewhere; ``note`` says why.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except Exception:
        with suppress(OSError):
            if note is not None:
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(f"{BROKEN}\n{trace}")
        sys.stderr.write(trace)
        sys.stderr.flush()
        os._exit(1)


def _limit_threads(cpus: float) -> None:
    # Before torch is imported; it would otherwise start a thread per core in every worker.
    os.environ["OMP_NUM_THREADS"] = str(max(1, int(cpus)))


def _limit_resources(cpus: float, gpus: float) -> None:
    """Keeps torch, if the worker uses it, to its share: Ray's fractions are bookkeeping and isolate nothing."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.set_num_threads(max(1, int(cpus)))
    if 0 < gpus < 1 and torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(allocated(gpus, whole))


def allocated(gpus: float, whole: int) -> float:
    """The part of a GPU of ``whole`` bytes that torch may allocate in a share: the process itself takes some of it."""
    return max(gpus - PROCESS / whole, gpus / 2)


def result_of(report: dict[str, Any]) -> Result:
    """The result that `SegmentTrainable.step` reported."""
    return Result.from_json(json.loads(report["result"]))
