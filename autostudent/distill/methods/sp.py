"""Similarity-preserving distillation. Tung, Mori 2019, arXiv 1907.09682."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import map_losses
from autostudent.distill.hinted import Hinted
from autostudent.distill.method import Paper, hp
from autostudent.distill.types import State, View


@dataclass(frozen=True)
class SP(Hinted):
    """labels CE + weight T² KL(p_t ‖ p_s) + beta ‖G_s - G_t‖²_F / B², G the samples' similarities at a stage's end.

    G = F Fᵀ over the batch, its rows at length one. Channels and sizes may differ.

    Note: rows are normalised one by one, as in the paper's formula. Maps come after a ReLU.
    """

    paper = Paper("Similarity-Preserving Knowledge Distillation", "Frederick Tung and Greg Mori", 2019,
                  arxiv="1907.09682", venue="ICCV")  # fmt: skip
    beta: float = hp(3000.0, low=0.0, high=30000.0, doc="weight of the similarities")
    stage: int = hp(3, low=1, high=4, doc="at whose end student and teacher are compared")

    @property
    def taps(self) -> tuple[str, ...]:
        return (f"stage{self.stage}",)

    def hints(self, view: View, state: State) -> Tensor:
        [tap] = self.taps
        own, wanted = view.own.taps[tap].relu(), view.sources[0].taps[tap].relu()
        return self.beta * map_losses.similarity_preserving(own, wanted)
