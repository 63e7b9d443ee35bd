"""Where a teacher's architecture comes from, as data: enough to build it anew in any process, without its weights.

An origin is a JSON mapping with a ``kind``: "network" (an architecture of this package), "torchvision" (a model by
name) or "plugin" (an installed entry point of the group ``autostudent.teachers``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import nn

from autostudent.build.network import build
from autostudent.data.datasets import Dataset
from autostudent.data.vision_import import vision
from autostudent.errors import ConfigError, TeacherError, first_line, unknown_name
from autostudent.space.architecture import Architecture
from autostudent.teach.foreign import Foreign

GROUP = "autostudent.teachers"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def network_origin(architecture: Architecture, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """A network of this package, normalising with ``mean`` and ``std``."""
    return {"kind": "network", "architecture": architecture.to_json(), "mean": list(mean), "std": list(std)}


def torchvision_origin(spec: Mapping[str, Any], dataset: Dataset, key: str) -> dict[str, Any]:
    """``{torchvision: NAME, normalize: …, resize: N, taps: {…}}``. Raises `ConfigError`; ``key`` names the entry."""
    name = str(spec["torchvision"])
    require_classifier(name, f"{key}.torchvision")
    mean, std = normalisation(spec.get("normalize", "imagenet"), dataset, key)
    return {
        "kind": "torchvision",
        "model": name,
        "mean": list(mean),
        "std": list(std),
        "resize": spec.get("resize"),
        "taps": dict(spec.get("taps", {})),
        **shape_of(dataset),
    }


def require_classifier(name: str, key: str) -> None:
    """Raises `ConfigError` naming ``key`` when torchvision has no classifier of this name."""
    models = vision("models")
    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name(key, name, known)


def plugin_origin(spec: Mapping[str, Any], dataset: Dataset, key: str) -> dict[str, Any]:
    """``{plugin: NAME, …}``: every other entry goes to the factory."""
    options = {name: value for name, value in spec.items() if name != "plugin"}
    found = plugin_factory(str(spec["plugin"]), key)[1]
    return {
        "kind": "plugin",
        "plugin": str(spec["plugin"]),
        "version": found,
        "options": options,
        **shape_of(dataset),
    }


def shape_of(dataset: Dataset) -> dict[str, Any]:
    """What a brought network must fit."""
    return {"shape": list(dataset.shape), "classes": len(dataset.classes)}


def normalisation(given: object, dataset: Dataset, key: str) -> tuple[Sequence[float], Sequence[float]]:
    """(mean, std) of ``data``, ``imagenet``, ``none`` or ``{mean: …, std: …}`` in the entry ``key``.

    Raises `ConfigError`.
    """
    allowed = "data, imagenet, none, or {mean: [...], std: [...]} over pixels in [0, 1]"
    if given == "data":
        return dataset.mean, dataset.std
    if given == "imagenet":
        return IMAGENET
    if given == "none":
        return (0.0,), (1.0,)
    if not isinstance(given, Mapping) or set(given) != {"mean", "std"}:
        raise ConfigError(f"{key}.normalize", given, allowed)
    pair = [list(v) if isinstance(v, list | tuple) else [v] for v in (given["mean"], given["std"])]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for part in pair for v in part)
    if not numbers or len(pair[0]) != len(pair[1]) or len(pair[0]) not in (1, 3) or min(pair[1]) <= 0:
        raise ConfigError(f"{key}.normalize", given, allowed)
    return pair[0], pair[1]


def blank(origin: Mapping[str, Any], seed: int) -> nn.Module:
    """An untrained network of this origin; the seed decides its weights. Raises `TeacherError`."""
    kind = origin["kind"]
    if kind == "network":
        architecture = Architecture.from_json(origin["architecture"])
        return build(architecture, seed, origin["mean"], origin["std"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torchvision_model(origin) if kind == "torchvision" else plugin_model(origin)


def torchvision_model(origin: Mapping[str, Any]) -> Foreign:
    """A torchvision model without weights, wrapped; without its auxiliary heads where the origin says so."""
    bare = {} if origin.get("auxiliary", True) else {"aux_logits": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about initial weights, which are replaced
        network = vision("models").get_model(origin["model"], weights=None, num_classes=origin["classes"], **bare)
    shape = tuple(origin["shape"])
    return Foreign(
        network, shape, origin["classes"], 3, origin["mean"], origin["std"], origin["resize"], origin["taps"]
    )


def plugin_model(origin: Mapping[str, Any]) -> nn.Module:
    """What the plug-in's factory gives, wrapped unless it promises taps itself."""
    factory, _ = plugin_factory(origin["plugin"])
    shape = tuple(origin["shape"])
    try:
        network = factory(classes=origin["classes"], shape=shape, **origin["options"])
    except Exception as error:
        raise TeacherError(f"teacher plug-in {origin['plugin']!r} failed: {first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise TeacherError(
            f"teacher plug-in {origin['plugin']!r} gave {type(network).__name__}; expected a torch.nn.Module"
        )
    if all(hasattr(network, name) for name in ("features", "taps", "width", "head")):
        return network
    return Foreign(network, shape, origin["classes"], shape[0], (0.0,), (1.0,))


def plugin_factory(name: str, key: str = "teachers") -> tuple[Callable[..., nn.Module], str]:
    """(factory, version of its distribution) of an entry point. Raises `ConfigError` or `TeacherError`."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        if not found:
            raise ConfigError(f"{key}.plugin", name, f"an installed entry point of the group {GROUP}; there is none")
        raise unknown_name(f"{key}.plugin", name, found)
    point = found[name]
    try:
        return point.load(), point.dist.version if point.dist else ""
    except Exception as error:
        raise TeacherError(
            f"teacher plug-in {name!r} ({point.value}) cannot be imported: {first_line(error)}"
        ) from None
