"""Self-distillation over generations. Pham et al. 2022, arXiv 2206.08491; Furlanello et al. 2018, arXiv 1805.04770."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.methods.none import NoTeacher
from autostudent.distill.types import CopyOf, Needs, Plan, Role, Spec, Stage, State, View


@dataclass(frozen=True)
class SelfKD(Method):
    """Each generation is a fresh network of the student's graph, taught by the one before; the first by labels alone.

    Loss of a taught generation: (1 - weight) CE + weight T² KL. Born-again networks are T = 1, weight = 1. The run is
    divided evenly among the generations, the student is the last; a generation's learning rate starts anew.

    Note: papers train every generation in full; here all share the student's epochs, so a full-length comparison needs
    (1 + generations) times as many. T and weight are vanilla distillation's (the paper's could not be read).
    """

    paper = Paper(
        "Revisiting Self-Distillation",
        "Minh Pham and Minsik Cho and Ameya Joshi and Chinmay Hegde",
        2022,
        arxiv="2206.08491",
        note="T and weight are not the paper's; generations share the epochs of one training",
    )
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    weight: float = hp(0.9, low=0.0, high=1.0, doc="of the generation before; labels get the rest")
    generations: int = hp(1, low=1, high=5, doc="networks trained before the student")

    @property
    def needs(self) -> Needs:
        return Needs(epochs=1 + self.generations)

    def loss(self, view: View, state: State) -> Tensor:
        return self.weight * losses.kd(view.logits, view.teacher_logits[0], view.heat(self.temperature))

    def label_weight(self, view: View, state: State) -> float:
        return 1.0 - self.weight

    def plan(self, spec: Spec) -> Plan:
        share = 1 / (1 + self.generations)
        first = Role("generation0", CopyOf("student"), learns_from=(), method=NoTeacher())
        stages = [Stage((first,), share, schedule="stage", metric_valid=False)]
        for number in range(1, self.generations + 1):
            last = number == self.generations
            name = "student" if last else f"generation{number}"
            model: object = "student" if last else CopyOf("student")
            role = Role(name, model, learns_from=(f"generation{number - 1}",))
            stages.append(Stage((role,), share, schedule="stage", metric_valid=last))
        return Plan(tuple(stages))
