"""The teachers of a study's catalogue: what an entry may say, and how it becomes a frozen teacher."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autostudent.assets import Assets
from autostudent.data.datasets import Dataset
from autostudent.distill.optim import Optim
from autostudent.errors import ConfigError, TeacherError, unknown_name
from autostudent.space.architecture import Architecture
from autostudent.space.resnet import resnet
from autostudent.teach.making import DEFAULTS, brought, trained, trained_until
from autostudent.teach.origin import network_origin, normalisation, plugin_origin, torchvision_origin
from autostudent.teach.sweet_spot import sweet_spot
from autostudent.teach.teacher import Teacher
from autostudent.teach.training import Say, silent

__all__ = ["Teacher", "resolve"]

KINDS = ("resnet", "torchvision", "checkpoint", "plugin")
OPTIM = ("epochs", "lr", "weight_decay", "batch_size", "smoothing")
SCHEDULES = ("compressed", "checkpoint")
ALLOWED = {
    "resnet": ("resnet", *OPTIM, "seed", "early_stopped", "sweet_spot"),
    "torchvision": ("torchvision", "weights", "normalize", "resize", "taps"),
    "checkpoint": ("checkpoint", "architecture", "resnet", "normalize"),
}


def resolve(
    name: str,
    spec: Mapping[str, Any],
    dataset: Dataset,
    assets: Assets,
    device: torch.device | str = "cpu",
    seed: int = 0,
    say: Say = silent,
) -> Teacher:
    """Makes or finds the teacher that a study's catalogue names.

    Args:
        name: in the catalogue.
        spec: ``{resnet: {depth, width, stem_stride}, epochs, lr, weight_decay, batch_size, smoothing, seed}``, trained
            here, perhaps with ``early_stopped: {share, schedule}`` or ``sweet_spot: {batch_sizes, epochs, rank}``;
            ``{torchvision: NAME, weights: FILE, normalize, resize, taps}``; ``{checkpoint: FILE, architecture: FILE or
            resnet: {…}, normalize}``; ``{plugin: NAME, …}``.
        dataset: teachers learn on its train split and are measured on its validation split.
        assets: where it is kept.
        device: where it is trained and will run.
        seed: of its training.
        say: told what is being done.

    Raises:
        ConfigError: for an entry that is unknown or has the wrong type.
        TeacherError: for weights that cannot be read, do not fit, or belong to another number of classes.
    """
    kind = check_spec(name, spec)
    if kind == "resnet":
        architecture = named_resnet(f"teachers.{name}.resnet", spec["resnet"], dataset)
        seed += int(spec.get("seed", 0))
        optim = read_optim(name, spec)
        if "sweet_spot" in spec:
            if len(dataset.meta) == 0:
                raise ConfigError(
                    "data.meta", 0, f"a share above 0: teachers.{name}.sweet_spot is judged on a meta split"
                )
            grid = {"rank": 1, **spec["sweet_spot"]}
            return sweet_spot(name, architecture, dataset, assets, optim, grid, device=device, seed=seed, say=say)
        if "early_stopped" in spec:
            return early_stopped(name, architecture, dataset, assets, optim, spec["early_stopped"], device, seed, say)
        return trained(name, architecture, dataset, assets, optim, device=device, seed=seed, say=say)
    try:
        if kind == "plugin":
            return brought(
                name, plugin_origin(spec, dataset, f"teachers.{name}"), None, dataset, assets, device, say=say
            )
        if kind == "torchvision":
            if "weights" not in spec:
                raise ConfigError(f"teachers.{name}.weights", None, "a safetensors file or a state dict saved by torch")
            origin, path = torchvision_origin(spec, dataset, f"teachers.{name}"), spec["weights"]
        else:
            origin, path = checkpoint_origin(name, spec, dataset), spec["checkpoint"]
        return brought(name, origin, Path(str(path)).expanduser(), dataset, assets, device, "normalize" in spec, say)
    except TeacherError as error:
        raise TeacherError(f"teachers.{name}: {error}") from None


def check_spec(name: str, spec: Mapping[str, Any]) -> str:
    """The kind of teacher that ``spec`` asks for. Raises `ConfigError`."""
    given = [kind for kind in ("checkpoint", "torchvision", "plugin", "resnet") if kind in spec]
    if not given or len(given) > 1 + ("checkpoint" in given and "resnet" in given):
        raise ConfigError(f"teachers.{name}", dict(spec), f"exactly one of: {', '.join(KINDS)}")
    kind = given[0]
    for key in spec if kind in ALLOWED else ():
        if key not in ALLOWED[kind]:
            raise unknown_name(f"teachers.{name}", str(key), ALLOWED[kind])
    return kind


def early_stopped(
    name: str,
    architecture: Architecture,
    dataset: Dataset,
    assets: Assets,
    optim: Optim,
    stop: Mapping[str, Any],
    device: torch.device | str,
    seed: int,
    say: Say,
) -> Teacher:
    """A teacher that was trained less than it could be (Cho, Hariharan 2019, arXiv 1910.01348).

    ``stop``: ``{share: 0.25, schedule: compressed}``. "compressed": the whole schedule in that share of the epochs;
    "checkpoint": the network as it stands after that share of the full training, its learning rate still high.
    """
    epoch = max(1, round(float(stop["share"]) * optim.epochs))
    if stop.get("schedule", SCHEDULES[0]) == "checkpoint":
        return trained_until({epoch: name}, architecture, dataset, assets, optim, device=device, seed=seed, say=say)[
            epoch
        ]
    shorter = dataclasses.replace(optim, epochs=epoch)
    return trained(name, architecture, dataset, assets, shorter, device=device, seed=seed, say=say)


def read_optim(name: str, spec: Mapping[str, Any]) -> Optim:
    """The optimiser of a teacher that is trained here: the spec's entries over the defaults."""
    options = {key: spec[key] for key in OPTIM if key in spec}
    for key, value in options.items():
        whole = key in ("epochs", "batch_size")
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value < whole:
            raise ConfigError(f"teachers.{name}.{key}", value, "a whole number from 1" if whole else "a number from 0")
    return Optim(**{**DEFAULTS, **options})


