"""The student's optimiser settings and its learning-rate schedule, independent of the method."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Optim:
    """SGD with Nesterov momentum under a warm-up, stable, decay schedule.

    ``warmup`` and ``decay`` are shares of the run. The rate rises linearly over the warm-up, stays, and falls linearly
    to zero over the decay. A constant middle lets a training pause at a rung and go on as if nothing had happened.
    ``smoothing`` is label smoothing: that share of the probability is spread evenly over all classes.
    """

    epochs: int
    lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    batch_size: int = 128
    warmup: float = 0.05
    decay: float = 0.35
    smoothing: float = 0.0

    def factor(self, progress: float) -> float:
        """The learning rate at ``progress`` in [0, 1), as a share of ``lr``."""
        rise = 1.0 if self.warmup <= 0 else min(1.0, (progress + 1e-3) / self.warmup)
        fall = 1.0 if self.decay <= 0 else min(1.0, (1.0 - progress) / self.decay)
        return rise * fall

    def sgd(self, groups: list[dict[str, object]], device: torch.device) -> torch.optim.SGD:
        """The optimiser over parameter groups that carry their own ``weight_decay``."""
        sgd = torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=True, fused=device.type != "mps")
        for group in sgd.param_groups:  # the fused kernel refuses parameters whose first gradient comes later
            for parameter in group["params"]:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd


def anneal_steps(total: int, share: float = 0.04) -> int:
    """Steps of the short decay that precedes a rung's score."""
    return max(1, math.ceil(share * total))


def decayed(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(parameters under weight decay, those without: biases and normalisation)."""
    with_decay: list[nn.Parameter] = []
    without: list[nn.Parameter] = []
    for parameter in module.parameters():
        (with_decay if parameter.ndim > 1 else without).append(parameter)
    return with_decay, without
