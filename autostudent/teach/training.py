"""Teachers and assistants that the program trains itself, with the students' own loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from autostudent.assets import write_atomic
from autostudent.build.network import build
from autostudent.data.datasets import Dataset
from autostudent.data.views import ViewBank, images
from autostudent.distill.fit import Fit
from autostudent.distill.job import Job, Source
from autostudent.distill.method import Method
from autostudent.distill.optim import Optim
from autostudent.errors import AutostudentError, is_out_of_memory
from autostudent.measure.latency import by_turns
from autostudent.space.architecture import Architecture

KEPT_EVERY_S = 30.0  # a killed training of a teacher loses this much
WALL = "wall"  # column of the ledger: seconds since the training began, waiting between calls left out

Say = Callable[[str], None]
Keep = Callable[[nn.Module, float], None]  # takes a network in eval mode, and the seconds spent so far


def silent(text: str) -> None:
    """Says nothing."""


def train(
    architecture: Architecture,
    dataset: Dataset,
    method: Method,
    sources: tuple[Source, ...],
    optim: Optim,
    seed: int,
    device: torch.device,
    progress: Path,
    say: Say = silent,
    *,
    held_out: bool = False,
    stops: Mapping[int, Keep] | None = None,
) -> tuple[nn.Module, float]:
    """Trains a network over as many views as it has epochs, to the end or to the last of ``stops``.

    Args:
        architecture: what to train.
        dataset: its ``train`` split is learned from.
        method: how; ``sources``: from whom.
        optim: epochs, learning rate and the rest.
        seed: of initial weights, order and views.
        device: where.
        progress: a file for the state of an unfinished training; one that is there is gone on with.
        say: told how far the training is, now and then.
        held_out: the meta split is left out of training, so that it can judge the network.
        stops: what is done with the network as it stands after so many epochs, its learning rate still high.

    Returns:
        (the network in eval mode, seconds of training, those before a kill included as far as they were kept).

    Raises:
        Diverged: when the loss is not finite.
    """
    begun = time.perf_counter()
    part = dataset.without_meta if held_out else dataset.train
    job = Job(
        student=lambda s: build(architecture, s, dataset.mean, dataset.std),
        method=method,
        sources=sources,
        bank=ViewBank(part.x, optim.epochs, seed, dataset.augment.unmixed),
        labels=part.y,
        classes=len(dataset.classes),
        optim=optim,
        seed=seed,
        images=images,
        meta=None if held_out else dataset.meta,
        device=device,
    )
    stops = stops or {}
    fit = unfinished(job, progress)
    if fit is None or (stops and fit.epoch >= min(stops)):  # a stop that was added since, or lost
        fit = Fit(job)
    before = fit.seconds.get(WALL, 0.0)
    kept, waited = time.perf_counter(), 0.0

    def spent() -> float:
        return before + time.perf_counter() - begun - waited

    def on_epoch(epoch: int) -> None:
        nonlocal kept, waited
        reached = time.perf_counter()
        pause()
        waited += time.perf_counter() - reached
        if epoch in stops:
            stops[epoch](copy.deepcopy(fit.student).eval(), spent())
        if time.perf_counter() - kept > KEPT_EVERY_S:
            fit.seconds[WALL] = spent()
            write_atomic(progress, fit.save())
            kept = time.perf_counter()
            say(f"epoch {epoch} of {optim.epochs}")

    reached = time.perf_counter()
    with by_turns(device) as pause:
        waited += time.perf_counter() - reached
        fit.run(max(stops, default=optim.epochs), on_epoch)
    return fit.student.eval(), spent()


def unfinished(job: Job, progress: Path) -> Fit | None:
    """The training that ``progress`` holds, None where there is none that fits."""
    if not progress.is_file():
        return None
    try:
        return Fit.restore(job, progress.read_bytes())
    except (AutostudentError, RuntimeError, KeyError) as error:
        if is_out_of_memory(error) or "CUDA" in str(error):  # the device's trouble: what is kept is worth keeping
            raise
        return None  # torn, or written by another version: begin anew
