"""Segments on Ray Tune: warm worker processes, on this machine or on a cluster.

A Tune trial is one segment. Tune's loop runs in the calling thread; a thread of ours talks to the driver, which may take
its time to think, and keeps one segment per worker ready. Ray keeps no state worth saving: all of it can be lost.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import ray
from ray import cloudpickle, tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from autostudent.errors import ConfigError
from autostudent.records import Cause, Result, Segment
from autostudent.run.base import Driver, Feed, R, Runner, T, Worker, failed
from autostudent.run.ray_session import RaySession, check_share, environment
from autostudent.run.ray_worker import Plan, SegmentTrainable, note_of, result_of

SEGMENTS_PER_FIT = 1000  # Tune's own state grows by 12 KB and a folder a segment


class Stopped(Exception):
    """Leaves Tune's loop on purpose."""


class StudyThread:
    """Talks to the driver in a thread of its own: results go in, segments to run come out, in order."""

    def __init__(self, driver: Driver, workers: int) -> None:
        self.feed = Feed(driver, 2 * workers)  # one that runs and one that waits for every worker
        self.error: BaseException | None = None
        self.over = False
        self._ready: deque[Segment] = deque()
        self._returned: SimpleQueue[tuple[Segment, Result] | None] = SimpleQueue()
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._talk, name="study", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def give(self, segment: Segment, result: Result) -> None:
        """A segment has ended."""
        self._returned.put((segment, result))

    def take(self) -> Segment | None:
        """The next segment, None while there is none; never waits."""
        with self._changed:
            return self._ready.popleft() if self._ready else None

    def wait(self, seconds: float) -> bool:
        """Waits until there is a segment to take (True) or the study is over; False also when time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self.over, seconds)
            return bool(self._ready)

    def close(self) -> None:
        """Lets results that have arrived be committed, asks for nothing more, and waits for the thread."""
        self._closing = True
        self._returned.put(None)
        self._thread.join()

    def _talk(self) -> None:
        try:
            self._offer(self.feed.start())
            while not self.feed.done and (item := self._returned.get()) is not None:
                self._offer(self.feed.commit(*item, refill=not self._closing))
        except BaseException as error:  # raised again in the caller's thread
            self.error = error
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def _offer(self, segments: list[Segment]) -> None:
        with self._changed:
            self._ready.extend(segments)
            self._changed.notify_all()


class SegmentSearcher(Searcher):
    """Hands the study's segments to Tune, never more than there are workers, and Tune's results to the study."""

    def __init__(self, study: StudyThread, plan: Plan, workers: int, interrupted: Callable[[], bool]) -> None:
        super().__init__()
        self.study = study
        self.plan = plan
        self.workers = workers
        self.interrupted = interrupted
        self.running: dict[str, Segment] = {}
        self.left = SEGMENTS_PER_FIT

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Called by Tune in every turn of its loop for as long as it gets trials."""
        if self.left == 0:
            return Searcher.FINISHED
        if len(self.running) == self.workers:
            return None
        while not self.running and not self.study.wait(0.2):  # nothing runs: Tune has nothing else to do
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
        if result is not None and not error:
            self.study.give(self.running.pop(trial_id), result_of(result))

    def lost(self, trial_id: str, error: str, seconds: float) -> None:
        """A worker died in the segment of this trial, ``seconds`` after it began."""
        segment = self.running.pop(trial_id)
        self.study.give(segment, lost_result(segment, self.plan, error, seconds))

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
    if limit is not None:
        message = f"took longer than {limit:g} s"
        if note.is_file() and (word := note.read_text()).startswith("Timeout"):
            return failed(segment, Cause.TIMEOUT, message, word)
        if seconds >= limit and not note.is_file():  # the worker ran on another machine, its note stayed there
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

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune about ten times a second."""
        if self.searcher.study.error is not None or self.searcher.interrupted():
            self.kill()
            raise Stopped

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune when an actor, new or reused, is ready for a trial."""
        self.actors[trial.trial_id] = trial.temporary_state.ray_actor
        self.began[trial.trial_id] = time.monotonic()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune after the searcher's."""
        self.actors.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune when an actor is gone, after the searcher's `on_trial_complete`."""
        self.actors.pop(trial.trial_id, None)
        began = self.began.get(trial.trial_id, time.monotonic())
        error = Path(trial.error_file).read_text() if trial.error_file else "no reason was given"
        self.searcher.lost(trial.trial_id, error, time.monotonic() - began)

    def kill(self) -> None:
        """Ends running segments now; Tune's own way is to wait for them."""
        for actor in self.actors.values():
            ray.kill(actor)


class WarmActors(FIFOScheduler):
    """Keeps every actor that has ended a segment for the next one, also while the study thinks.

    Tune keeps only one idle actor when it sees no trial that needs it, and hands a trial whose actor is still starting
    to an idle actor, dropping the other; both cost a start (torch, data) of seconds.
    """

    def __init__(self, workers: int) -> None:
        super().__init__()
        self.workers = workers
        self._told = False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Called by Tune for every new trial; the first tells how many idle actors may stay."""
        controller = getattr(tune_controller, "_tune_controller", tune_controller)
        cache = getattr(controller, "_actor_cache", None)  # not public; without it some starts are lost, nothing else
        if cache is not None and not self._told:
            cache.increase_max(trial.placement_group_factory, self.workers)
            self._told = True

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Nothing: Tune then runs pending trials in order, and never takes one from its starting actor."""


