"""Weights from files, without running what is in them.

A file is safetensors, or a state dict that ``torch.load(weights_only=True)`` accepts. There is no fallback to the
unsafe loader: whoever writes the file would choose that branch.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from autostudent.errors import TeacherError, first_line

HOLDERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep the state dict
NAMED = 3  # tensors that an error lists


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, by tensor name. Raises `TeacherError`."""
    try:
        safe = path.suffix == ".safetensors"
        found = load_tensors(path.read_bytes()) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TeacherError(f"there is no weights file {path}") from None
    except pickle.UnpicklingError:
        raise TeacherError(
            f"{path} holds more than weights and is not opened; save model.state_dict() with torch.save or safetensors"
        ) from None
    except Exception as error:  # both loaders raise whatever torn bytes lead them to
        raise TeacherError(f"{path} is not a readable weights file ({first_line(error)})") from None
    state = state_in(found, path)
    for name, value in state.items():
        if value.is_floating_point() and not value.float().isfinite().all():
            raise TeacherError(f"{path} holds numbers in {name} that are not finite in float32")
    return state


def state_in(found: object, path: Path) -> dict[str, Tensor]:
    """The state dict itself or under one of `HOLDERS`, names without the prefix of parallel training."""
    while isinstance(found, Mapping) and not any(isinstance(value, Tensor) for value in found.values()):
        holder = next((key for key in HOLDERS if isinstance(found.get(key), Mapping)), None)
        if holder is None:
            break
        found = found[holder]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise TeacherError(f"{path} holds no state dict; save model.state_dict() with torch.save or safetensors")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def load_state(module: nn.Module, state: Mapping[str, Tensor], what: str, classes: int) -> None:
    """Copies a state dict into a module of the same shapes. Raises `TeacherError` naming what differs.

    Args:
        module: the network; its last linear layer gives ``classes`` logits.
        state: tensors by name.
        what: how the error calls the weights.
        classes: number of classes of the data.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    if missing or unknown:
        kind, names = ("lacks", missing) if missing else ("has unknown", unknown)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise TeacherError(f"{what} does not fit the architecture: it {kind} {', '.join(names[:NAMED])}{more}")
    unlike = [name for name in own if own[name].shape != state[name].shape]
    head = last_matrix(own)
    if head in unlike and own[head].shape[1:] == state[head].shape[1:] and len(own[head]) == classes:
        raise TeacherError(f"{what} tells {len(state[head])} classes apart, but the data has {classes}")
    if unlike:
        given, expected = tuple(state[unlike[0]].shape), tuple(own[unlike[0]].shape)
        raise TeacherError(f"{what} does not fit the architecture: {unlike[0]} has shape {given}; expected {expected}")
    module.load_state_dict(dict(state))


def last_matrix(state: dict[str, Tensor]) -> str:
    """Name of the last tensor of two dimensions or more: the classifier's weight."""
    return next((name for name in reversed(state) if state[name].ndim > 1), "")


def pack_state(module: nn.Module) -> bytes:
    """A module's state dict as safetensors bytes."""
    return save_tensors({n: t.detach().cpu().contiguous().clone() for n, t in module.state_dict().items()})
