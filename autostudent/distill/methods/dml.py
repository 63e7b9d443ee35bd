"""Deep mutual learning. Zhang et al. 2018, arXiv 1706.00384."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import CopyOf, Plan, Role, Spec, Stage, State, View


@dataclass(frozen=True)
class DML(Method):
    """CE + weight T² KL(p_peer ‖ p_own), for the student and for a peer of the same graph with another seed.

    Note: after the paper the two are updated in turn, the second sees the first one's new output; ``order`` "joint"
    is the common shortcut. The peer is private cost of the trial. T = 1 in the paper.
    """

    paper = Paper(
        "Deep Mutual Learning",
        "Ying Zhang and Tao Xiang and Timothy M. Hospedales and Huchuan Lu",
        2018,
        arxiv="1706.00384",
        venue="CVPR",
        note="written from memory of the paper; peers are updated alternately",
    )
    temperature: float = hp(1.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    weight: float = hp(1.0, low=0.25, high=4.0, log=True, doc="of the peer against the labels")
    order: str = hp("alternate", choices=("alternate", "joint"), doc="who is updated when")

    def loss(self, view: View, state: State) -> Tensor:
        return self.weight * losses.kd(view.logits, view.teacher_logits[0], view.heat(self.temperature))

    def plan(self, spec: Spec) -> Plan:
        student = Role("student", learns_from=("peer",))
        peer = Role("peer", CopyOf("student"), learns_from=("student",))
        return Plan((Stage((student, peer), order=self.order),))
