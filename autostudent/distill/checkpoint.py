"""A training as safetensors bytes and back: networks with buffers, method states, momentum, and a JSON header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from autostudent.distill.optim import SGD
from autostudent.errors import AssetError

Modules = Mapping[str, nn.Module]
Optimizers = Mapping[str, SGD]


def pack(networks: Modules, states: Modules, optimizers: Optimizers, meta: Mapping[str, Any]) -> bytes:
    """One safetensors file; ``meta`` travels in its header."""
    tensors: dict[str, Tensor] = {}
    for prefix, modules in (("network", networks), ("state", states)):
        for role, module in modules.items():
            for name, tensor in module.state_dict().items():
                tensors[f"{prefix}/{role}/{name}"] = tensor.detach().cpu().contiguous().clone()
    for role, optimizer in optimizers.items():
        for number, parameter in enumerate(parameters(optimizer)):
            momentum = optimizer.state[parameter]["momentum_buffer"]
            tensors[f"momentum/{role}/{number}"] = momentum.cpu().contiguous().clone()
    return save_tensors(tensors, {"autostudent": json.dumps(meta)})


def unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, meta) of `pack`. Raises `AssetError` when the bytes are not such a file."""
    try:
        length = int.from_bytes(data[:8], "little")
        meta = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["autostudent"])
        return load_tensors(data), meta
    except Exception as error:
        raise AssetError(f"not a checkpoint of autostudent: {error}") from error


def load(tensors: Mapping[str, Tensor], networks: Modules, states: Modules, optimizers: Optimizers) -> None:
    """Copies the tensors into modules and optimisers of the same shapes, in place (memory formats stay)."""
    for prefix, modules in (("network", networks), ("state", states)):
        for role, module in modules.items():
            start = f"{prefix}/{role}/"
            module.load_state_dict({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})
    for role, optimizer in optimizers.items():
        for number, parameter in enumerate(parameters(optimizer)):
            optimizer.state[parameter]["momentum_buffer"].copy_(tensors[f"momentum/{role}/{number}"])


def parameters(optimizer: SGD) -> list[nn.Parameter]:
    """The optimiser's parameters in a fixed order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
