"""Normalised distillation. Yang et al. 2023, arXiv 2303.13005."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, State, View


@dataclass(frozen=True)
class NKD(Method):
    """CE + `losses.nkd`: the teacher's trust in the label weighs it, the other classes are matched among themselves.

    Note: defaults are the paper's for CIFAR-100 (T 3, gamma 3.5); for ImageNet it has T 1, gamma 1.5.
    """

    paper = Paper(
        "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized Loss and "
        "Customized Soft Labels",
        "Zhendong Yang and Ailing Zeng and Zhe Li and Tianke Zhang and Chun Yuan and Yu Li",
        2023,
        arxiv="2303.13005",
        venue="ICCV",
    )
    temperature: float = hp(3.0, low=1.0, high=20.0, log=True, doc="softens the classes beside the label")
    gamma: float = hp(3.5, low=0.25, high=6.0, log=True, doc="weight of the classes beside the label")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="logits")

    def loss(self, view: View, state: State) -> Tensor:
        heat = view.heat(self.temperature)
        return losses.nkd(view.logits, view.teacher_logits[0], view.batch.target, heat, self.gamma)
