"""Knowledge distillation. Hinton, Vinyals, Dean 2015, arXiv 1503.02531."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, State, View


@dataclass(frozen=True)
class KD(Method):
    """(1 - weight) CE + weight T² KL(p_t ‖ p_s).

    Note: the divergence is summed over classes; codes that average it over classes need a C times larger weight.
    """

    paper = Paper(
        "Distilling the Knowledge in a Neural Network",
        "Geoffrey Hinton and Oriol Vinyals and Jeff Dean",
        2015,
        arxiv="1503.02531",
    )
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    weight: float = hp(0.9, low=0.0, high=1.0, doc="of the teacher; labels get the rest")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="logits")

    def loss(self, view: View, state: State) -> Tensor:
        return self.weight * losses.kd(view.logits, view.teacher_logits[0], view.heat(self.temperature))

    def label_weight(self, view: View, state: State) -> float:
        return 1.0 - self.weight
