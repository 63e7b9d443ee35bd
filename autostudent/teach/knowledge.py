"""What a frozen teacher says of every view of a bank, computed once and memory-mapped by every trial.

An entry ("knowledge", key) holds one file a view: the logits in a `Form`. A file's name ends in the checksum of its
bytes, so that a build which was killed goes on with the files that are whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from autostudent.assets import Assets, Entry
from autostudent.data.views import ViewBank
from autostudent.distill.job import Source
from autostudent.distill.types import Batch, Output
from autostudent.errors import AssetError
from autostudent.measure.latency import sharing
from autostudent.measure.predict import predict
from autostudent.records import digest
from autostudent.teach.forms import Form
from autostudent.teach.maps import Maps
from autostudent.teach.teacher import Teacher, live
from autostudent.teach.view_files import read_view, whole_files, write_view

CODE = 1  # a change of what the files hold must change this number: it is part of the key
CHUNK = 20_000  # pictures that one piece of work covers, rounded up to whole views
PROBES = 64  # pictures compared with the live teacher
COSINE = 0.999
FORM = Form()  # all logits, in half precision

log = logging.getLogger(__name__)


class Map(Protocol):
    """Applies a picklable function to every item, here or elsewhere; like the built-in ``map``."""

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterable[Any]: ...


@dataclass(frozen=True)
class Knowledge:
    """A teacher's logits on a bank. ``paths``: the file of each view. ``seconds``: what it took to compute them."""

    paths: tuple[Path, ...]
    seconds: float = 0.0
    form: Form = FORM

    def rows(self, view: int) -> np.ndarray:
        """One view as packed by the form, memory-mapped. Raises `IndexError` outside the bank."""
        return read_view(self.paths[view])

    @classmethod
    def open(cls, assets: Assets, teacher_key: str, bank: ViewBank, form: Form = FORM) -> Knowledge:
        """What `ensure` made, every file checked. Raises `AssetError` when it is missing or was altered."""
        entry = assets.entry("knowledge", key_of(teacher_key, bank, form))
        if not entry.complete:
            raise AssetError(f"there is no knowledge of teacher {teacher_key} in {entry.folder}; run the study again")
        found = whole_files(entry.folder)
        if sorted(found) != list(range(bank.views)):
            raise AssetError(
                f"{entry.folder} has files that are missing or altered; run the study again to rebuild them"
            )
        paths = tuple(found[number] for number in range(bank.views))
        return cls(paths, float(entry.manifest().get("seconds", 0.0)), form)

    @classmethod
    def ensure(
        cls,
        assets: Assets,
        teacher: Teacher,
        bank: ViewBank,
        *,
        map: Map = map,
        form: Form = FORM,
        device: str | None = None,
    ) -> Knowledge:
        """Makes or completes what a teacher says of a bank, and compares samples with the live teacher.

        Args:
            assets: where it is kept.
            teacher: the frozen teacher.
            bank: the views.
            map: spreads chunks of views over processes.
            form: of the stored logits.
            device: where ``map`` puts the work; the teacher's own by default.

        Raises:
            AssetError: when the stored logits are not this teacher's.
        """
        entry = assets.entry("knowledge", key_of(teacher.key, bank, form))
        there = whole_files(entry.folder, remove=True)
        missing = [number for number in range(bank.views) if number not in there]
        if entry.complete and missing:
            log.warning("knowledge of %s: %d altered or missing views are computed anew", teacher.name, len(missing))
        started = time.perf_counter()
        if missing:
            size = max(1, -(-CHUNK // len(bank.x)))
            chunks = [missing[start : start + size] for start in range(0, len(missing), size)]
            for _ in map(
                partial(write_views, teacher, bank, form, str(entry.folder), device or str(teacher.device)), chunks
            ):
                pass
        if missing or not entry.complete:
            commit(entry, teacher, bank, form, time.perf_counter() - started)
        knowledge = cls.open(assets, teacher.key, bank, form)
        knowledge.compare(teacher, bank)
        return knowledge

    def compare(self, teacher: Teacher, bank: ViewBank) -> None:
        """Raises `AssetError` unless stored and live logits of some samples agree (cosine at least `COSINE`)."""
        rng = np.random.default_rng(0)
        for number in {0, bank.views - 1}:
            places = np.sort(rng.choice(len(bank.x), min(PROBES, len(bank.x)), replace=False))
            chosen = torch.from_numpy(places)
            stored = self.form.reader(self.rows(number), teacher.info.classes, "cpu")(chosen)
            now = predict(teacher.module, bank.view(number, teacher.device)[chosen], teacher.device)
            now = self.form.reader(self.form.pack(now), teacher.info.classes, "cpu")(torch.arange(len(now)))
            cosine = float(torch.cosine_similarity(stored.double(), now.double(), dim=1).min())
            if not cosine >= COSINE:
                raise AssetError(
                    f"{self.paths[number].parent} does not hold what teacher {teacher.name} says "
                    f"(cosine {cosine:.4f}); delete the folder and run again"
                )


def stored(teacher: Teacher, knowledge: Knowledge, maps: Maps | None = None) -> Source:
    """A teacher as the training loop sees it: read where a batch is a view of the bank, asked for anything else.

    ``maps``: where taps are kept; without it, and where they would take too much, taps are asked for.
    """
    asked = live(teacher)
    held: dict[int, Callable[[Tensor], Tensor]] = {}  # the view that is trained on now, where the teacher is

    def outputs(batch: Batch, taps: Sequence[str]) -> Output:
        if batch.view is None or (taps and (maps is None or not all(map(maps.fit, taps)))):
            return asked.outputs(batch, taps)
        if batch.view not in held:
            held.clear()
            held[batch.view] = knowledge.form.reader(knowledge.rows(batch.view), teacher.info.classes, teacher.device)
        found = {tap: maps.read(batch.view, tap)(batch.index) for tap in taps} if maps is not None else {}
        return Output(held[batch.view](batch.index), found)

    return Source(asked.info, outputs, asked.module, asked.fresh)


def key_of(teacher_key: str, bank: ViewBank, form: Form) -> str:
    """Digest of everything that decides the stored logits."""
    return digest({"code": CODE, "teacher": teacher_key, "bank": bank.address, **form.about})


def write_views(teacher: Teacher, bank: ViewBank, form: Form, folder: str, device: str, numbers: list[int]) -> None:
    """Computes and stores some views; runs wherever `Map` puts it, on the ``device`` of that place."""
    if teacher.device != torch.device(device):
        teacher = replace(teacher, module=teacher.module.to(device), device=torch.device(device))
    for number in numbers:
        with sharing(teacher.device):
            said = predict(teacher.module, bank.view(number, teacher.device), teacher.device)
        write_view(Path(folder), number, form.pack(said))


def commit(entry: Entry, teacher: Teacher, bank: ViewBank, form: Form, seconds: float) -> None:
    """Writes the manifest; ``seconds`` are those of the views that were missing."""
    about = {"teacher": teacher.key, "bank": bank.address, "views": bank.views, **form.about, "code": CODE}
    entry.commit({}, {**about, "seconds": seconds})
