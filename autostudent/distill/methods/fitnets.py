"""Hints from a teacher's middle. Romero et al. 2015, arXiv 1412.6550."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from autostudent.distill import map_losses
from autostudent.distill.hinted import Hinted, active, adapter
from autostudent.distill.method import Paper, hp
from autostudent.distill.types import Spec, State, View


@dataclass(frozen=True)
class FitNets(Hinted):
    """labels CE + weight T² KL(p_t ‖ p_s) + beta mean (r(F_s) - F_t)², F the maps at the end of one stage.

    The regressor r = ReLU(BN(1x1 convolution)) has the teacher's channels. It learns beside the student and is no part
    of it.

    Note: one stage of training with the sum of all terms, as in the code of Tian et al. 2020 (arXiv 1910.10699), whose
    factors the defaults are; the paper trains on hints alone first. The larger map is averaged down, and both come
    after a ReLU.
    """

    paper = Paper(
        "FitNets: Hints for Thin Deep Nets",
        "Adriana Romero and Nicolas Ballas and Samira Ebrahimi Kahou and Antoine Chassang and Carlo Gatta "
        "and Yoshua Bengio",
        2015,
        arxiv="1412.6550",
        venue="ICLR",
        note="hints beside the labels instead of in a stage before; the larger map is averaged down",
    )
    beta: float = hp(100.0, low=0.0, high=1000.0, doc="weight of the hint")
    stage: int = hp(2, low=1, high=4, doc="at whose end student and teacher are compared")

    @property
    def taps(self) -> tuple[str, ...]:
        return (f"stage{self.stage}",)

    def init(self, spec: Spec) -> State:
        [tap] = self.taps
        state = State()
        state.regressor = adapter(spec.student.taps[tap][0], spec.teachers[0].taps[tap][0])
        return state

    def hints(self, view: View, state: State) -> Tensor:
        assert isinstance(state.regressor, nn.Module)
        own, wanted = active(view, *self.taps)
        return self.beta * map_losses.hint(state.regressor(own), wanted)
