"""The memory meter: what a module really holds during one evaluation forward pass."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Adds every new storage that an operation returns and subtracts it when it is freed.

    ``live`` and ``peak`` are in bytes. Storages known from the start (inputs, parameters, buffers) are not counted;
    neither is what a backend allocates and frees within one operation.
    """

    def __init__(self, known: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen or size == 0:
            return
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


def held_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers, each storage once."""
    storages = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
        for tensor in itertools.chain(module.parameters(), module.buffers())
    }
    return sum(storages.values())


def measure_memory(module: nn.Module, x: Tensor) -> int:
    """Bytes of parameters, buffers and the largest sum of live intermediate tensors in one evaluation forward pass.

    The input and the workspace of the backend are not counted. Every part is left in the mode it was in.

    Args:
        module: any network; measured in evaluation mode.
        x: its input; ``(1, channels, H, W)`` gives the figure that costs are compared with.
    """
    known = [x, *module.parameters(), *module.buffers()]
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad(), Meter(known) as meter:
            module(x)
    finally:
        for part, training in modes:
            part.training = training
    return held_bytes(module) + meter.peak
