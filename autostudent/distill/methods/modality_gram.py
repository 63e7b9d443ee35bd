"""Relations among modalities, here among stages. After Liu 2021, arXiv 2112.11447."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autostudent.distill import map_losses
from autostudent.distill.hinted import Hinted, pooled, stages
from autostudent.distill.job import generator
from autostudent.distill.method import Paper, hp
from autostudent.distill.types import NetworkInfo, Output, Spec, State, View


@dataclass(frozen=True)
class ModalityGram(Hinted):
    """labels CE + weight T² KL(p_t ‖ p_s) + beta Σ_{m≠n} (G_s - G_t)²_mn / (M (M - 1)), G_mn = cos(f_m, f_n).

    f_m is the end of stage m, averaged over pixels and projected to a common width by a fixed random matrix, the same
    for all networks with as many channels there. G is each picture's own.

    Note: reconstructed from the abstract, and an extension: the paper relates modalities (texts, pictures, sounds) of
    one sample. Pictures have one, and the stages of one network stand in for them.
    """

    paper = Paper(
        "Multi-Modality Distillation via Learning the teacher's modality-level Gram Matrix",
        "Peng Liu",
        2021,
        arxiv="2112.11447",
        note="reconstructed from the abstract; an extension: a network's stages stand in for modalities",
    )
    weight: float = hp(0.9, low=0.0, high=4.0, doc="weight of the teacher's logits")
    labels: float = hp(0.1, low=0.0, high=4.0, doc="weight of the labels")
    beta: float = hp(10.0, low=0.0, high=1000.0, doc="weight of the relations")
    stages: int = hp(3, low=2, high=4, doc="how many stages are related, from the first")
    width: int = hp(64, low=8, high=512, doc="to which stages are projected")

    @property
    def taps(self) -> tuple[str, ...]:
        return stages(self.stages)

    def init(self, spec: Spec) -> State:
        state = State()
        for name, network in (("own", spec.student), ("teacher", spec.teachers[0])):
            for tap in self.taps:
                state.register_buffer(f"{name}_{tap}", self.projection(network, tap))
        return state

    def projection(self, network: NetworkInfo, tap: str) -> Tensor:
        """A matrix ``(channels, width)`` of normal numbers that keeps lengths on average."""
        channels = network.taps[tap][0]
        draw = generator("modality_gram", tap, channels, self.width)
        return torch.randn(channels, self.width, generator=draw) / self.width**0.5

    def embeddings(self, output: Output, name: str, state: State) -> Tensor:
        """The stages of a network in one space, ``(B, M, width)``."""
        found = [pooled(output.taps[tap].relu()) @ state.get_buffer(f"{name}_{tap}") for tap in self.taps]
        return torch.stack(found, 1)

    def hints(self, view: View, state: State) -> Tensor:
        own = self.embeddings(view.own, "own", state)
        wanted = self.embeddings(view.sources[0], "teacher", state)
        return self.beta * map_losses.gram_distance(own, wanted)
