"""Labels only: the control that every distilled student is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autostudent.distill.method import Method, Paper
from autostudent.distill.types import State, View


@dataclass(frozen=True)
class NoTeacher(Method):
    """Cross-entropy with the labels, nothing else. Label smoothing is an optimiser setting of the recipe."""

    paper = Paper("Labels only (no distillation)", "", 0, note="the control; smoothed labels are optim.smoothing")

    def loss(self, view: View, state: State) -> Tensor:
        return torch.zeros_like(view.logits[:, 0])
