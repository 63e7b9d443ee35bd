"""A weighted ensemble of teaching assistants. Ganta, Das Gupta, Sheng 2022, arXiv 2206.12005 (reconstructed)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, Wrapper, hp, require_one_teacher
from autostudent.distill.types import Needs, Output, Spec, State, View

MIXES = ("probabilities", "logits")
SCORES = ("accuracy", "nll")


@dataclass(frozen=True)
class TAEnsemble(Wrapper):
    """Several assistants speak with one voice, weighted by how well the ensemble does on held-out data.

    The sources are assistants that the main teacher taught. Their weights w minimise 1 - accuracy (or the negative
    log-likelihood) of Σ_m w_m p_m on the meta split, found once by differential evolution and shared by all trials.
    ``mix`` "probabilities": the wrapped loss sees the teacher q_T = Σ_m w_m softmax(t_m / T) at its temperature T;
    "logits": it sees Σ_m w_m t_m.

    Note: only abstract and summary were to be had. The search follows the widely used weighted-average recipe (Storn
    and Price's best1bin). A loss that also reads the teacher at T = 1 reads there softmax(T log q_T).
    """

    paper = Paper(
        "Knowledge Distillation via Weighted Ensemble of Teaching Assistants",
        "Durga Prasad Ganta and Himel Das Gupta and Victor S. Sheng",
        2022,
        arxiv="2206.12005",
        venue="ICKG",
        note="reconstructed: bounds, objective and mixing are not in the sources available",
    )
    family = "flat"
    mix: str = hp("probabilities", choices=MIXES, doc="what of the assistants is averaged")
    score: str = hp("accuracy", choices=SCORES, doc="what the weights make best on the meta split")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_teacher("ta_ensemble", self.inner)

    @property
    def fact(self) -> str:
        """The derived fact that holds the weights, the same row ``(M,)`` for every sample."""
        return f"ensemble_{self.mix}_{self.score}"

    def own_needs(self) -> Needs:
        return Needs(teachers=(2, None), access="logits", derived=(self.fact,))

    def init(self, spec: Spec) -> State:
        state = State()
        state.inner = self.inner.init(dataclasses.replace(spec, teachers=spec.teachers[:1]))
        return state

    def see(self, view: View, state: State) -> View:
        """The view of a student with one teacher, the ensemble."""
        weights = view.facts[self.fact].to(view.logits.device).T
        teachers = torch.stack(view.teacher_logits)
        if self.mix == "logits":
            mixed = (weights[:, :, None] * teachers).sum(0)
        else:
            mixed = losses.ensemble_logits(teachers, weights, view.heat(temperature_of(self.inner)))
        return dataclasses.replace(view, sources=(Output(mixed),), heads=(None,))


def temperature_of(method: Method) -> float:
    """The temperature of a loss, also through wrappers; 1 where it has none."""
    while isinstance(method, Wrapper):
        method = method.inner
    return float(getattr(method, "temperature", 1.0))
