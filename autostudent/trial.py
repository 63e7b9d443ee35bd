"""One segment of one student's training: build, distil, measure. Knows neither Ray nor the store.

A `TrialWorker` lives in a worker process. It loads data, view bank and teachers once and then takes segment after
segment; whatever goes wrong comes back as a `Result` with a typed failure.
"""

from __future__ import annotations

import json
import logging
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from autostudent.assets import Assets
from autostudent.build.network import build
from autostudent.data import datasets
from autostudent.data.views import Augment, ViewBank, images
from autostudent.distill.fit import Diverged, Fit
from autostudent.distill.job import Job, Source, derive_seed
from autostudent.distill.methods import METHODS
from autostudent.distill.optim import Optim
from autostudent.distill.recipe import Recipe, read_recipe
from autostudent.errors import AssetError, DataError, InvalidDraw, is_of_surroundings, is_out_of_memory
from autostudent.measure.latency import latency_of, sharing
from autostudent.measure.predict import predict
from autostudent.measure.quality import quality
from autostudent.records import LATENCY, Candidate, Cause, Failure, Result, Segment
from autostudent.settings import Roster, TrainingSettings
from autostudent.space.architecture import Architecture, freeze
from autostudent.space.cost import costs
from autostudent.space.space import Space
from autostudent.teach.derived import Facts
from autostudent.teach.ensemble import EnsembleWeights
from autostudent.teach.forms import Form
from autostudent.teach.hint_points import HintPoints
from autostudent.teach.knowledge import Knowledge, stored
from autostudent.teach.maps import Maps
from autostudent.teach.teacher import Teacher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialSetup:
    """All that a worker process needs, as plain picklable data.

    ``teachers`` maps the names of the frozen teachers to their asset keys; the first is the teacher that reports
    compare with. ``roster`` says which of them recipes choose from. ``fingerprint`` is that of the data the study was
    begun with. ``owner`` goes into every stored weight and checkpoint: studies that share a folder
    never share (and never delete) each other's files. ``measured``: the objectives that are not known from the graph.
    ``cuda_graphs``: as in `autostudent.settings.RunSettings`.
    """

    data: Mapping[str, object]
    fingerprint: str
    training: TrainingSettings
    epochs: int
    rungs: tuple[int, ...]
    space: Space
    teachers: Mapping[str, str]
    roster: Roster
    artifacts: str
    seed: int
    owner: str
    device: str = "cpu"
    measured: tuple[str, ...] = ("accuracy",)
    cuda_graphs: bool = True

    @property
    def ladder(self) -> tuple[str, ...]:
        """The main teacher and the chain of assistants below it."""
        return self.roster.ladder

    def label(self, candidate: Candidate, params: float) -> dict[str, Any]:
        """What the store shows of the recipe of a student with so many parameters."""
        recipe = read_recipe(candidate.config, self.roster, params)
        return {"method": recipe.name, "teachers": list(recipe.teachers)}

    def keys(self, names: Sequence[str]) -> tuple[str, ...]:
        """The asset keys of teachers, as far as they were made."""
        return tuple(self.teachers[name] for name in names if name in self.teachers)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch with one thread in this process, as in the workers: two on a busy machine are several times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def optim_of(recipe: Recipe, training: TrainingSettings, epochs: int) -> Optim:
    """The student's optimiser: what the recipe searches, over what the study fixes."""
    return Optim(
        epochs=epochs,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        momentum=training.momentum,
        batch_size=training.batch_size,
        warmup=training.warmup,
        decay=training.decay,
        smoothing=recipe.smoothing,
    )


def bank_of(dataset: datasets.Dataset, views: int, seed: int) -> ViewBank:
    """Augmented views of a data set's training pictures."""
    return ViewBank(dataset.train.x, views, seed, dataset.augment, dataset.meta)


def answers(module: nn.Module, x: Tensor, device: torch.device) -> Tensor:
    """Logits ``(n, C)`` of pictures. Raises `Diverged` when they are not finite numbers."""
    logits = predict(module, x, device)
    if not bool(torch.isfinite(logits).all()):
        raise Diverged("the network's answers are not finite numbers")
    return logits


def training_seed(candidate: Candidate, replicate: int) -> int:
    """The seed of a training: 0 is the search's replicate, others are for verification."""
    return derive_seed(candidate.key, replicate)


_early: list[datasets.Dataset] = []  # read by `warm_up`