def named_resnet(key: str, spec: object, dataset: Dataset) -> Architecture:
    """``{depth: 20, width: 32, stem_stride: 1}``. Raises `ConfigError`."""
    allowed = "{depth: 6n+2, width: channels of the first stage} and optionally stem_stride"
    if not isinstance(spec, Mapping) or not {"depth", "width"} <= set(spec) <= {"depth", "width", "stem_stride"}:
        raise ConfigError(key, spec, allowed)
    return resnet(spec["depth"], spec["width"], dataset.input, stem_stride=spec.get("stem_stride", 1))


def checkpoint_origin(name: str, spec: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """An architecture of this package whose weights the user brings."""
    if ("architecture" in spec) == ("resnet" in spec):
        raise ConfigError(
            f"teachers.{name}", dict(spec), "either architecture (a JSON file) or resnet beside checkpoint"
        )
    mean, std = normalisation(spec.get("normalize", "data"), dataset, f"teachers.{name}")
    if "resnet" in spec:
        return network_origin(named_resnet(f"teachers.{name}.resnet", spec["resnet"], dataset), mean, std)
    return network_origin(read_architecture(Path(str(spec["architecture"])).expanduser(), dataset), mean, std)


def read_architecture(path: Path, dataset: Dataset) -> Architecture:
    """A stored graph. Raises `TeacherError` when it cannot be read or is made for other data."""
    try:
        architecture = Architecture.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        raise TeacherError(f"there is no architecture file {path}") from None
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise TeacherError(f"{path} is not an architecture file ({error})") from None
    if architecture.input.classes != len(dataset.classes):
        raise TeacherError(
            f"{path} tells {architecture.input.classes} classes apart, but the data has {len(dataset.classes)}"
        )
    if architecture.input != dataset.input:
        raise TeacherError(f"{path} is made for {architecture.input}, but the data is {dataset.input}")
    return architecture
