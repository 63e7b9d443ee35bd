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

    Note: the divergence is summed over classes (``batchmean``). Codes that average it over them too (``elementmean``,
    torch's default, as in TAKD's) have a teacher of C times less weight beside the same labels.
    """

    paper = Paper(
        "Distilling the Knowledge in a Neural Network",
        "Geoffrey Hinton and Oriol Vinyals and Jeff Dean",
        2015,
        arxiv="1503.02531",
    )
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    weight: float = hp(0.9, low=0.0, high=1.0, doc="of the teacher; labels get the rest")
    kl_reduction: str = hp("batchmean", choices=("batchmean", "elementmean"), doc="over classes: summed, or averaged")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="logits")

    def loss(self, view: View, state: State) -> Tensor:
        divergence = losses.kd(view.logits, view.teacher_logits[0], view.heat(self.temperature))
        return self.weight * divergence / (view.logits.shape[1] if self.kl_reduction == "elementmean" else 1)

    def label_weight(self, view: View, state: State) -> float:
        return 1.0 - self.weight
