"""Early-stopped distillation. Cho, Hariharan 2019, arXiv 1910.01348."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autostudent.distill.method import Paper, Wrapper, hp
from autostudent.distill.types import Probe, State, View


@dataclass(frozen=True)
class ESKD(Wrapper):
    """Any loss until ``stop``, labels alone from then on. The learning-rate schedule goes on as it was.

    The paper's other half, a teacher that was trained less than it could be, is a source of the recipe: an entry
    ``early_stopped: {share: …, schedule: compressed or checkpoint}`` of the study's teachers.
    """

    paper = Paper(
        "On the Efficacy of Knowledge Distillation",
        "Jang Hyun Cho and Bharath Hariharan",
        2019,
        arxiv="1910.01348",
        venue="ICCV",
        note="the stop is a share of the run; early-stopped teachers are entries of the catalogue (early_stopped)",
    )
    stop: float = hp(0.6, low=0.0, high=1.0, doc="share of the run after which the teacher is silent")

    def loss(self, view: View, state: State) -> Tensor:
        if view.progress >= self.stop:
            return torch.zeros_like(view.logits[:, 0])
        return super().loss(view, state)

    def label_weight(self, view: View, state: State) -> Tensor | float:
        return 1.0 if view.progress >= self.stop else super().label_weight(view, state)

    def adapt(self, probe: Probe, state: State) -> None:
        if probe.progress < self.stop:
            super().adapt(probe, state)
