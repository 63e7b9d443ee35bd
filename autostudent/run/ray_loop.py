"""The two sides of a run on Ray Tune: a thread that talks to the study, and the parts that Tune's loop calls.

They meet in `StudyThread`: results go in, segments come out. Tune never waits for the study while a segment runs.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ray
from ray import tune
from ray.air.execution import FixedResourceManager
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from autostudent.records import Cause, Result, Segment
from autostudent.run.base import Driver, Feed, failed
from autostudent.run.ray_worker import BROKEN, Plan, note_of, result_of


class Stopped(Exception):
    """Leaves Tune's loop on purpose."""


class StudyThread:
    """Talks to the driver in a thread of its own: results go in, segments to run come out, in order.

    Before `start` there is no study yet: nothing comes out, and what is awaited does not come.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.error: BaseException | None = None
        self.over = False
        self.make_worker: Any = None  # a Ray object, for every worker process before its first segment
        self._ready: deque[Segment] = deque()
        self._returned: SimpleQueue[tuple[Segment, Result] | None] = SimpleQueue()
        self._warm: dict[Any, Any] = {}  # actors that warmed up, or do so now, by their identity
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, driver: Driver, make_worker: Any) -> None:
        """The study begins."""
        self.make_worker = make_worker
        self.feed = Feed(driver, 2 * self.workers)  # one that runs and one that waits for every worker
        self._thread = threading.Thread(target=self._talk, name="study", daemon=True)
        self._thread.start()

    def give(self, segment: Segment, result: Result) -> None:
        """A segment has ended."""
        self._returned.put((segment, result))

    def take(self) -> Segment | None:
        """The next segment, None while there is none; never waits."""
        with self._changed:
            return self._ready.popleft() if self._ready else None

    def put_back(self, segment: Segment) -> None:
        """A segment that was taken and must begin anew, through no fault of its own."""
        with self._changed:
            self._ready.appendleft(segment)

    def wait(self, seconds: float) -> bool:
        """Waits until there is a segment to take (True) or the study is over; False also when time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self.over, seconds)
            return bool(self._ready)

    def meet(self, actor: Any) -> None:
        """An actor is there and warms up."""
        with self._changed:
            self._warm[actor._actor_id] = actor
            self._changed.notify_all()

    def part(self, actor: Any) -> None:
        """An actor was lost."""
        with self._changed:
            self._warm.pop(actor._actor_id, None)

    def warm(self, wanted: int, seconds: float) -> list[Any]:
        """The actors that warm up: waits until there are so many, or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._warm) >= wanted or self.over, seconds)
            return list(self._warm.values())

    def close(self) -> None:
        """Lets results that have arrived be committed, asks for nothing more, and waits for the thread."""
        self._closing = True
        self._returned.put(None)
        if self._thread is None:
            self._end()
        else:
            self._thread.join()

    def _talk(self) -> None:
        try:
            self._offer(self.feed.start())
            while not self.feed.done and (item := self._returned.get()) is not None:
                self._offer(self.feed.commit(*item, refill=not self._closing))
        except BaseException as error:  # raised again in the caller's thread
            self.error = error
        self._end()

    def _end(self) -> None:
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def _offer(self, segments: list[Segment]) -> None:
        with self._changed:
            self._ready.extend(segments)
            self._changed.notify_all()


class SegmentSearcher(Searcher):
    """Hands the study's segments to Tune, never more than there are workers, and Tune's results to the study.

    Where the plan says how to prepare a worker, the first trials, one for each, do only that.
    """

    def __init__(
        self, study: StudyThread, plan: Plan, workers: int, segments: int, interrupted: Callable[[], bool]
    ) -> None:
        super().__init__()
        self.study = study
        self.plan = plan
        self.workers = workers
        self.interrupted = interrupted
        self.running: dict[str, Segment] = {}
        self.warming: set[str] = set()
        self.left = segments
        self._cold = workers if plan.prepare is not None else 0
        self._unstarted: Counter[tuple[int, int, int]] = Counter()  # (trial, epoch, attempt)

    def suggest(self, trial_id: str) -> Any:
        """Called by Tune in every turn of its loop for as long as it gets trials."""
        if self.left == 0:
            return Searcher.FINISHED
        if len(self.running) + len(self.warming) == self.workers:
            return None
        if self._cold:
            self._cold -= 1
            self.warming.add(trial_id)
            return {"segment": None}
        # While nothing runs Tune has nothing else to do.
        while not self.running and not self.warming and not self.study.wait(0.2):
            if self.study.over or self.interrupted():
                return Searcher.FINISHED
        segment = self.study.take()
        if segment is None:
            return None
        self.left -= 1
        self.running[trial_id] = segment
        return {"segment": json.dumps(segment.to_json())}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called by Tune when a segment has reported; what became of a lost one is for `Watcher.on_trial_error`."""
        if trial_id in self.warming:  # nothing is lost with a process that died of it
            self.warming.remove(trial_id)
        elif result is not None and not error:
            self.study.give(self.running.pop(trial_id), result_of(result))

    def lost(self, trial_id: str, error: str, seconds: float) -> None:
        """A worker died in the segment of this trial, if it had one, ``seconds`` after it began."""
        segment = self.running.pop(trial_id, None)
        if segment is not None:
            self.study.give(segment, lost_result(segment, self.plan, error, seconds))

    def unstarted(self, trial_id: str, error: str) -> None:
        """A worker died, idle or still starting, before it was told of this trial's segment: another one gets it.

        Not for ever: where none can start, the segment is lost.
        """
        segment = self.running.get(trial_id)
        key = (-1, 0, 0) if segment is None else (segment.trial, segment.from_epoch, segment.attempt)
        if segment is None or self._unstarted[key] == self.workers or "raised in its creation task" in error:
            self.lost(trial_id, error, 0.0)
            return
        self._unstarted[key] += 1
        self.left += 1
        self.study.put_back(self.running.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing either: Tune pickles its settings when a run begins, to restore it, which never happens."""
        return {}


def lost_result(segment: Segment, plan: Plan, error: str, seconds: float) -> Result:
    """What it means that a worker process ended in a segment: a timeout, Ray's memory monitor, our bug, or bad luck."""
    note = note_of(plan.notes, segment)
    limit = plan.timeout_s
    if note.is_file() and (word := note.read_text()).startswith(BROKEN):
        return failed(segment, Cause.WORKER_LOST, f"{BROKEN} {word.strip().splitlines()[-1][:200]}", word)
    if limit is not None:
        message = f"took longer than {limit:g} s"
        if note.is_file() and (word := note.read_text()).startswith("Timeout"):
            return failed(segment, Cause.TIMEOUT, message, word)
        elsewhere = not note.is_file() and "node has died" not in error  # its note stayed on another machine
        if seconds >= limit and elsewhere:
            return failed(segment, Cause.TIMEOUT, message, error)
    if "running low on memory" in error:
        return failed(segment, Cause.OUT_OF_MEMORY, "Ray's memory monitor ended the worker", error)
    if "raised in its creation task" in error:
        return failed(segment, Cause.BUG, "the worker process could not start", error)
    return failed(segment, Cause.WORKER_LOST, "the worker process died", error)


class Watcher(tune.Callback):
    """Sees which actors run, says what became of lost ones, and leaves Tune's loop when there is a reason to."""

    def __init__(self, searcher: SegmentSearcher) -> None:
        self.searcher = searcher
        self.actors: dict[str, Any] = {}
        self.began: dict[str, float] = {}
        self.employed: set[Any] = set()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune about ten times a second."""
        if self.searcher.study.error is not None or self.searcher.interrupted():
            self.kill()
            raise Stopped

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune when an actor, new or reused, is ready for a trial, and before it is told to run it."""
        actor = self.actors[trial.trial_id] = trial.temporary_state.ray_actor
        self.began[trial.trial_id] = time.monotonic()
        if trial.trial_id in self.searcher.warming:
            self.searcher.study.meet(actor)
        elif actor._actor_id not in self.employed:
            self.employed.add(actor._actor_id)
            actor.employ.remote(self.searcher.study.make_worker)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune after the searcher's."""
        self.actors.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune when an actor is gone, after the searcher's `on_trial_complete`."""
        if (actor := self.actors.pop(trial.trial_id, None)) is not None:
            self.searcher.study.part(actor)
        error = Path(trial.error_file).read_text() if trial.error_file else "no reason was given"
        if trial.trial_id in self.began:
            self.searcher.lost(trial.trial_id, error, time.monotonic() - self.began[trial.trial_id])
        else:
            self.searcher.unstarted(trial.trial_id, error)

    def sort_out(self, error: str) -> None:
        """Tune gave up because Ray's memory monitor ended workers, whose actors ``error`` names.

        Their segments have failed; those that Tune dropped with them begin anew in its next run.
        """
        running = list(self.searcher.running)
        named = {trial for trial in running if trial in self.actors and self.actors[trial]._actor_id.hex() in error}
        for trial in reversed(running):
            if trial in named or not named:
                self.searcher.lost(trial, error, 0.0)
            else:
                self.searcher.study.put_back(self.searcher.running.pop(trial))

    def kill(self) -> None:
        """Ends running segments now; Tune's own way is to wait for them."""
        for actor in self.actors.values():
            ray.kill(actor)


def in_whole_shares(total: Mapping[str, float], gpus: float) -> dict[str, float]:
    """What this machine has, without the rest of each GPU that is too small for a share of ``gpus``.

    Tune counts sums; an actor that fits into these alone would never start.
    """
    if not 0 < gpus < 1:
        return dict(total)
    shares = int(total.get("GPU", 0)) * int(1 / gpus + 1e-9)
    return {**total, "GPU": shares * gpus + 1e-4}


class WarmActors(FIFOScheduler):
    """Keeps every actor that has ended a segment for the next one, also while the study thinks.

    Tune keeps only one idle actor when it sees no trial that needs it, and hands a trial whose own actor is still
    starting to an idle one, ending the other; both cost a start (torch, data) of seconds. It also gives its actors
    environment variables of their own, and a placement group each, for which Ray starts new processes instead of taking
    those that it has started with the cluster. What is needed against this is not public in Tune; without it starts are
    lost, nothing else.

    Args:
        workers: idle actors that may stay.
        inherits: whether this process started the cluster: workers then have its environment anyway, on one machine.
    """

    def __init__(self, workers: int, inherits: bool) -> None:
        super().__init__()
        self.workers = workers
        self.inherits = inherits
        self._told = False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Called by Tune for every new trial, before its actor is made; the first says how many may stay idle."""
        controller = getattr(tune_controller, "_tune_controller", tune_controller)
        cache = getattr(controller, "_actor_cache", None)
        if cache is not None and not self._told:
            cache.increase_max(trial.placement_group_factory, self.workers)
            if self.inherits:
                self._take_idle_processes(controller, trial)
            self._told = True

    def _take_idle_processes(self, controller: Any, trial: Any) -> None:
        classes = getattr(getattr(controller, "_class_cache", None), "_cache", None)
        actors: Any = getattr(controller, "_actor_manager", None)
        if classes is not None and hasattr(actors, "_resource_manager"):
            kind = trial.get_trainable_cls()
            classes[kind] = ray.remote(kind)
            gpus = trial.placement_group_factory.required_resources.get("GPU", 0.0)
            actors._resource_manager = FixedResourceManager(in_whole_shares(ray.cluster_resources(), gpus))

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Called by Tune in every turn: the oldest pending trial may take an idle actor, unless its own is starting.

        Tune then looks for any other trial that an idle actor could take; those with a starting one are hidden from it.
        """
        controller = getattr(tune_controller, "_tune_controller", tune_controller)
        actors = getattr(controller, "_trial_to_actor", {})
        pending = [trial for trial in tune_controller.get_trials() if trial.status == "PENDING"]
        starting = {t for t in pending if t in actors and controller._actor_manager.is_actor_started(actors[t])}
        for waiting in getattr(controller, "_resources_to_pending_trials", {}).values():
            waiting -= starting
        return next((trial for trial in pending if trial not in starting), None)
