"""Distillation from a stronger teacher. Huang et al. 2022, arXiv 2205.10536."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, State, View


@dataclass(frozen=True)
class DIST(Method):
    """CE + weight T² (beta inter + gamma intra): correlations over classes and over the batch, see `losses.dist`.

    Note: a wrapper that moves the temperature leaves the factor at its own T². A divergence falls with the square of a
    rising temperature, a correlation does not: with the factor an adversary that learns T would let the loss explode.
    """

    paper = Paper(
        "Knowledge Distillation from A Stronger Teacher",
        "Tao Huang and Shan You and Fei Wang and Chen Qian and Chang Xu",
        2022,
        arxiv="2205.10536",
        venue="NeurIPS",
    )
    scaled = True
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions; 1 on ImageNet")
    beta: float = hp(1.0, low=0.25, high=4.0, log=True, doc="weight of the relation between classes")
    gamma: float = hp(1.0, low=0.25, high=4.0, log=True, doc="weight of the relation between samples")
    weight: float = hp(2.0, low=0.5, high=4.0, log=True, doc="of both against the labels")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="logits")

    def loss(self, view: View, state: State) -> Tensor:
        heat = view.heat(self.temperature)
        scale = self.weight * (self.temperature / heat) ** 2
        return scale * losses.dist(view.logits, view.teacher_logits[0], heat, self.beta, self.gamma)
