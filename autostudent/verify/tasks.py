"""One training from scratch, and its outcome, kept under the address of everything that decides it.

A finished training is never run again; one that was cut off goes on from the last state that it kept. Training seeds
are those of replicates 1, 2, …: the search's replicate 0 is never among them on the test split, and views are drawn
from a bank that the search did not see.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from autostudent.assets import Assets, write_atomic
from autostudent.distill.compiled import Make, as_it_is, compiled
from autostudent.distill.fit import Diverged, Fit
from autostudent.distill.job import Job, derive_seed
from autostudent.distill.methods import version_of
from autostudent.errors import AutostudentError, first_line, is_out_of_memory
from autostudent.measure.intervals import pack
from autostudent.measure.latency import by_turns
from autostudent.measure.predict import predict
from autostudent.measure.quality import quality
from autostudent.records import Candidate, Value, digest
from autostudent.teach.training import KEPT_EVERY_S, unfinished
from autostudent.trial import TrialSetup, TrialWorker, answers, bank_of
from autostudent.verify.networks import costs_of, network_of

CODE = 3  # raised when the outcome of a task would change


@dataclass(frozen=True)
class VerifyTask:
    """One training from scratch. ``graph`` is as `autostudent.verify.networks` takes it, ``config`` the recipe,
    ``epochs`` its length. ``test_split`` is the checksum of the test split to measure on, None for validation alone.

    ``base`` is the key that training seeds derive from: a student and its controls share it, so their seeds are paired.
    """

    name: str
    graph: Mapping[str, Any]
    config: Mapping[str, Value]
    base: str
    replicate: int
    epochs: int
    test_split: str | None = None

    @property
    def key(self) -> str:
        """The address of the outcome."""
        about = {name: value for name, value in dataclasses.asdict(self).items() if name != "name"}
        outside = version_of(str(self.config.get("kd.loss", "none")))
        return digest({"code": CODE, **about, **({"plugin": outside} if outside else {})})


def bank_seed(seed: int) -> int:
    """The seed of the view bank that verification trains on."""
    return derive_seed("verify", seed)


def run_task(setup: TrialSetup, task: VerifyTask) -> dict[str, Any]:
    """Trains one network and measures it on validation, and on test where the task says so.

    The outcome holds metrics and, as a hexadecimal string, which test pictures were classified correctly; of a training
    that diverged it holds the reason under "failed".
    """
    other = [setup.training.views] if setup.training.views and task.epochs != setup.epochs else []  # since CODE 3
    entry = Assets(setup.artifacts).entry("verified", digest([setup_key(setup), task.key, *other]))
    if entry.complete:
        outcome: dict[str, Any] = json.loads(entry.read("outcome.json"))
        return outcome
    progress = entry.folder / ".unfinished"
    try:
        with by_turns(setup.device) as pause:
            outcome = measured(bench_of(setup), task, progress, pause)
    except Diverged as error:
        outcome = {"failed": str(error)}
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        hint = "lower run.workers or training.batch_size, or raise run.gpus_per_trial; the same command goes on"
        raise AutostudentError(f"{task.name} ran out of memory ({first_line(error)}): {hint}") from error
    entry.commit({"outcome.json": json.dumps(outcome).encode()}, {"name": task.name})
    progress.unlink(missing_ok=True)
    return outcome


def measured(bench: Bench, task: VerifyTask, progress: Path, pause: Callable[[], object]) -> dict[str, Any]:
    """Trains, with a ``pause`` after each epoch, and measures. Raises `Diverged`."""
    dataset, device = bench.worker.dataset, bench.worker.device
    fit = train(bench.job(task), progress, pause)
    student = fit.annealed()
    with as_it_is(bench.worker.setup.training.compile):
        logits = answers(student, dataset.validation.x, device)
        outcome: dict[str, Any] = {
            "validation": quality(logits, dataset.validation.y, bench.worker.teacher_logits),
            "seconds": dict(fit.seconds),
        }
        if task.test_split is not None:
            logits = answers(student, dataset.test.x, device)
            outcome["test"] = quality(logits, dataset.test.y, bench.teacher_on_test)
            outcome["correct"] = pack(logits.argmax(1) == dataset.test.y)
    return outcome


def train(job: Job, progress: Path, pause: Callable[[], object] = lambda: None) -> Fit:
    """A whole training; its state is kept in ``progress`` now and then, and one that is there is gone on with."""
    fit = unfinished(job, progress) or Fit(job)
    kept = time.perf_counter()

    def on_epoch(epoch: int) -> None:
        nonlocal kept
        pause()
        if time.perf_counter() - kept > KEPT_EVERY_S:
            write_atomic(progress, fit.save())
            kept = time.perf_counter()

    fit.run(job.optim.epochs, on_epoch)
    return fit


@dataclass
class Bench:
    """A process's worker, and what only verification reads: the test split."""

    worker: TrialWorker

    @cached_property
    def teacher_on_test(self) -> Tensor:
        """What the main teacher says of the test pictures, ``(n, C)``."""
        worker = self.worker
        return predict(worker.teacher(next(iter(worker.setup.teachers))).module, worker.dataset.test.x, worker.device)

    def job(self, task: VerifyTask) -> Job:
        """The training of a task. One of another length than a student's has a bank with a view for every epoch."""
        worker, setup = self.worker, self.worker.setup
        dataset = worker.dataset
        student: Make = partial(network_of, task.graph, mean=dataset.mean, std=dataset.std)
        if setup.training.compile:
            student = compiled(student, worker.device)
        job = worker.job(student, costs_of(task.graph)["params"], Candidate(task.config, 0), task.replicate)
        if task.epochs != setup.epochs:
            assert not job.sources, "what teachers say is known for the views of the students' bank alone"
            views = setup.training.views or task.epochs
            job = dataclasses.replace(job, bank=bank_of(dataset, views, setup.seed))
        return dataclasses.replace(
            job,
            optim=dataclasses.replace(job.optim, epochs=task.epochs),
            seed=derive_seed(task.base, task.replicate),
        )


def setup_key(setup: TrialSetup) -> str:
    """Digest of everything about a study that decides how a network trains: data, teachers, views, optimiser."""
    settings = [setup.fingerprint, dict(setup.data), dataclasses.asdict(setup.training), setup.epochs]
    return digest([*settings, dict(setup.teachers), list(setup.ladder), setup.seed, setup.device])


_benches: dict[str, Bench] = {}


def bench_of(setup: TrialSetup) -> Bench:
    """This process's bench for a set-up, made once: data and teachers stay loaded over tasks."""
    key = digest([setup_key(setup), setup.artifacts])
    if key not in _benches:
        _benches.clear()
        _benches[key] = Bench(TrialWorker(setup))
    return _benches[key]