def epoch_seconds(graph: Architecture, dataset: datasets.Dataset, batch_size: int, device: str, seed: int) -> float:
    """Seconds that one epoch of this student takes on labels only, from a few timed batches."""
    some = dataset.train.x[: 4 * batch_size]
    job = Job(
        student=lambda seed: build(graph, seed, dataset.mean, dataset.std),
        method=METHODS["none"](),
        sources=(),
        bank=ViewBank(some, 2, seed, Augment()),
        labels=dataset.train.y[: len(some)],
        classes=len(dataset.classes),
        optim=Optim(epochs=2, batch_size=batch_size),
        seed=seed,
        images=images,
        device=torch.device(device),
    )
    fit = Fit(job)
    fit.run(1)
    started = time.perf_counter()
    fit.run(2)
    return (time.perf_counter() - started) * len(dataset.train.y) / len(some)


def warm_up(data: Mapping[str, object]) -> None:
    """Reads a study's data in a process that will be one of its workers, which takes it from here.

    Most of what a worker waits for in its first seconds is imported with this module and by reading the data.
    """
    if all(dataset.spec != data for dataset in _early):
        _early.append(datasets.load(data))


class TrialWorker:
    """Runs segments in one process, with everything that they share loaded once."""

    def __init__(self, setup: TrialSetup) -> None:
        self.setup = setup
        self.assets = Assets(setup.artifacts)
        self.device = torch.device(setup.device)
        self._teachers: dict[str, Teacher] = {}
        self._sources: dict[str, Source] = {}

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The study's data; refused when it is no longer what the study was begun with."""
        early = (dataset for dataset in _early if dataset.spec == self.setup.data)
        dataset = next(early, None) or datasets.load(self.setup.data)
        if dataset.fingerprint != self.setup.fingerprint:
            raise DataError(f"{dataset.name}: the data changed since the study was prepared; restore it or begin anew")
        return dataset

    @cached_property
    def bank(self) -> ViewBank:
        """The study's augmented views of the training pictures."""
        return bank_of(self.dataset, self.setup.training.views or self.setup.epochs, self.setup.seed)

    @cached_property
    def facts(self) -> dict[str, Tensor]:
        """Per-sample facts about the teachers, as far as they were prepared."""
        setup, roster = self.setup, self.setup.roster
        facts = Facts(self.assets, self.dataset, setup.keys(roster.ladder)).load()
        return facts | EnsembleWeights(self.assets, self.dataset, setup.keys(roster.flat)).facts()

    @cached_property
    def teacher_logits(self) -> Tensor:
        """What the main teacher says of the validation pictures, ``(n, C)``."""
        name = next(iter(self.setup.teachers))
        return predict(self.teacher(name).module, self.dataset.validation.x, self.device)

    def teacher(self, name: str) -> Teacher:
        """A frozen teacher of the ladder, loaded when first asked for."""
        if name not in self._teachers:
            self._teachers[name] = Teacher.load(name, self.setup.teachers[name], self.assets, self.device)
        return self._teachers[name]

    def source(self, name: str) -> Source:
        """A teacher as the training loop sees it: cached logits on views of the bank, live for anything else."""
        if name not in self._sources:
            teacher = self.teacher(name)
            form = Form(top=self.setup.training.top_k)
            known = Knowledge.open(self.assets, teacher.key, self.bank, form)
            source = stored(teacher, known, Maps(self.assets, teacher, self.bank))
            self._sources[name] = HintPoints(self.assets, self.dataset, teacher.key).shown(source)
        return self._sources[name]

    def architecture(self, segment: Segment) -> tuple[Architecture, bool]:
        """The stored graph, which is the truth, and whether config, seed and edits still draw the same one here."""
        try:
            drawn = freeze(segment.candidate, self.setup.space, self.dataset.input)
        except InvalidDraw:
            drawn = None
        if segment.graph is None:
            assert drawn is not None
            return drawn, True
        stored = Architecture.from_json(json.loads(self.assets.get(segment.graph)))
        same = drawn is not None and stored.fingerprint == drawn.fingerprint
        if not same:
            log.warning("trial %d: its stored graph, drawn by %s, is not redrawn here", segment.trial, stored.versions)
        return stored, same

    def job(self, student: Callable[[int], nn.Module], params: float, candidate: Candidate, replicate: int) -> Job:
        """The training of ``student`` (made from a seed, of so many parameters) by the recipe of this candidate."""
        recipe = read_recipe(candidate.config, self.setup.roster, params)
        dataset = self.dataset
        return Job(
            student=student,
            method=recipe.method,
            sources=tuple(self.source(name) for name in recipe.teachers),
            bank=self.bank,
            labels=dataset.train.y,
            classes=len(dataset.classes),
            optim=optim_of(recipe, self.setup.training, self.setup.epochs),
            seed=training_seed(candidate, replicate),
            images=images,
            meta=dataset.meta,
            facts={name: self.facts[name] for name in recipe.method.needs.derived if name in self.facts},
            device=self.device,
            replay=self.setup.cuda_graphs,
        )

    def run(self, segment: Segment) -> Result:
        """Trains and measures; never raises for what can go wrong in a training."""
        started = time.perf_counter()
        try:
            architecture, redrawn = self.architecture(segment)
            timed = self.latency(architecture) if LATENCY in self.setup.measured else {}
            with sharing(self.device):
                result = self._run(segment, architecture, started)
            extra = {"redrawn": float(redrawn), **timed}
            values = {**result.values, **{name: value for name, value in timed.items() if name == LATENCY}}
            return replace(result, values=values, metrics={**result.metrics, **extra})
        except Exception as error:
            absent = self.device.type == "cuda" and not torch.cuda.is_available()
            cause = Cause.SURROUNDINGS if absent else cause_of(error)
            text = f"no GPU answers on {platform.node()}" if absent else f"{type(error).__name__}: {error}"
            failure = Failure(cause, text, traceback.format_exc())
            return Result(segment.from_epoch, seconds={"lost": time.perf_counter() - started}, failure=failure)

    def latency(self, architecture: Architecture) -> dict[str, float]:
        """Milliseconds of one picture on this device, with their spread and the load of the machine."""
        found = latency_of(architecture, self.assets, self.device)
        return {LATENCY: found.median_ms, "latency_spread_ms": found.spread_ms, "latency_load": found.load}

    def _begun(self, job: Job, segment: Segment) -> Fit:
        """The training as the segment before left it; without its checkpoint anew, which gives the same.

        The time allowed is that of a segment.
        """
        if segment.checkpoint is None:
            return Fit(job)
        try:
            checkpoint = self.assets.get(segment.checkpoint)
        except AssetError as error:
            log.warning("student %d is trained from its first epoch again: %s", segment.trial, error)
            return Fit(job)
        return Fit.restore(job, checkpoint)

    def _run(self, segment: Segment, architecture: Architecture, started: float) -> Result:
        mean, std = self.dataset.mean, self.dataset.std
        student: Callable[[int], nn.Module] = lambda seed: build(architecture, seed, mean, std)  # noqa: E731
        job = self.job(student, costs(architecture).params, segment.candidate, segment.replicate)
        fit = self._begun(job, segment)
        before = dict(fit.seconds)  # the ledger of earlier segments came with the checkpoint
        fit.run(segment.until_epoch)
        last = segment.until_epoch >= self.setup.epochs
        student = fit.annealed()
        held = self.dataset.validation
        measured = quality(answers(student, held.x, self.device), held.y, self.teacher_logits)
        measured["accuracy_se"] = (measured["accuracy"] * (1 - measured["accuracy"]) / len(held.y)) ** 0.5
        owner = f"{self.setup.owner} {segment.trial}"
        if last:
            kept = {"weights": self.assets.put(weights_of(student, owner), ".safetensors")}
        else:
            kept = {"checkpoint": self.assets.put(fit.save(owner), ".ckpt")}
        spent = {column: value - before.get(column, 0.0) for column, value in fit.seconds.items()}
        return Result(
            epoch=segment.until_epoch,
            values={name: measured[name] for name in self.setup.measured if name in measured},
            metrics=measured,
            assets=kept,
            seconds={**spent, "segment": time.perf_counter() - started},
            valid=fit.metric_valid,
        )


def weights_of(module: nn.Module, owner: str) -> bytes:
    """A network's state as safetensors bytes; ``owner`` stands in the header."""
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in module.state_dict().items()}
    return save_tensors(tensors, {"owner": owner})


def cause_of(error: Exception) -> Cause:
    """The type of a failure."""
    if isinstance(error, Diverged):
        return Cause.DIVERGED
    if is_of_surroundings(error):
        return Cause.SURROUNDINGS
    return Cause.OUT_OF_MEMORY if is_out_of_memory(error) else Cause.BUG
