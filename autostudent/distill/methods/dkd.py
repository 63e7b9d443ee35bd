"""Decoupled distillation. Zhao et al. 2022, arXiv 2203.08679."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, State, View


def warmed(progress: float, warmup: float) -> float:
    """min(progress / warmup, 1): how far the teacher is turned up."""
    return min(progress / warmup, 1.0) if warmup > 0 else 1.0


@dataclass(frozen=True)
class DKD(Method):
    """CE + min(progress / warmup, 1) T² (alpha TCKD + beta NCKD), see `losses.dkd`."""

    paper = Paper(
        "Decoupled Knowledge Distillation",
        "Borui Zhao and Quan Cui and Renjie Song and Yiyu Qiu and Jiajun Liang",
        2022,
        arxiv="2203.08679",
        venue="CVPR",
        note="the label's column is taken out, where the official code masks it and overflows; warm-up by step",
    )
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    alpha: float = hp(1.0, low=0.25, high=4.0, log=True, doc="weight of label against the rest")
    beta: float = hp(8.0, low=0.5, high=12.0, log=True, doc="weight of the classes beside the label")
    warmup: float = hp(20 / 240, low=0.0, high=0.5, doc="share of the run over which the teacher is turned up")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="logits")

    def loss(self, view: View, state: State) -> Tensor:
        heat = view.heat(self.temperature)
        wrong = losses.dkd(view.logits, view.teacher_logits[0], view.batch.target, self.alpha, self.beta, heat)
        return warmed(view.progress, self.warmup) * wrong
