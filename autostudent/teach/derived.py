"""Facts about every training sample that follow from the frozen teachers, computed once.

"cross_entropy": of the first (largest) teacher on the plain pictures, in nats. "difficulty": the rank of that in
[0, 1], equal samples in order of their position. "ladder_agreement": the number of the smallest teacher that is right
about the sample, counted over the teachers by falling capacity; 0, the largest, where none is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autostudent.assets import Assets, Entry
from autostudent.data.datasets import Dataset
from autostudent.errors import AssetError
from autostudent.measure.predict import predict
from autostudent.records import digest
from autostudent.teach.teacher import Teacher

CODE = 1  # a change of what the facts mean must change this number: it is part of the key
FILE = "facts.safetensors"
FACTS = ("cross_entropy", "difficulty", "ladder_agreement")


@dataclass(frozen=True)
class Facts:
    """The facts about one data set under teachers given by their keys, by falling capacity."""

    assets: Assets
    dataset: Dataset
    teachers: tuple[str, ...]

    @property
    def entry(self) -> Entry:
        """Where they are kept."""
        key = {"code": CODE, "data": self.dataset.fingerprint, "teachers": list(self.teachers)}
        return self.assets.entry("derived", digest(key))

    def ensure(self, teachers: Sequence[Teacher]) -> dict[str, Tensor]:
        """Makes or finds the facts; ``teachers`` are those of the keys, in the same order."""
        assert tuple(teacher.key for teacher in teachers) == self.teachers
        try:
            return self.load()
        except AssetError:  # missing or altered: computed anew
            part = self.dataset.train
            logits = [predict(teacher.module, part.x, teacher.device) for teacher in teachers]
            self.entry.commit({FILE: save_tensors(facts_of(logits, part.y))}, {"teachers": list(self.teachers)})
        return self.load()

    def load(self) -> dict[str, Tensor]:
        """The facts, ``(N,)`` each; none without teachers. Raises `AssetError` when they are missing or altered."""
        if not self.teachers:
            return {}
        return load_tensors(self.entry.read(FILE))


def facts_of(logits: Sequence[Tensor], labels: Tensor) -> dict[str, Tensor]:
    """The facts from logits ``(N, C)`` of each teacher, by falling capacity, and labels ``(N,)``."""
    loss = F.cross_entropy(logits[0].double(), labels, reduction="none")
    rank = torch.empty_like(loss)
    rank[loss.argsort(stable=True)] = torch.arange(len(loss), dtype=loss.dtype)
    right = torch.stack([answer.argmax(1) == labels for answer in logits])
    numbers = torch.arange(len(logits))[:, None]
    found = loss.float(), (rank / max(len(loss) - 1, 1)).float(), torch.where(right, numbers, 0).amax(0)
    return dict(zip(FACTS, found, strict=True))
