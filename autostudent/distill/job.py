"""What a training needs, and the seeds that it derives: the job that `autostudent.distill.fit.Fit` carries out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from autostudent.distill.method import Method
from autostudent.distill.optim import Optim
from autostudent.distill.types import Batch, NetworkInfo, Output
from autostudent.errors import ConfigError


class Mixing(Protocol):
    """Who is mixed with whom in a view (see `autostudent.data.mixup.Mixing`)."""

    def targets(self, soft: Tensor, labels: Tensor, index: Tensor) -> Tensor: ...


class Bank(Protocol):
    """Augmented views of the training pictures (see `autostudent.data.views.ViewBank`)."""

    views: int

    def view(self, number: int, device: torch.device | str = "cpu") -> Tensor: ...

    def plain(self, device: torch.device | str = "cpu") -> Tensor: ...

    def mixing(self, number: int, device: torch.device | str = "cpu") -> Mixing | None: ...


@dataclass(frozen=True)
class Source:
    """A frozen teacher: ``outputs`` gives what it says of a batch, from a cache or live.

    ``module`` is the live network (for heads, taps and tops) and ``fresh`` builds an untrained one of its architecture
    from a seed; both are None for a black box.
    """

    info: NetworkInfo
    outputs: Callable[[Batch, Sequence[str]], Output]
    module: nn.Module | None = None
    fresh: Callable[[int], nn.Module] | None = None


@dataclass(frozen=True)
class Job:
    """All that a training needs. ``labels``: ``(N,)``; ``meta``: positions held out of training, used when the method
    needs them; ``facts``: per-sample facts, ``(N, …)`` each; ``images`` turns stored pictures into network input.
    ``replay``: on a GPU, whether passes are recorded and replayed (`autostudent.distill.replay`)."""

    student: Callable[[int], nn.Module]
    method: Method
    sources: tuple[Source, ...]
    bank: Bank
    labels: Tensor
    classes: int
    optim: Optim
    seed: int
    images: Callable[[Tensor], Tensor]
    meta: Tensor | None = None
    facts: Mapping[str, Tensor] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    replay: bool = True


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that is a function of its arguments."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """A CPU generator seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def network_info(name: str, module: nn.Module, classes: int) -> NetworkInfo:
    """What methods may know of a built network."""
    params = sum(parameter.numel() for parameter in module.parameters())
    depths = dict(getattr(module, "depths", {}))
    return NetworkInfo(name, classes, params, int(module.width), dict(module.taps), depths)  # type: ignore[arg-type]


def check_taps(method: Method, student: NetworkInfo, teachers: Iterable[NetworkInfo]) -> None:
    """Raises `ConfigError` when one of the networks does not have a tap that the method needs of it."""
    needs = method.needs
    for network, taps in ((student, needs.taps), *((teacher, needs.teacher_taps) for teacher in teachers)):
        for tap in taps:
            if tap not in network.taps:
                allowed = f"networks that have it; {network.name} has {', '.join(network.taps) or 'none'}"
                raise ConfigError(f"method {type(method).__name__}", f"no {tap}", allowed)


def check_needs(method: Method, job: Job) -> None:
    """Raises `ConfigError` when the job cannot give what the method needs."""
    needs, name = method.needs, type(method).__name__
    least, most = needs.teachers
    count = len(job.sources)
    if count < least or (most is not None and count > most):
        allowed = f"exactly {least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        raise ConfigError(f"method {name}", f"{count} teachers", f"{allowed} teachers")
    if needs.access in ("taps", "heads") and any(source.module is None for source in job.sources):
        raise ConfigError(f"method {name}", "a black-box teacher", f"teachers that give {needs.access}")
    if needs.meta and (job.meta is None or len(job.meta) == 0):
        raise ConfigError(f"method {name}", "no meta split", "data with a meta split (data.meta > 0)")
    if needs.one_label and job.bank.mixing(0) is not None:
        raise ConfigError(f"method {name}", "mixed views", "views without MixUp (data.augment.mixup: 0)")
    if job.optim.epochs < needs.epochs:
        raise ConfigError(f"method {name}", f"{job.optim.epochs} epochs", f"at least {needs.epochs} epochs")
    missing = [fact for fact in needs.derived if fact not in job.facts]
    if missing:
        raise ConfigError(f"method {name}", f"no {', '.join(missing)}", "derived facts prepared before training")
