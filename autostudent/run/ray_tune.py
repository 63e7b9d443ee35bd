"""Segments on Ray Tune: warm worker processes, on this machine or on a cluster.

A Tune trial is one segment. Tune's loop runs in a thread of its own, so that workers start while the caller prepares;
another thread talks to the driver, which may take its time to think, and keeps one segment per worker ready. Ray keeps
no state worth saving: all of it can be lost.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import ray
from ray import cloudpickle

from autostudent.errors import AutostudentError, ConfigError, first_line
from autostudent.run.base import Driver, R, Runner, T, Worker, ignore
from autostudent.run.ray_session import RaySession, check_share
from autostudent.run.ray_thread import Terms, TuneThread
from autostudent.run.ray_worker import attempt


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
        self._tune: TuneThread | None = None  # that has warm workers and waits for a study

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
        if self.session.depth == 1:
            self._cool(now=True)
        self.session.__exit__(*details)

    def warm(self, prepare: Callable[[], object]) -> None:
        """See `Runner.warm`: the workers start now, on Ray's idle processes where there are any."""
        if self._tune is None:
            self._tune = self._thread(prepare)
            self._tune.start()

    def run(self, driver: Driver, make_worker: Callable[[], Worker]) -> None:
        """See `Runner.run`.

        On SIGINT or SIGTERM running segments are dropped, results that have arrived are committed, and
        KeyboardInterrupt or SystemExit is raised; a second SIGINT does not wait.
        """
        with self, _signals() as received:
            loop, self._tune = self._tune, None
            if loop is None:
                loop = self._thread(None)
                loop.start()
            try:
                loop.begin(driver, make_worker)
                loop.wait(lambda: bool(received))
            finally:
                loop.close()
        for error in (loop.study.error, loop.error):
            if error is not None:
                raise error
        if received:
            raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(128 + received[0])

    def _thread(self, prepare: Callable[[], object] | None) -> TuneThread:
        terms = Terms(
            self.workers,
            self.cpus,
            self.gpus,
            self.timeout_s,
            self.debug,
            self.segments_per_fit,
            inherits=self.session.local,
        )
        return TuneThread(terms, prepare)

    def _cool(self, now: bool) -> None:
        """Ends workers that wait for a study."""
        loop, self._tune = self._tune, None
        if loop is not None:
            loop.close(now)

    def map(self, function: Callable[[T], R], items: Iterable[T], told: Callable[[int, R], object] = ignore) -> list[R]:
        """See `Runner.map`. Warm workers do it; without them every item is a Ray task with the share of a segment."""
        results: dict[int, R] = {}

        def read(place: int, answer: bytes) -> None:
            result = _unpack(answer)
            results[place] = result
            told(place, result)

        with self:
            common = ray.put(cloudpickle.dumps((function, self.cpus, self.gpus)))
            pickled = [cloudpickle.dumps(item) for item in items]
            left = list(range(len(pickled)))
            if self._tune is not None:
                try:
                    left = self._tune.apply(common, pickled, read)
                finally:
                    if self._tune.lost:
                        self._cool(now=True)  # Tune would go on with workers that are no more
            if left:
                self._cool(now=True)  # tasks need the share of warm workers
            self._tasks(common, {place: pickled[place] for place in left}, read)
        return [results[place] for place in range(len(pickled))]

    def _tasks(self, common: Any, pickled: Mapping[int, bytes], read: Callable[[int, bytes], None]) -> None:
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=2)(attempt)
        waiting = {task.remote(common, item): place for place, item in pickled.items()}
        try:
            while waiting:
                (done,), _ = ray.wait([*waiting], num_returns=1)
                read(waiting.pop(done), ray.get(done))
        except BaseException as error:
            # Interrupted, not killed: Ray 2.60 aborts this process when a killed task's answer arrives after all.
            for future in ray.wait([*waiting], num_returns=len(waiting), timeout=0)[1] if waiting else []:
                ray.cancel(future, force=False)
            if isinstance(error, ray.exceptions.RayTaskError):  # before the work began
                raise AutostudentError(f"a Ray worker could not begin: {first_line(error.cause)}") from error
            if isinstance(error, ray.exceptions.RayError):  # no exception of the work: those come unpacked
                reason = first_line(error)
                raise AutostudentError(f"a Ray worker process was lost, again and again: {reason}") from error
            raise


def _unpack(answer: bytes) -> Any:
    value, trouble = cloudpickle.loads(answer)
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
