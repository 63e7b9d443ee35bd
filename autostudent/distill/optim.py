"""The student's optimiser settings and its learning-rate schedule, independent of the method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


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

    def sgd(self, groups: list[dict[str, Any]], device: torch.device) -> SGD:
        """The optimiser over parameter groups ("params") that carry their own ``weight_decay``."""
        return SGD(groups, self.lr, self.momentum, fused=device.type != "mps")


class SGD:
    """Stochastic gradient descent with Nesterov momentum, bit for bit `torch.optim.SGD` whose momentum begins at zero.

    For g the gradient plus weight decay: v <- momentum v + g, p <- p - lr (g + momentum v). Torch's own class loads
    torch's compiler with its first use: seconds in every worker process, and some more work in every step.

    ``param_groups``: {"params", "weight_decay", "lr", …} each, "lr" to be changed at will. ``state``: by parameter, its
    "momentum_buffer". ``fused``: one kernel a group, where the device has it.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float, fused: bool = True) -> None:
        self.momentum, self.fused = momentum, fused
        self.param_groups: list[dict[str, Any]] = [{"lr": lr, **group} for group in groups]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        self.state = {parameter: {"momentum_buffer": torch.zeros_like(parameter)} for parameter in parameters}

    @torch.no_grad()
    def step(self) -> None:
        """One step of all parameters that have a gradient."""
        for group in self.param_groups:
            params = [parameter for parameter in group["params"] if parameter.grad is not None]
            grads = [parameter.grad for parameter in params]
            buffers = [self.state[parameter]["momentum_buffer"] for parameter in params]
            if params:
                (self._at_once if self.fused else self._in_turn)(params, grads, buffers, group)

    def _at_once(self, params: list[Tensor], grads: list[Tensor], buffers: list[Tensor], group: dict[str, Any]) -> None:
        torch._fused_sgd_(
            params, grads, buffers, weight_decay=group["weight_decay"], momentum=self.momentum, lr=group["lr"],
            dampening=0.0, nesterov=True, maximize=False, is_first_step=False,
        )  # fmt: skip

    def _in_turn(self, params: list[Tensor], grads: list[Tensor], buffers: list[Tensor], group: dict[str, Any]) -> None:
        for parameter, gradient, buffer in zip(params, grads, buffers, strict=True):
            gradient = gradient.add(parameter, alpha=group["weight_decay"]) if group["weight_decay"] else gradient
            buffer.mul_(self.momentum).add_(gradient)
            parameter.add_(gradient.add(buffer, alpha=self.momentum), alpha=-group["lr"])

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for parameter in self.state:
            parameter.grad = None


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
