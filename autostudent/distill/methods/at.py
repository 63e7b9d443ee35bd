"""Attention transfer. Zagoruyko, Komodakis 2017, arXiv 1612.03928."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autostudent.distill import map_losses
from autostudent.distill.hinted import Hinted, active, stages
from autostudent.distill.method import Paper, hp
from autostudent.distill.types import State, View


@dataclass(frozen=True)
class AT(Hinted):
    """labels CE + weight T² KL(p_t ‖ p_s) + beta Σ_stages mean (Q_s - Q_t)², Q the attention map of a stage's end.

    Q is the squares' mean over channels, at length one over the pixels. Channels may differ.

    Note: the mean over pixels and the weight of 1000 are the authors' code's. Q has length one, so that the mean is the
    larger the fewer the pixels: pictures smaller than theirs (32 x 32) want a smaller beta. The larger map is averaged
    down, and both come after a ReLU.
    """

    paper = Paper(
        "Paying More Attention to Attention: Improving the Performance of Convolutional Neural Networks via "
        "Attention Transfer",
        "Sergey Zagoruyko and Nikos Komodakis",
        2017,
        arxiv="1612.03928",
        venue="ICLR",
        note="the mean of squares over pixels, as in the authors' code; the larger map is averaged down",
    )
    beta: float = hp(1000.0, low=0.0, high=10000.0, doc="weight of the attention maps")
    stages: int = hp(3, low=1, high=4, doc="how many stages are compared, from the first")

    @property
    def taps(self) -> tuple[str, ...]:
        return stages(self.stages)

    def hints(self, view: View, state: State) -> Tensor:
        total = view.logits.new_zeros(len(view.logits))
        for tap in self.taps:
            total = total + map_losses.attention_transfer(*active(view, tap))
        return self.beta * total
