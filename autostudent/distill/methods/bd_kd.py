"""Balanced divergences, teacher and student learning together. Amara et al. 2022, arXiv 2212.12965 (reconstructed)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, Plan, Role, Spec, Stage, State, TeacherCopy, View

PAPER = Paper(
    "BD-KD: Balancing the Divergences for Online Knowledge Distillation",
    "Ibtihel Amara and Nazanin Sepahvand and Brett H. Meyer and Warren J. Gross and James J. Clark",
    2022,
    arxiv="2212.12965",
    note="reconstructed from abstract and summaries: the weights' direction, the teacher's term, T² when T is not 1",
)


@dataclass(frozen=True)
class Coach(Method):
    """The learning teacher of `BDKD`: CE + weight T² KL(p_s ‖ p_t), the student detached."""

    paper = PAPER
    temperature: float = hp(1.0, low=1.0, high=20.0, log=True)
    weight: float = hp(1.0, low=0.25, high=4.0, log=True)

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1))

    def loss(self, view: View, state: State) -> Tensor:
        heat = view.heat(self.temperature)
        return self.weight * heat**2 * losses.forward_kl(view.logits, view.teacher_logits[0], heat)


@dataclass(frozen=True)
class BDKD(Method):
    """CE + weight T² (a KL(p_t ‖ p_s) + b KL(p_s ‖ p_t)), a and b by image (`losses.balanced_divergence`).

    The teacher is a fresh network of the main teacher's architecture that trains beside the student; what the study's
    frozen teacher knows is not used. Its training is private cost of the trial.
    """

    paper = PAPER
    temperature: float = hp(1.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    emphasis: float = hp(2.0, low=1.0, high=4.0, doc="weight of the divergence that an image needs more")
    weight: float = hp(1.0, low=0.25, high=4.0, log=True, doc="of the teacher against the labels")
    direction: str = hp(
        "forward_when_sure", choices=("forward_when_sure", "reverse_when_sure"), doc="which one that is"
    )
    sharpness: float = hp(0.0, low=0.0, high=16.0, doc="of a smooth switch between the two; 0: a hard one")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="heads")

    def loss(self, view: View, state: State) -> Tensor:
        heat = view.heat(self.temperature)
        opposite = self.direction == "reverse_when_sure"
        return (
            self.weight
            * heat**2
            * losses.balanced_divergence(
                view.logits,
                view.teacher_logits[0],
                heat,
                self.emphasis,
                opposite=opposite,
                sharpness=self.sharpness,
            )
        )

    def plan(self, spec: Spec) -> Plan:
        coach = Coach(self.temperature, self.weight)
        roles = (
            Role("student", learns_from=("coach",)),
            Role("coach", TeacherCopy(0), ("student",), method=coach),
        )
        return Plan((Stage(roles),))
