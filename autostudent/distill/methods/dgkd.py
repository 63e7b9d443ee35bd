"""Densely guided distillation. Son et al. 2021, arXiv 2009.08825."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, State, View


@dataclass(frozen=True)
class DGKD(Method):
    """(1 - weight) CE + weight T² Σ_m KL(p_m ‖ p_s) over teacher and assistants, ``drop`` of them left out by lot.

    The lot falls anew for every mini-batch; at least one source stays.

    Note: a sum, as in the official code, so more sources weigh more; summed over classes, where that code averages
    (``kl_reduction`` "elementmean"). The assistants are the study's dense family, each taught in the same way by all
    larger ones.
    """

    paper = Paper(
        "Densely Guided Knowledge Distillation using Multiple Teacher Assistants",
        "Wonchul Son and Jaemin Na and Junyong Choi and Wonjun Hwang",
        2021,
        arxiv="2009.08825",
        venue="ICCV",
        note="divergence summed over classes unless asked otherwise; the assistants' own recipe is fixed per study",
    )
    family = "dense"
    temperature: float = hp(5.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    weight: float = hp(1.0, low=0.0, high=1.0, doc="of all sources; labels get the rest")
    drop: int = hp(1, low=0, high=4, doc="sources left out of each mini-batch")
    kl_reduction: str = hp("batchmean", choices=("batchmean", "elementmean"), doc="over classes: summed, or averaged")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(2, None), access="logits")

    def loss(self, view: View, state: State) -> Tensor:
        sources = view.teacher_logits
        keep = max(1, len(sources) - self.drop)
        if keep < len(sources):
            lot = torch.randperm(len(sources), generator=torch.Generator().manual_seed(view.seed))
            sources = tuple(sources[number] for number in sorted(lot[:keep].tolist()))
        divergence = losses.dgkd(view.logits, torch.stack(sources), view.heat(self.temperature))
        return self.weight * divergence / (view.logits.shape[1] if self.kl_reduction == "elementmean" else 1)

    def label_weight(self, view: View, state: State) -> float:
        return 1.0 - self.weight
