"""The teacher whose responses teach best. Vats, Crandall 2021, arXiv 2112.10047 (reconstructed)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from autostudent.distill.method import Paper, Wrapper, hp, require_one_teacher
from autostudent.distill.types import Needs, Output, Spec, State, View


@dataclass(frozen=True)
class TeacherSweetSpot(Wrapper):
    """A single-teacher loss whose teacher was chosen from a grid of batch sizes and epochs by its responses.

    Three of the best by accuracy and responses teach a small student for a short time; what it learns decides.

    The grid, the judgement and the short list belong to the study (`autostudent.teach.sweet_spot`); which of the short
    list teaches is a variable of the recipe (``teach.source``). So nothing is left to do here, but for the paper's
    check: with ``permute`` every sample's probabilities beside its label are shuffled, by a lot that stays the same for
    the sample. Where a student gains as much from that, it was regularised, not told what resembles what.

    Note: only the abstract was to be had; grid, score and short list are reconstructed.
    """

    paper = Paper(
        "Controlling the Quality of Distillation in Response-Based Network Compression",
        "Vibhas Vats and David Crandall",
        2021,
        arxiv="2112.10047",
        note="reconstructed from the abstract: grid, score of the responses, short list",
    )
    wants = "a teacher with sweet_spot: {…}, named by teach.source"
    permute: bool = hp(
        False, choices=(False, True), doc="shuffle what the teacher says of the classes beside the label"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_teacher("teacher_sweet_spot", self.inner)

    def own_needs(self) -> Needs:
        return Needs(teachers=(0, None), one_label=self.permute)  # of two labels it would shuffle one away

    def own_state(self, spec: Spec) -> State:
        state = State()
        if self.permute:
            draw = torch.Generator().manual_seed(spec.seed)
            state.register_buffer("lots", torch.rand(spec.samples, spec.classes, generator=draw))
        return state

    def see(self, view: View, state: State) -> View:
        if not self.permute:
            return view
        assert isinstance(state.lots, Tensor)
        mixed = shuffled(view.teacher_logits[0], view.batch.target, state.lots[view.batch.index.to(state.lots.device)])
        return dataclasses.replace(view, sources=(Output(mixed),), heads=(None,))


def shuffled(logits: Tensor, target: Tensor, lots: Tensor) -> Tensor:
    """Logits ``(B, C)`` with those beside the label's put in another order, that of ``lots`` ``(B, C)``."""
    label = target.argmax(1, keepdim=True)
    places = torch.arange(logits.shape[1], device=logits.device).expand_as(logits)
    others = places.scatter(1, label, -1).sort(1).values[:, 1:]  # (B, C-1): classes beside the label, ascending
    drawn = others.gather(1, lots.gather(1, others).argsort(1))
    return logits.scatter(1, others, logits.gather(1, drawn))
