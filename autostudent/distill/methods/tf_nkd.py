"""Teacher-free normalised distillation. Yang et al. 2022, arXiv 2208.10139."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import State, View


@dataclass(frozen=True)
class TFNKD(Method):
    """CE + weight `losses.tf_nkd`: labels that the student finds easier than the batch does count more.

    The batch mean in it is over the mini-batch, so its size matters; the paper's weight is 1.
    """

    paper = Paper(
        "Rethinking Knowledge Distillation via Cross-Entropy",
        "Zhendong Yang and Zhe Li and Yuan Gong and Tianke Zhang and Shanshan Lao and Chun Yuan and Yu Li",
        2022,
        arxiv="2208.10139",
    )
    weight: float = hp(1.0, low=0.1, high=2.0, log=True, doc="of the extra term")

    def loss(self, view: View, state: State) -> Tensor:
        return self.weight * losses.tf_nkd(view.logits, view.batch.target)
