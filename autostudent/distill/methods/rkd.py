"""Relational distillation. Park et al. 2019, arXiv 1904.05068."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import map_losses
from autostudent.distill.hinted import Hinted, pooled
from autostudent.distill.method import Paper, hp
from autostudent.distill.types import State, View


@dataclass(frozen=True)
class RKD(Hinted):
    """labels CE + weight T² KL(p_t ‖ p_s) + distance L_D + angle L_A, on the inputs of the linear layers.

    L_D compares the batch's distances, each network's over their mean, L_A the angles of all triples; both by Huber's
    loss. Widths may differ.

    Note: samples that coincide are left out of the mean distance and have no angle, in student and teacher apart.
    """

    paper = Paper(
        "Relational Knowledge Distillation",
        "Wonpyo Park and Dongju Kim and Yan Lu and Minsu Cho",
        2019,
        arxiv="1904.05068",
        venue="CVPR",
        note="samples that coincide have no angle",
    )
    distance: float = hp(25.0, low=0.0, high=250.0, doc="weight of the distances")
    angle: float = hp(50.0, low=0.0, high=500.0, doc="weight of the angles")

    @property
    def taps(self) -> tuple[str, ...]:
        return ("penultimate",)

    def hints(self, view: View, state: State) -> Tensor:
        [tap] = self.taps
        own, wanted = pooled(view.own.taps[tap]), pooled(view.sources[0].taps[tap])
        far = map_losses.relational_distance(own, wanted)
        return self.distance * far + self.angle * map_losses.relational_angle(own, wanted)
