"""Continuation distillation. Jafari et al. 2022, arXiv 2212.05998; Annealing-KD is a case of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, State, View


def annealed_share(progress: float, steps: int) -> float:
    """φ = 1 - (T - 1) / steps with T = ceil(steps (1 - progress)), at least 1: a staircase from 1 / steps to 1."""
    temperature = max(1, math.ceil(steps * (1 - progress) - 1e-9))
    return 1 - (temperature - 1) / steps


def label_share(progress: float, ramp: float, full_from: float, labels: str) -> float:
    """ψ = min(progress / ramp, 1), or 0 before ``ramp`` and 1 after it ("step"); 1 from ``full_from`` on."""
    if progress >= full_from:
        return 1.0
    return min(progress / ramp, 1.0) if labels == "ramp" else float(progress >= ramp)


@dataclass(frozen=True)
class ContinuationKD(Method):
    """ψ CE + (1 - ψ) max(0, ‖s - φ t‖² - margin φ), see `losses.continuation`.

    φ climbs in ``steps`` stairs (the paper's T_max), ψ from 0 to 1. Annealing-KD (Jafari et al. 2021) is ``margin=0,
    labels="step"``.

    Note: the paper prints no margin; T is held at 1 at the end, where its algorithm reaches 0. The norm is the mean
    over classes, as in the first author's earlier code. The last weights count, not the best on validation.
    """

    paper = Paper(
        "Continuation KD: Improved Knowledge Distillation through the Lens of Continuation Optimization",
        "Aref Jafari and Ivan Kobyzev and Mehdi Rezagholizadeh and Pascal Poupart and Ali Ghodsi",
        2022,
        arxiv="2212.05998",
        venue="Findings of EMNLP",
        note="the margin and the norm's reduction are not in the paper; T is held at 1; no code exists",
    )
    steps: int = hp(20, low=1, high=40, log=True, doc="stairs of the teacher's share (T_max)")
    margin: float = hp(0.1, low=0.0, high=2.0, doc="distance to the teacher that is good enough, times φ")
    ramp: float = hp(0.75, low=0.1, high=2.0, doc="share of the run over which labels gain full weight")
    full_from: float = hp(1.0, low=0.3, high=1.0, doc="share of the run from which labels have full weight at once")
    labels: str = hp("ramp", choices=("ramp", "step"), doc="how labels gain weight")
    class_reduction: str = hp("mean", choices=("mean", "sum"), doc="over classes, in the distance")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="logits")

    def loss(self, view: View, state: State) -> Tensor:
        share = annealed_share(view.progress, self.steps)
        distance = losses.continuation(view.logits, view.teacher_logits[0], share, self.margin, self.class_reduction)
        return (1 - self.label_weight(view, state)) * distance

    def label_weight(self, view: View, state: State) -> float:
        return label_share(view.progress, self.ramp, self.full_from, self.labels)
