"""Makes teachers: trains them, or takes what the user brings; measures them and writes their entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autostudent.assets import Assets, Entry, checksum
from autostudent.data.datasets import Dataset
from autostudent.distill.method import Method
from autostudent.distill.methods import METHODS
from autostudent.distill.optim import Optim
from autostudent.errors import TeacherError
from autostudent.measure.memory import measure_memory
from autostudent.measure.predict import predict
from autostudent.measure.quality import quality
from autostudent.records import digest
from autostudent.space.architecture import Architecture
from autostudent.space.cost import costs
from autostudent.teach.origin import blank, network_origin
from autostudent.teach.teacher import WEIGHTS, Teacher, inner, live
from autostudent.teach.training import Say, silent, train
from autostudent.teach.weights import load_state, pack_state, read_state

CODE = 1  # a change of how teachers are made or measured must change this number: it is part of their key
NEAR_CHANCE = 2.0  # times the accuracy of a guess
DEFAULTS: dict[str, Any] = {"epochs": 30}


def trained(
    name: str,
    architecture: Architecture,
    dataset: Dataset,
    assets: Assets,
    optim: Optim,
    *,
    method: Method | None = None,
    parents: tuple[Teacher, ...] = (),
    device: torch.device | str = "cpu",
    seed: int = 0,
    say: Say = silent,
) -> Teacher:
    """Makes or finds a network that learns from labels, or from ``parents`` by ``method``."""
    method = method or METHODS["none"]()
    origin = network_origin(architecture, dataset.mean, dataset.std)
    key = digest(
        {
            "code": CODE,
            "graph": architecture.fingerprint,
            "data": dataset.fingerprint,
            "augment": dataset.augment.__dict__,
            "optim": dataclasses.asdict(optim),
            "method": repr(method),
            "parents": [parent.key for parent in parents],
            "seed": seed,
        }
    )
    entry = assets.entry("teachers", key)
    if not entry.complete:
        say(f"training {name}: {int(costs(architecture).params):,} parameters, {optim.epochs} epochs")
        progress = entry.folder / ".training"
        sources = tuple(live(parent) for parent in parents)
        device = torch.device(device)
        module, seconds = train(architecture, dataset, method, sources, optim, seed, device, progress, say)
        about = {"optim": dataclasses.asdict(optim), "parents": [parent.key for parent in parents], "seed": seed}
        exact = {key: float(value) for key, value in costs(architecture).as_dict().items()}
        keep(entry, name, module, origin, exact, seconds, dataset, device, about)
        progress.unlink(missing_ok=True)
    return Teacher.load(name, key, assets, device)


def brought(
    name: str,
    origin: dict[str, Any],
    path: Path | None,
    dataset: Dataset,
    assets: Assets,
    device: torch.device | str,
    normalised: bool = False,
    say: Say = silent,
) -> Teacher:
    """Makes or finds the asset of a teacher that the user brings.

    ``path`` is its weights file, if it has one. ``normalised``: the study says how pictures are normalised, so that
    what a checkpoint of this package holds about it does not count.
    """
    module = blank(origin, 0)
    if path is not None:
        own = {n: t for n, t in inner(module).named_buffers() if n in ("mean", "std")}
        given = read_state(path)
        load_state(inner(module), {**given, **own} if normalised else {**own, **given}, str(path), len(dataset.classes))
    state = pack_state(inner(module))
    key = digest({"code": CODE, "origin": origin, "weights": checksum(state), "data": dataset.fingerprint})
    entry = assets.entry("teachers", key)
    if not entry.complete:
        require_classes(name, module, dataset)
        shape = dataset.train.x.new_zeros((1, *dataset.shape), dtype=torch.float32)
        module.eval()
        exact = measured_costs(module, shape)
        keep(entry, name, module, origin, exact, 0.0, dataset, torch.device(device), {})
    teacher = Teacher.load(name, key, assets, device)
    if teacher.metrics["accuracy"] < NEAR_CHANCE / len(dataset.classes):
        say(
            f"{name} is right about {teacher.metrics['accuracy']:.1%} of the validation pictures, near chance: "
            "are normalize, resize and the order of the classes those of its training?"
        )
    return teacher


def require_classes(name: str, module: nn.Module, dataset: Dataset) -> None:
    """Raises `TeacherError` when the network gives another number of logits than the data has classes."""
    logits = predict(module, dataset.validation.x[:2])
    if logits.ndim != 2 or logits.shape[1] != len(dataset.classes):
        raise TeacherError(
            f"teacher {name} tells {logits.shape[-1]} classes apart, but the data has {len(dataset.classes)}"
        )


def measured_costs(module: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """Parameters counted, MACs by torch's counter, memory by the meter, of one forward pass of ``x``."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return {
        "params": float(sum(parameter.numel() for parameter in module.parameters())),
        "macs": counter.get_total_flops() / 2,
        "memory_bytes": float(measure_memory(module, x)),
    }


def keep(
    entry: Entry,
    name: str,
    module: nn.Module,
    origin: Mapping[str, Any],
    exact: Mapping[str, float],
    seconds: float,
    dataset: Dataset,
    device: torch.device,
    about: Mapping[str, Any],
) -> None:
    """Measures a finished network and writes its entry."""
    module = module.to(device)
    logits = predict(module, dataset.validation.x, device)
    entry.commit(
        {WEIGHTS: pack_state(inner(module))},
        {
            "name": name,
            "origin": dict(origin),
            "classes": len(dataset.classes),
            "metrics": quality(logits, dataset.validation.y),
            "costs": dict(exact),
            "seconds": seconds,
            **about,
        },
    )
