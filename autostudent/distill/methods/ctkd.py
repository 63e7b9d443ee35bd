"""Curriculum temperature. Li et al. 2023, arXiv 2211.16231."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autostudent.distill.method import Method, Paper, Wrapper, hp
from autostudent.distill.types import Spec, State, View
from autostudent.errors import ConfigError


class Reverse(torch.autograd.Function):
    """Identity whose gradient is multiplied by ``-strength``: what the student minimises, this maximises."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def adversary_strength(progress: float, rise: float) -> float:
    """λ = (1 - cos(π min(progress / rise, 1))) / 2: from 0 to 1 over the share ``rise`` of the run."""
    return 0.5 * (1 - math.cos(math.pi * min(progress / rise, 1.0)))


@dataclass(frozen=True)
class CTKD(Wrapper):
    """A learned temperature T = lowest + span sigmoid(r), which makes the wrapped loss harder while the student learns.

    r starts at ``raw`` and receives the gradient of the wrapped loss times -λ, λ rising over the run
    (`adversary_strength`). It sits in the student's optimiser: same learning rate, momentum and weight decay.

    Note: the global temperature; the paper's instance-wise one needs a network that is not in the released code. λ
    moves with every step, the official code's with every epoch.
    """

    paper = Paper(
        "Curriculum Temperature for Knowledge Distillation",
        "Zheng Li and Xiang Li and Lingfeng Yang and Borui Zhao and Renjie Song and Lei Luo and Jun Li and Jian Yang",
        2023,
        arxiv="2211.16231",
        venue="AAAI",
        note="global temperature; the adversary's strength rises with every step instead of every epoch",
    )
    lowest: float = hp(1.0, low=0.5, high=4.0, doc="temperature at r = -inf")
    span: float = hp(20.0, low=5.0, high=40.0, log=True, doc="the temperature is below lowest + span")
    raw: float = hp(1.0, low=-2.0, high=2.0, doc="r at the beginning")
    rise: float = hp(
        10 / 240, low=0.01, high=1.0, log=True, doc="share of the run over which the adversary gains force"
    )
    force: float = hp(1.0, low=0.25, high=4.0, log=True, doc="the adversary's strength at the end of its rise")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not reads_temperature(self.inner):
            raise ConfigError("ctkd over", type(self.inner).__name__, "a loss that has a temperature")

    def own_state(self, spec: Spec) -> State:
        state = State()
        state.raw = nn.Parameter(torch.tensor(self.raw))
        return state

    def temperature(self, state: State, strength: float) -> Tensor:
        """The temperature in force, a scalar whose gradient reaches r reversed."""
        assert isinstance(state.raw, Tensor)
        return self.lowest + self.span * torch.sigmoid(Reverse.apply(state.raw, strength))

    def see(self, view: View, state: State) -> View:
        strength = self.force * adversary_strength(view.progress, self.rise)
        return dataclasses.replace(view, temperature=self.temperature(state, strength))


def reads_temperature(method: Method) -> bool:
    """Whether a method, or the one it wraps, has the hyperparameter ``temperature``."""
    if isinstance(method, Wrapper):
        return reads_temperature(method.inner)
    return any(f.name == "temperature" for f in dataclasses.fields(method))
