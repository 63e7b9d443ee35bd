"""Hint points: the few blocks of a teacher that stand for all of them, found once and offered as taps of their own.

Keser, Ayanzadeh, Aghdam, Kilcioglu, Toreyin, Ure 2023, arXiv 2103.00053 (procedure after its description). Blocks are
alike where the linear CKA of their outputs is high, pictures of the training set averaged over pixels; K medoids of
1 - CKA are the hint points. Tap "hint2of3" is the second of three in the order of the network.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autostudent.assets import Assets, Entry
from autostudent.build.network import Block
from autostudent.data.datasets import Dataset
from autostudent.data.views import images
from autostudent.distill.hinted import hint_taps
from autostudent.distill.job import Source
from autostudent.distill.types import Batch, Output
from autostudent.errors import AssetError, TeacherError
from autostudent.measure.predict import BATCH, at_once, seen
from autostudent.records import digest
from autostudent.teach.teacher import Teacher

CODE = 2  # a change of what the points mean must change this number: it is part of the key
FILE = "hints.json"
MOST = 4  # hint points that a method may ask for
SHARE, CEILING = 5, 10_000  # a fifth of the training pictures, at most so many


@dataclass(frozen=True)
class HintPoints:
    """The hint points of the teacher with this key on one data set."""

    assets: Assets
    dataset: Dataset
    teacher: str

    @property
    def entry(self) -> Entry:
        """Where they are kept."""
        key = {"code": CODE, "hints": self.teacher, "data": self.dataset.fingerprint}
        return self.assets.entry("derived", digest(key))

    def ensure(self, teacher: Teacher) -> dict[str, str]:
        """Makes or finds the points of the teacher with this key."""
        assert teacher.key == self.teacher
        try:
            return self.load()
        except AssetError:  # missing or altered: found anew
            points = points_of(pooled_blocks(teacher, self.dataset))
            self.entry.commit({FILE: json.dumps(points).encode()}, {"teacher": self.teacher})
        return self.load()

    def load(self) -> dict[str, str]:
        """The name of a block by tap. Raises `AssetError` when they are missing or altered."""
        found: dict[str, str] = json.loads(self.entry.read(FILE))
        return found

    def shown(self, source: Source) -> Source:
        """The teacher's source with its hint points as taps; as it is where they were not made."""
        return named(source, self.load()) if self.entry.complete else source


def blocks_of(module: object) -> tuple[Block, ...]:
    """A network's blocks in order; none where a plug-in's network does not name them."""
    found = getattr(module, "blocks", ())
    named = isinstance(found, tuple | list) and all(isinstance(block, Block) for block in found)
    return tuple(found) if named else ()


def offered(teacher: Teacher) -> set[str]:
    """The taps that a teacher shows, hint points among them that can be made."""
    most = min(MOST, len(blocks_of(teacher.module)))
    return {*teacher.info.taps, *(tap for count in range(1, most + 1) for tap in hint_taps(count))}


def named(source: Source, points: Mapping[str, str]) -> Source:
    """A source that also has the taps of ``points``, which are blocks under other names."""
    blocks = {block.name: block for block in blocks_of(source.module)}
    chosen = {tap: blocks[name] for tap, name in points.items()}
    taps = {tap: (block.channels, block.stride) for tap, block in chosen.items()}
    depths = {tap: (block.depth + 1) / len(blocks) for tap, block in chosen.items()}
    info = dataclasses.replace(source.info, taps={**source.info.taps, **taps}, depths={**source.info.depths, **depths})

    def outputs(batch: Batch, wanted: Sequence[str]) -> Output:
        found = source.outputs(batch, tuple(dict.fromkeys(points.get(tap, tap) for tap in wanted)))
        return dataclasses.replace(found, taps={tap: found.taps[points.get(tap, tap)] for tap in wanted})

    return dataclasses.replace(source, info=info, outputs=outputs)


@torch.no_grad()
def pooled_blocks(teacher: Teacher, dataset: Dataset) -> dict[str, Tensor]:
    """What each block gives for some training pictures, averaged over pixels: ``(n, channels)`` in double precision."""
    x, names = dataset.train.x, [block.name for block in blocks_of(teacher.module)]
    count = min(max(len(x) // SHARE, min(len(x), BATCH)), CEILING)
    chosen = torch.from_numpy(np.sort(np.random.default_rng(0).permutation(len(x))[:count]))
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for piece in x[chosen].split(min(BATCH, at_once(*seen(teacher.module, *x.shape[-2:])))):
        taps = teacher.module.features(images(piece.to(teacher.device)), names)[1]  # type: ignore[operator]
        for name in names:
            found[name].append(taps[name].relu().double().mean((2, 3)).cpu())  # as they are learned from
    return {name: torch.cat(pieces) for name, pieces in found.items()}


def points_of(pooled: Mapping[str, Tensor]) -> dict[str, str]:
    """The hint points, one to `MOST`, by tap, from what each block gives ``(n, channels)``. Raises `TeacherError`."""
    for name, x in pooled.items():
        if not x.isfinite().all():
            raise TeacherError(f"{name} of the teacher gives numbers that are not finite; hint points cannot be found")
    names, far = list(pooled), 1 - similarity(list(pooled.values()))
    return {
        tap: names[place]
        for count in range(1, min(MOST, len(names)) + 1)
        for tap, place in zip(hint_taps(count), medoids(far, count), strict=True)
    }


def similarity(pooled: Sequence[Tensor]) -> Tensor:
    """Linear CKA of any two, ``(L, L)``: ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F), columns centred (Kornblith et al. 2019)."""
    centred = [x - x.mean(0) for x in pooled]
    cross = torch.stack([torch.stack([(y.T @ x).square().sum() for x in centred]) for y in centred])
    own = cross.diagonal().sqrt()
    return cross / torch.outer(own, own).clamp_min(1e-30)


def medoids(far: Tensor, count: int) -> tuple[int, ...]:
    """Positions, rising, of ``count`` medoids under distances ``(L, L)``.

    They begin evenly spread, from first to last (in the middle where there is one); the exchange that lowers the sum of
    distances to the nearest medoid most is made until none does.
    """
    size = len(far)
    spread = [round(step * (size - 1) / (count - 1)) for step in range(count)] if count > 1 else [(size - 1) // 2]
    chosen, best = spread, float(far[spread].amin(0).sum())
    while True:
        trials = [
            sorted([*chosen[:place], other, *chosen[place + 1 :]])
            for place in range(count)
            for other in range(size)
            if other not in chosen
        ]
        sums = [float(far[trial].amin(0).sum()) for trial in trials]
        if not sums or not min(sums) < best - 1e-12:
            return tuple(chosen)
        best = min(sums)
        chosen = trials[sums.index(best)]
