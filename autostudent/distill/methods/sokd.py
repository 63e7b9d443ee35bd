"""Semi-online distillation. Liu, Liu, Huang 2021, arXiv 2111.11747."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, NetworkInfo, Plan, Role, Spec, Stage, State, TopOf, View
from autostudent.errors import ConfigError

PAPER = Paper(
    "Semi-Online Knowledge Distillation",
    "Zhiqiang Liu and Yanxia Liu and Chengkai Huang",
    2021,
    arxiv="2111.11747",
    note="the teacher's trunk is in evaluation mode; the official code lets its batch statistics drift",
)


@dataclass(frozen=True)
class Bridge(Method):
    """The knowledge bridge of `SOKD`: labels CE + teacher T² KL(p_t ‖ p_a) + student T² KL(p_s ‖ p_a)."""

    paper = PAPER
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True)
    labels: float = hp(1.0, low=0.25, high=4.0, log=True)
    teacher: float = hp(1.0, low=0.25, high=4.0, log=True)
    student: float = hp(1.0, low=0.25, high=4.0, log=True)

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="taps")

    def loss(self, view: View, state: State) -> Tensor:
        teacher, student = view.teacher_logits
        heat = view.heat(self.temperature)
        return self.teacher * losses.kd(view.logits, teacher, heat) + self.student * losses.kd(
            view.logits, student, heat
        )

    def label_weight(self, view: View, state: State) -> float:
        return self.labels


@dataclass(frozen=True)
class SOKD(Method):
    """labels CE + weight T² KL(p_bridge ‖ p_s); the student never sees the teacher itself.

    The bridge is a fresh copy of the teacher's last ``cut`` stages and head on the frozen teacher's trunk. It learns
    from labels, teacher and student beside the student; its training is private cost of the trial.
    """

    paper = PAPER
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    labels: float = hp(1.0, low=0.25, high=4.0, log=True, doc="weight of the labels for the student")
    weight: float = hp(1.0, low=0.25, high=4.0, log=True, doc="weight of the bridge for the student")
    bridge_labels: float = hp(1.0, low=0.25, high=4.0, log=True, doc="weight of the labels for the bridge")
    bridge_teacher: float = hp(1.0, low=0.25, high=4.0, log=True, doc="weight of the teacher for the bridge")
    bridge_student: float = hp(1.0, low=0.25, high=4.0, log=True, doc="weight of the student for the bridge")
    bridge_lr: float = hp(1.0, low=0.1, high=2.0, log=True, doc="learning rate of the bridge over the student's")
    cut: int = hp(1, low=1, high=2, doc="stages of the teacher that the bridge has")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="taps")

    def loss(self, view: View, state: State) -> Tensor:
        return self.weight * losses.kd(view.logits, view.teacher_logits[0], view.heat(self.temperature))

    def label_weight(self, view: View, state: State) -> float:
        return self.labels

    def plan(self, spec: Spec) -> Plan:
        tap = trunk_tap(spec.teachers[0], self.cut)
        method = Bridge(self.temperature, self.bridge_labels, self.bridge_teacher, self.bridge_student)
        student = Role("student", learns_from=("bridge",))
        bridge = Role(
            "bridge",
            TopOf(0, tap),
            learns_from=("teachers", "student"),
            method=method,
            input=f"teacher:0.{tap}",
            lr_scale=self.bridge_lr,
        )
        return Plan((Stage((student, bridge)),))


def trunk_tap(teacher: NetworkInfo, cut: int) -> str:
    """The stage whose output feeds a bridge of ``cut`` stages; the first stage where the teacher has no more."""
    stages = sorted((tap for tap in teacher.taps if tap.startswith("stage")), key=lambda tap: int(tap[5:]))
    if not stages:
        raise ConfigError(f"teachers.{teacher.name}", "no stages", "a teacher whose last stages sokd can copy")
    return stages[max(len(stages) - 1 - cut, 0)]
