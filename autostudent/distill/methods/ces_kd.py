"""Curriculum expert selection. Amara et al. 2022, arXiv 2209.07606 (reconstructed)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from autostudent.distill.method import Paper, Wrapper, hp, require_one_teacher
from autostudent.distill.types import Needs, Output, Spec, State, View

SCORES = ("difficulty", "ladder_agreement")
LOCKED = ("largest_open", "ce_only", "skip")


@dataclass(frozen=True)
class CESKD(Wrapper):
    """One expert for each image: easy images are taught by small experts, hard ones by large ones.

    The sources are the experts by falling capacity, M of them. Images fall into M equal bins by their rank of
    difficulty (``score`` "difficulty", ranks in [0, 1]), or each takes the smallest expert that is right about it
    ("ladder_agreement", the number of that expert among the sources). Over the first ``until`` of the run the bins are
    opened from easy to hard, beginning with the share ``start`` of them. Images whose expert is not open yet are taught
    by the largest open one, left on their labels alone, or skipped (``locked``). ``start = 1`` is no curriculum.

    Note: only the abstract was to be had. Bins, opening and what happens to locked images are reconstructed.
    """

    paper = Paper(
        "CES-KD: Curriculum-based Expert Selection for Guided Knowledge Distillation",
        "Ibtihel Amara and Maryam Ziaeefard and Brett H. Meyer and Warren Gross and James J. Clark",
        2022,
        arxiv="2209.07606",
        note="reconstructed from the abstract: binning by rank of difficulty, opening over the run, locked images",
    )
    start: float = hp(1 / 3, low=0.0, high=1.0, doc="share of the bins that is open at the beginning")
    until: float = hp(0.5, low=0.05, high=1.0, doc="share of the run after which all bins are open")
    score: str = hp("difficulty", choices=SCORES, doc="how an image finds its expert")
    locked: str = hp("largest_open", choices=LOCKED, doc="what teaches an image whose expert is not open yet")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_teacher("ces_kd", self.inner)

    def own_needs(self) -> Needs:
        return Needs(teachers=(1, None), access="logits", derived=(self.score,))

    def init(self, spec: Spec) -> State:
        state = State()
        state.inner = self.inner.init(dataclasses.replace(spec, teachers=spec.teachers[:1]))
        return state

    def expert(self, view: View) -> tuple[Tensor, Tensor]:
        """(number of the source that teaches each image, whether its own expert is still locked), ``(B,)`` both."""
        count = len(view.sources)
        fact = view.facts[self.score].to(view.logits.device)
        if self.score == "difficulty":
            size = (fact * count).long().clamp(0, count - 1)  # 0 is the smallest expert
        else:
            size = count - 1 - fact.long().clamp(0, count - 1)
        share = min(1.0, self.start + (1 - self.start) * view.progress / self.until)
        largest = min(max(int(share * count + 1e-9), 1), count) - 1
        return count - 1 - size.clamp(max=largest), size > largest

    def see(self, view: View, state: State) -> View:
        """The view of a student with one teacher, put together from the experts' answers."""
        chosen, _ = self.expert(view)
        logits = torch.stack(view.teacher_logits)[chosen, torch.arange(len(chosen), device=chosen.device)]
        return dataclasses.replace(view, sources=(Output(logits),), heads=(None,))

    def loss(self, view: View, state: State) -> Tensor:
        wrong = super().loss(view, state)
        if self.locked == "largest_open":
            return wrong
        return wrong.masked_fill(self.expert(view)[1], 0.0)

    def label_weight(self, view: View, state: State) -> Tensor | float:
        weight = super().label_weight(view, state)
        if self.locked == "largest_open":
            return weight
        alone = 1.0 if self.locked == "ce_only" else 0.0
        whole = torch.as_tensor(weight, dtype=view.logits.dtype, device=view.logits.device)
        return torch.where(self.expert(view)[1], alone, whole)
