"""Makes teachers: trains them, or takes what the user brings; measures them and writes their entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from autostudent.teach.training import Keep, Say, silent, train
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
    held_out: bool = False,
) -> Teacher:
    """Makes or finds a network that learns from labels, or from ``parents`` by ``method``.

    ``held_out``: it never sees the meta split.
    """
    method = method or METHODS["none"]()
    origin = network_origin(architecture, dataset.mean, dataset.std)
    key = digest(asked(architecture, dataset, optim, method, parents, seed, held_out))
    entry = assets.entry("teachers", key)
    with once([entry], name, say) as missing:
        if missing:
            say(f"training {name}: {int(costs(architecture).params):,} parameters, {optim.epochs} epochs")
            progress = entry.folder / ".training"
            sources = tuple(live(parent) for parent in parents)
            device = torch.device(device)
            module, seconds = train(
                architecture, dataset, method, sources, optim, seed, device, progress, say, held_out=held_out
            )
            about = {"optim": dataclasses.asdict(optim), "parents": [parent.key for parent in parents], "seed": seed}
            keep(entry, name, module, origin, exact(architecture), seconds, dataset, device, about)
            progress.unlink(missing_ok=True)
    return Teacher.load(name, key, assets, device)


@contextmanager
def once(entries: Sequence[Entry], name: str, say: Say) -> Iterator[bool]:
    """Whether something of the entries is to be made; who wants the same last one, on this machine, waits meanwhile."""
    if all(entry.complete for entry in entries):
        yield False
        return
    with entries[-1].making(lambda: say(f"{name} is being trained by another process; waiting for it")):
        yield not all(entry.complete for entry in entries)


def trained_until(
    names: Mapping[int, str],
    architecture: Architecture,
    dataset: Dataset,
    assets: Assets,
    optim: Optim,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    say: Say = silent,
    held_out: bool = False,
) -> dict[int, Teacher]:
    """Makes or finds one training's network as it stood after some epochs, in the middle of its schedule.

    ``names`` are those of the teachers by epoch. All come from one training, which ends at the last of them.
    """
    whole, method = torch.device(device), METHODS["none"]()
    origin = network_origin(architecture, dataset.mean, dataset.std)
    about = {"optim": dataclasses.asdict(optim), "parents": [], "seed": seed}
    plain = asked(architecture, dataset, optim, method, (), seed, held_out)
    keys = {epoch: digest({**plain, "until": epoch}) for epoch in names}
    entries = {epoch: assets.entry("teachers", key) for epoch, key in keys.items()}

    def keeper(epoch: int) -> Keep:
        return lambda module, seconds: keep(
            entries[epoch], names[epoch], module, origin, exact(architecture), seconds, dataset, whole, about
        )

    with once([entries[epoch] for epoch in sorted(entries)], names[max(names)], say) as some:
        if some:
            missing = [epoch for epoch, entry in entries.items() if not entry.complete]
            say(f"training {names[missing[-1]]}: {int(costs(architecture).params):,} parameters, {max(missing)} epochs")
            stops = {epoch: keeper(epoch) for epoch in missing}
            progress = entries[max(missing)].folder / ".training"
            train(architecture, dataset, method, (), optim, seed, whole, progress, say, held_out=held_out, stops=stops)
            progress.unlink(missing_ok=True)
    return {epoch: Teacher.load(name, keys[epoch], assets, device) for epoch, name in names.items()}


def asked(
    architecture: Architecture,
    dataset: Dataset,
    optim: Optim,
    method: Method,
    parents: tuple[Teacher, ...],
    seed: int,
    held_out: bool,
) -> dict[str, Any]:
    """Everything that decides what a training gives: what its key is the digest of."""
    return {
        "code": CODE,
        "graph": architecture.fingerprint,
        "data": dataset.fingerprint,
        "augment": dataset.augment.unmixed.about,  # teachers learn from unmixed views: all studies share them
        "optim": dataclasses.asdict(optim),
        "method": repr(method).replace(", kl_reduction='batchmean'", ""),  # keys are older than this choice
        "parents": [parent.key for parent in parents],
        "seed": seed,
        **({"held_out": True} if held_out else {}),
    }


def exact(architecture: Architecture) -> dict[str, float]:
    """The costs of a graph as a teacher keeps them."""
    return {key: float(value) for key, value in costs(architecture).as_dict().items()}


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
        measured = measured_costs(module, shape)
        keep(entry, name, module, origin, measured, 0.0, dataset, torch.device(device), {})
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
    costs: Mapping[str, float],
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
            "costs": dict(costs),
            "seconds": seconds,
            **about,
        },
    )
