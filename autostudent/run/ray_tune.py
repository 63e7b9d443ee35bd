"""Segments on Ray Tune: warm worker processes, on this machine or on a cluster.

A Tune trial is one segment. Tune's loop runs in the calling thread; a thread of ours talks to the driver, which may
take its time to think, and keeps one segment per worker ready. Ray keeps no state worth saving: all of it can be lost.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import ray
from ray import cloudpickle, tune

from autostudent.errors import AutostudentError, ConfigError
from autostudent.run.base import Driver, R, Runner, T, Worker
from autostudent.run.ray_loop import SegmentSearcher, Stopped, StudyThread, WarmActors, Watcher
from autostudent.run.ray_session import RaySession, check_share, environment
from autostudent.run.ray_worker import Plan, SegmentTrainable


class RayRunner(Runner):
    """Runs segments as Ray Tune trials, ``workers`` at a time.

    Args:
        workers: worker processes.
        cpus_per_trial, gpus_per_trial: the share of each; a fraction of a GPU also caps the worker's share of its
            memory.
        address: a running cluster to join ("auto", "host:port"); None starts Ray on this machine for as long as it is
            needed. A Ray that this process has already initialized is used as it is.
        timeout_s: a segment that takes longer is ended (`Cause.TIMEOUT`) with its worker process.
        debug: let workers and Ray print.
        segments_per_fit: a new Tune run begins after so many: Tune's own state grows by 12 KB and a folder each.

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
        segments_per_fit: int = 1000,
    ) -> None:
        least = {
            "workers": (workers, 1),
            "cpus_per_trial": (cpus_per_trial, 0.01),
            "gpus_per_trial": (gpus_per_trial, 0),
        }
        for key, (value, low) in least.items():
            if value < low:
                raise ConfigError(f"run.{key}", value, f"at least {low}")
        self.workers = workers
        self.cpus = cpus_per_trial
        self.gpus = gpus_per_trial
        self.timeout_s = timeout_s
        self.debug = debug
        self.segments_per_fit = segments_per_fit
        self.session = RaySession(workers * cpus_per_trial, gpus_per_trial, address, debug)

    def __enter__(self) -> Self:
        """Connects to Ray, and refuses a share that no machine there has before any work is done."""
        self.session.__enter__()
        try:
            check_share(self.cpus, self.gpus)
        except BaseException:
            self.session.__exit__()
            raise
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
            with self, environment(self._tune_settings()), _signals() as received:
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
        searcher = SegmentSearcher(study, plan, self.workers, self.segments_per_fit, interrupted)
        watcher = Watcher(searcher)
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
                callbacks=[watcher],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                verbose=0,
            ),
        )
        try:
            with _quiet(self.debug):
                tuner.fit()
        except Stopped:
            return
        except RuntimeError as error:  # Tune knows dead actors, but not that their node was low on memory
            if not isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
                raise
            watcher.sort_out(str(error.__cause__))

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
        with self:
            task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=2)(_attempt)
            common = ray.put(cloudpickle.dumps((function, self.cpus)))
            futures = [task.remote(common, cloudpickle.dumps(item)) for item in items]
            try:
                return [_unpack(future) for future in futures]
            except BaseException as error:
                # Interrupted, not killed: Ray 2.60 aborts this process when a killed task's answer arrives after all.
                for future in ray.wait(futures, num_returns=len(futures), timeout=0)[1]:
                    ray.cancel(future, force=False)
                if isinstance(error, ray.exceptions.RayError):  # no exception of the function: those come unpacked
                    reason = str(error).strip().splitlines()[0]
                    raise AutostudentError(f"a Ray worker process was lost, again and again: {reason}") from error
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
