"""Clustered hint points. Keser et al. 2023, arXiv 2103.00053."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from autostudent.distill import map_losses
from autostudent.distill.hinted import Hinted, adapter, hint_taps, stages
from autostudent.distill.method import Paper, hp
from autostudent.distill.types import Needs, Spec, State, View

LOSSES = ("fitnets", "at")
STAGES = 3  # of a student, that may learn from hint points


class Matched(State):
    """``places``: for each hint point the position of the student's stage; regressors where hints are compared."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.places = tuple(places)
        self.regressors = nn.ModuleList()


@dataclass(frozen=True)
class PursuHint(Hinted):
    """labels CE + weight T² KL(p_t ‖ p_s) + beta Σ_k hint(F_s at a stage, F_t at hint point k).

    Hint points are the blocks that stand for all of a teacher: medoids of 1 - linear CKA, found once a teacher. Each is
    learned from by one of the student's stages, in order, so that relative depths differ least. The hint's loss is that
    of ``fitnets`` (with a regressor each) or of ``at``.

    Note: after the authors' description and a code derived from theirs. Medoids instead of the layer nearest to a
    centre of K-means; CKA instead of CCA.
    """

    paper = Paper(
        "PURSUhInT: In Search of Informative Hint Points Based on Layer Clustering for Knowledge Distillation",
        "Reyhan Kevser Keser and Aydin Ayanzadeh and Omid Abdollahi Aghdam and Caglar Kilcioglu "
        "and Behcet Ugur Toreyin and Nazim Kemal Ure",
        2023,
        arxiv="2103.00053",
        venue="Expert Systems with Applications",
        note="after its description; medoids of 1 - linear CKA; students are compared at their stages' ends",
    )
    wants = "a teacher whose blocks are known"
    labels: float = hp(0.5, low=0.0, high=4.0, doc="weight of the labels")
    weight: float = hp(0.9, low=0.0, high=4.0, doc="weight of the teacher's logits")
    beta: float = hp(50.0, low=0.0, high=10000.0, doc="weight of the hints; those of at are some ten times smaller")
    points: int = hp(3, low=1, high=4, doc="how many hint points; four need a student of four stages, others of three")
    hint: str = hp("fitnets", choices=LOSSES, doc="whose loss compares maps")

    @property
    def taps(self) -> tuple[str, ...]:
        return stages(max(self.points, STAGES))

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="taps", taps=self.taps, of_teachers=hint_taps(self.points))

    def init(self, spec: Spec) -> Matched:
        own, [teacher] = spec.student, spec.teachers
        even = {tap: (place + 1) / len(self.taps) for place, tap in enumerate(self.taps)}  # where depths are not known
        depths = [own.depths.get(tap, even[tap]) for tap in self.taps]
        state = Matched(matched([teacher.depths[tap] for tap in hint_taps(self.points)], depths))
        if self.hint == "fitnets":
            pairs = zip(state.places, hint_taps(self.points), strict=True)
            state.regressors.extend(adapter(own.taps[self.taps[p]][0], teacher.taps[tap][0]) for p, tap in pairs)
        return state

    def hints(self, view: View, state: State) -> Tensor:
        assert isinstance(state, Matched)
        found = []
        for number, (place, tap) in enumerate(zip(state.places, hint_taps(self.points), strict=True)):
            own, wanted = view.own.taps[self.taps[place]].relu(), view.sources[0].taps[tap].relu()
            own, wanted = map_losses.alike(own, wanted)
            if self.hint == "fitnets":
                found.append(map_losses.hint(state.regressors[number](own), wanted))
            else:
                found.append(map_losses.attention_transfer(own, wanted))
        return self.beta * torch.stack(found).sum(0)


def matched(points: Sequence[float], depths: Sequence[float]) -> tuple[int, ...]:
    """For each of the rising ``points`` another of the rising ``depths``, in order, so that the squares sum least."""

    def apart(places: Sequence[int]) -> float:
        return sum((point - depths[place]) ** 2 for point, place in zip(points, places, strict=True))

    return min(combinations(range(len(depths)), len(points)), key=apart)
