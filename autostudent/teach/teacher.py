"""A frozen teacher, and where it is kept.

An entry ("teachers", key) holds the weights as safetensors and a manifest with the teacher's origin, its quality on the
validation split and its costs. Workers load a teacher by its key alone; a brought teacher's file is copied, so that
nobody but the first reader needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from autostudent.assets import Assets
from autostudent.distill.job import Source, network_info
from autostudent.distill.types import Batch, NetworkInfo, Output
from autostudent.teach.foreign import Foreign
from autostudent.teach.origin import blank
from autostudent.teach.weights import load_state

WEIGHTS = "weights.safetensors"
LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network in eval mode.

    ``metrics``: "accuracy", "nll", "ece", "confidence" on the validation split. ``costs``: "params", "macs",
    "memory_bytes". ``seconds``: what its training took (0 when brought). ``about``: the manifest of its entry.
    """

    name: str
    key: str
    info: NetworkInfo
    module: nn.Module
    metrics: Mapping[str, float]
    costs: Mapping[str, float]
    seconds: float
    about: Mapping[str, Any]
    root: str
    device: torch.device

    @property
    def known(self) -> bool:
        """Whether its architecture can be built untrained: a plug-in's factory gives its network as it is."""
        return bool(self.about["origin"]["kind"] != "plugin")

    def fresh(self, seed: int) -> nn.Module:
        """An untrained network of the same architecture."""
        return blank(self.about["origin"], seed)

    @classmethod
    def load(cls, name: str, key: str, assets: Assets, device: torch.device | str = "cpu") -> Teacher:
        """The teacher that was made under ``key``. Raises `AssetError` when it is missing or was altered."""
        entry = assets.entry("teachers", key)
        about = entry.manifest()
        state = load_tensors(entry.read(WEIGHTS))
        module = blank(about["origin"], 0)
        classes = int(about["classes"])
        load_state(inner(module), state, f"teacher {name}", classes)
        device = torch.device(device)
        module = module.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
        info = network_info(name, module, classes)
        return cls(
            name, key, info, module, about["metrics"], about["costs"], about["seconds"], about, str(assets.root), device
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, (self.name, self.key, self.root, str(self.device))


def _reload(name: str, key: str, root: str, device: str) -> Teacher:
    return Teacher.load(name, key, Assets(root), device)


def inner(module: nn.Module) -> nn.Module:
    """The network that a user's weights belong to."""
    return module.network if isinstance(module, Foreign) else module


def in_bounds(logits: Tensor) -> Tensor:
    """In float32 and finite, as stored ones are: the logarithm of a probability of zero is a very small number."""
    return logits.float().clamp(-LARGEST, LARGEST)


def live(teacher: Teacher) -> Source:
    """A teacher as the training loop sees it, asked anew for every batch."""

    @torch.no_grad()
    def outputs(batch: Batch, taps: Sequence[str]) -> Output:
        if not taps:
            return Output(in_bounds(teacher.module(batch.x)))
        logits, tapped = teacher.module.features(batch.x, taps)  # type: ignore[operator]
        return Output(in_bounds(logits), tapped)

    return Source(teacher.info, outputs, teacher.module, teacher.fresh if teacher.known else None)


def leave_gpu(teachers: Iterable[Teacher]) -> None:
    """Gives a GPU back to workers, whose shares count on all of it; who looks at the teachers later moves them back."""
    if torch.cuda.is_initialized():
        for teacher in teachers:
            teacher.module.cpu()
        torch.cuda.empty_cache()
