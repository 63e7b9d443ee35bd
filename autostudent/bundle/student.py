"""`load_student`: the network of a bundle from JSON and safetensors, without pickle and without any search code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from autostudent.build.network import Network, build
from autostudent.bundle.manifest import CARD, GRAPH, PREPROCESSING, WEIGHTS, read_checked, read_manifest
from autostudent.errors import AssetError, AutostudentError
from autostudent.space.graph import Architecture


def load_student(folder: str | Path) -> Network:
    """The network of an exported student, in evaluation mode on the CPU.

    It maps pictures ``(B, channels, H, W)``, float32 in [0, 1] (pixels divided by 255), to logits ``(B, C)``; the
    normalisation is inside. The names of the C classes stand in ``preprocessing.json``.

    Raises:
        AssetError: the folder is no bundle, a file that is read is missing, or one in it (but the card) is truncated,
            edited or swapped.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    files = {name: read_checked(folder, name, manifest) for name in (GRAPH, PREPROCESSING, WEIGHTS)}
    for name in sorted(manifest["files"].keys() - {*files, CARD}):  # a card is for people, who may write in it
        if (folder / name).exists():  # what is not needed here may stay behind, but not be another's
            read_checked(folder, name, manifest)
    try:
        return rebuild(files)
    except AssetError as error:
        raise AssetError(f"{folder}: {error}") from None


def rebuild(files: Mapping[str, bytes]) -> Network:
    """The network of a bundle's files by name. Raises `AssetError` when they do not fit together."""
    try:
        graph = Architecture.from_json(json.loads(files[GRAPH]))
        scale = json.loads(files[PREPROCESSING])["normalisation"]
        network = build(graph, 0, scale["mean"], scale["std"])
        tensors = load_tensors(files[WEIGHTS])
    except SafetensorError as error:
        raise AssetError(f"{WEIGHTS} is not a safetensors file ({error})") from None
    except (AutostudentError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise AssetError(f"{GRAPH} and {PREPROCESSING} describe no network ({error})") from None
    own = network.state_dict()
    unlike = [name for name in own | tensors if shape_of(own, name) != shape_of(tensors, name)]
    if unlike:
        name = unlike[0]
        raise AssetError(
            f"{WEIGHTS} belongs to another graph: {name} is {shape_of(tensors, name)}, {shape_of(own, name)} in {GRAPH}"
        )
    network.load_state_dict(tensors)
    return network.eval()


def shape_of(tensors: Mapping[str, object], name: str) -> str:
    """Element type and shape of a tensor in words, "missing" where there is none."""
    tensor = tensors.get(name)
    return "missing" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"  # type: ignore[attr-defined]
