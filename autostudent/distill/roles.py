"""What a role of a plan trains: its network and its optimiser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from autostudent.distill.job import Job, derive_seed
from autostudent.distill.optim import SGD, decayed
from autostudent.distill.types import CopyOf, Role, State, TeacherCopy, TopOf
from autostudent.errors import ConfigError


def network_of(job: Job, name: str, model: object, stage: int) -> nn.Module:
    """A fresh network for role ``name``, on the job's device.

    Raises:
        ConfigError: when the teacher cannot be copied or cut as ``model`` says.
    """
    seed = derive_seed(job.seed, "network", name, stage)
    network: nn.Module
    match model:
        case "student" | CopyOf():
            network = job.student(derive_seed(job.seed, "network") if name == "student" else seed)
        case TeacherCopy(teacher):
            fresh = job.sources[teacher].fresh
            if fresh is None:
                raise ConfigError("method", type(job.method).__name__, "a teacher of known architecture")
            network = fresh(seed)
        case TopOf(teacher, tap):
            module = job.sources[teacher].module
            if module is None or not hasattr(module, "top"):
                raise ConfigError("method", type(job.method).__name__, "a teacher that can be cut at a tap")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = module.top(tap)  # type: ignore[operator]
        case _:
            raise TypeError(f"role {name}: unknown model {model!r}")
    return network.to(job.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@cache
def has_half(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by itself: older GPUs emulate it, at less than the speed of float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


@contextmanager
def own_draws(network: nn.Module, device: torch.device, *parts: object) -> Iterator[None]:
    """What a network draws of its own (dropout) is a function of ``parts``; not so in recorded passes of a GPU.

    Networks of graphs draw nothing.
    """
    if hasattr(network, "architecture"):
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(*parts))
        yield


def optimizer_of(job: Job, role: Role, network: nn.Module, state: State) -> SGD:
    """The optimiser of a role's network and of what its method learns besides."""
    decay = job.optim.weight_decay if role.weight_decay is None else role.weight_decay
    heavy, light = decayed(network)
    learned = [parameter for parameter in state.parameters() if parameter.requires_grad]
    groups = [(heavy, decay), (light, 0.0), (learned, decay)]
    return job.optim.sgd(
        [{"params": list(p), "weight_decay": w, "scale": role.lr_scale} for p, w in groups if p], job.device
    )
