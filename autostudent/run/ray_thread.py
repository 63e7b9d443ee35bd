"""Tune's loop in a thread of its own, so that workers start and warm up while the study still prepares."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle, tune

from autostudent.run.base import Driver, Worker
from autostudent.run.ray_loop import SegmentSearcher, Stopped, StudyThread, WarmActors, Watcher
from autostudent.run.ray_session import environment
from autostudent.run.ray_worker import Plan, SegmentTrainable

STOP_S = 10.0  # seconds that Tune's loop gets to end its actors after it was told to stop
MEET_S = 120.0  # seconds that work before the study waits for the first worker to start
LOOK_S = 0.5  # seconds after which work before the study looks for workers that came meanwhile


@dataclass(frozen=True)
class Terms:
    """How segments run: see `autostudent.run.ray_tune.RayRunner`.

    ``inherits``: whether Ray's workers have this process's environment.
    """

    workers: int
    cpus: float
    gpus: float
    timeout_s: float | None
    debug: bool
    segments_per_fit: int
    inherits: bool


class TuneThread:
    """Runs Tune until a study is over. The study may come later than the workers.

    Args:
        terms: how segments run.
        prepare: called by every worker process before there is a study, to import and load what it will need.
    """

    def __init__(self, terms: Terms, prepare: Callable[[], object] | None = None) -> None:
        self.terms = terms
        self.study = StudyThread(terms.workers)
        self.error: BaseException | None = None
        self._scratch = tempfile.mkdtemp(prefix="autostudent-")
        ready = None if prepare is None else cloudpickle.dumps(prepare)
        self._plan = Plan(terms.cpus, terms.gpus, terms.timeout_s, f"{self._scratch}/notes", ready)
        self._stopped = threading.Event()
        self.lost: set[Any] = set()  # identities of workers that ended over work before the study
        self._around = ExitStack()
        self._thread = threading.Thread(target=self._loop, name="tune", daemon=True)

    def start(self) -> None:
        """Workers begin to start."""
        self._around.enter_context(environment(tune_settings(self.terms.workers)))
        self._around.enter_context(_quiet(self.terms.debug))
        self._thread.start()

    def apply(self, common: Any, pickled: Sequence[bytes], read: Callable[[int, bytes], None]) -> list[int]:
        """Work before the study begins, done by the workers that are warm and by those that become so meanwhile.

        Args:
            common, pickled: what `autostudent.run.ray_worker.attempt` is given, for every item.
            read: is given the place and the answer of each; what it raises ends the work.

        Returns:
            Places of what was not done: those over which a worker was lost, and all that are left where none is there.
        """
        waiting, undone, began = deque(range(len(pickled))), [], time.monotonic()
        running: dict[Any, tuple[int, Any]] = {}
        try:
            while waiting or running:
                for actor in self._idle(running)[: len(waiting)]:
                    place = waiting.popleft()
                    running[actor.apply.remote(common, pickled[place])] = place, actor
                if not running:
                    if self.lost or not self._thread.is_alive() or time.monotonic() - began > MEET_S:
                        break
                    self.study.warm(1, LOOK_S)
                    continue
                for future in ray.wait([*running], num_returns=1, timeout=LOOK_S if waiting else None)[0]:
                    place, actor = running.pop(future)
                    try:
                        answer = ray.get(future)
                    except ray.exceptions.RayTaskError:
                        raise
                    except ray.exceptions.RayError:  # its process or its machine is gone
                        self.lost.add(actor._actor_id)
                        undone.append(place)
                    else:
                        read(place, answer)
        except BaseException as error:  # the work's own, or interrupted: what still runs is of no use
            patience = STOP_S if isinstance(error, Exception) else 0
            for future in ray.wait([*running], num_returns=len(running), timeout=patience)[1] if running else []:
                _, actor = running[future]
                self.lost.add(actor._actor_id)
                ray.kill(actor)
            raise
        return [*undone, *waiting]

    def _idle(self, running: dict[Any, tuple[int, Any]]) -> list[Any]:
        """The workers that are warm, or warm up now, and have nothing else to do."""
        busy = {actor._actor_id for _, actor in running.values()} | self.lost
        return [actor for actor in self.study.warm(0, 0.0) if actor._actor_id not in busy]

    def begin(self, driver: Driver, make_worker: Callable[[], Worker]) -> None:
        """The study is there; ``make_worker`` is called once in every worker process."""
        self.study.start(driver, ray.put(cloudpickle.dumps(make_worker)))

    def wait(self, interrupted: Callable[[], bool]) -> None:
        """Until the study is over, or there is a reason to leave it; in the main thread signals are still heard."""
        while self._thread.is_alive() and not interrupted():
            self._thread.join(0.05)

    def close(self, now: bool = True) -> None:
        """Ends the loop, running segments with it if it is to be ``now``; commits what has arrived; raises nothing."""
        if now:
            self._stopped.set()
            self._thread.join(STOP_S)
            self.study.close()
        else:
            self.study.close()
            self._thread.join()
        self._around.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _loop(self) -> None:
        try:
            while not self._stopped.is_set() and not self.study.over:
                if self._plan.prepare is not None or self.study.wait(0.2):
                    self._fit()
        except BaseException as error:  # raised again in the caller's thread
            self.error = error

    def _fit(self) -> None:
        terms, stopped = self.terms, self._stopped.is_set
        searcher = SegmentSearcher(self.study, self._plan, terms.workers, terms.segments_per_fit, stopped)
        watcher = Watcher(searcher)
        trainable = tune.with_resources(
            tune.with_parameters(SegmentTrainable, plan=self._plan), {"cpu": terms.cpus, "gpu": terms.gpus}
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=WarmActors(terms.workers, terms.inherits),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="segments",
                storage_path=tempfile.mkdtemp(dir=self._scratch),
                callbacks=[watcher],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except Stopped:
            return
        except RuntimeError as error:  # Tune knows dead actors, but not that their node was low on memory
            if not isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
                raise
            watcher.sort_out(str(error.__cause__))


def tune_settings(workers: int) -> dict[str, str | None]:
    """Environment variables that Tune reads."""
    return {
        "TUNE_MAX_PENDING_TRIALS_PG": str(workers + 1),
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the runner stops sooner
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "RAY_AIR_NEW_OUTPUT": "0",  # the new output ignores verbose=0
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's state is never read again
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean what they meant to the caller
    }


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