class RayRunner(Runner):
    """Runs segments as Ray Tune trials, ``workers`` at a time.

    Args:
        workers: worker processes.
        cpus_per_trial, gpus_per_trial: the share of each; a fraction of a GPU also caps the worker's part of its memory.
        address: a running cluster to join ("auto", "host:port"); None starts Ray on this machine for as long as it is
            needed. A Ray that this process has already initialized is used as it is.
        timeout_s: a segment that takes longer is ended (`Cause.TIMEOUT`) with its worker process.
        debug: let workers and Ray print.

    Raises:
        ConfigError: for a share that is not positive, or that no machine of the cluster has.
    """

    def __init__(
        self,
        workers: int = 2,
        cpus_per_trial: float = 1.0,
        gpus_per_trial: float = 0.0,
        *,
        address: str | None = None,
        timeout_s: float | None = None,
        debug: bool = False,
    ) -> None:
        for key, value, low in (("workers", workers, 1), ("cpus_per_trial", cpus_per_trial, 0.01)):
            if value < low:
                raise ConfigError(f"run.{key}", value, f"at least {low}")
        self.workers = workers
        self.cpus = cpus_per_trial
        self.gpus = gpus_per_trial
        self.timeout_s = timeout_s
        self.debug = debug
        self.session = RaySession(workers * cpus_per_trial, gpus_per_trial, address, debug)

    def __enter__(self) -> Self:
        self.session.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self.session.__exit__(*details)

    def run(self, driver: Driver, make_worker: Callable[[], Worker]) -> None:
        """See `Runner.run`.

        On SIGINT or SIGTERM running segments are dropped, results that have arrived are committed, and
        KeyboardInterrupt or SystemExit is raised; a second SIGINT does not wait.
        """
        scratch = tempfile.mkdtemp(prefix="autostudent-")
        pickled = cloudpickle.dumps(make_worker)
        plan = Plan(pickled, self.cpus, self.gpus, self.timeout_s, f"{scratch}/notes")
        study = StudyThread(driver, self.workers)
        try:
            with self.session, environment(self._tune_settings()), _signals() as received:
                check_share(self.cpus, self.gpus)
                study.start()
                try:
                    self._fit_all(study, plan, scratch, lambda: bool(received))
                finally:
                    study.close()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if study.error is not None:
            raise study.error
        if received:
            raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(128 + received[0])

    def _fit_all(self, study: StudyThread, plan: Plan, scratch: str, interrupted: Callable[[], bool]) -> None:
        while not interrupted() and not study.over:
            if study.wait(0.2):
                self._fit(study, plan, scratch, interrupted)

    def _fit(self, study: StudyThread, plan: Plan, scratch: str, interrupted: Callable[[], bool]) -> None:
        searcher = SegmentSearcher(study, plan, self.workers, interrupted)
        trainable = tune.with_resources(
            tune.with_parameters(SegmentTrainable, plan=plan), {"cpu": self.cpus, "gpu": self.gpus}
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=WarmActors(self.workers),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="segments",
                storage_path=tempfile.mkdtemp(dir=scratch),
                callbacks=[Watcher(searcher)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                verbose=0,
            ),
        )
        try:
            with _quiet(self.debug):
                tuner.fit()
        except Stopped:
            return

    def _tune_settings(self) -> dict[str, str | None]:
        return {
            "TUNE_MAX_PENDING_TRIALS_PG": str(self.workers + 1),
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            "TUNE_DISABLE_SIGINT_HANDLER": "1",  # `_signals` stops sooner
            "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
            "RAY_AIR_NEW_OUTPUT": "0",  # the new output ignores verbose=0
            "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's state is never read again
            "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean what they meant to the caller
        }

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """See `Runner.map`; every item is a Ray task with the share of a segment."""
        with self.session:
            check_share(self.cpus, self.gpus)
            task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=2)(_attempt)
            common = ray.put(cloudpickle.dumps((function, self.cpus)))
            futures = [task.remote(common, cloudpickle.dumps(item)) for item in items]
            try:
                return [_unpack(future) for future in futures]
            except BaseException:
                for future in futures:
                    ray.cancel(future, force=True)
                raise


def _attempt(common: bytes, pickled: bytes) -> bytes:
    """Runs in a Ray worker. Exceptions travel in parts, because many cannot be pickled whole."""
    function, cpus = cloudpickle.loads(common)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(max(1, int(cpus)))
    try:
        return cloudpickle.dumps((function(cloudpickle.loads(pickled)), None))
    except Exception as error:
        return cloudpickle.dumps((None, (type(error), error.args, vars(error), traceback.format_exc())))


def _unpack(future: Any) -> Any:
    value, trouble = cloudpickle.loads(ray.get(future))
    if trouble is None:
        return value
    kind, arguments, attributes, trace = trouble
    error = kind.__new__(kind, *arguments)
    vars(error).update(attributes)
    error.add_note(f"In a Ray worker:\n{trace}")
    raise error


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; the second SIGINT raises KeyboardInterrupt at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet(debug: bool) -> Iterator[None]:
    """Silences Tune's loggers: every fact that matters reaches the driver as a result."""
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train", "ray.air")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO if debug else logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
