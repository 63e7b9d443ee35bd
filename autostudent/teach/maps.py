"""A frozen teacher's taps on the views of a bank: stored when a training first asks for them, then memory-mapped.

An entry ("taps", key) holds one file a view, ``(N, H, W, channels)`` or ``(N, D)`` in half precision. Whoever needs a
view that is not there makes it; two who make it at once write the same. Its seconds are the first training's own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from autostudent.assets import Assets
from autostudent.data.views import ViewBank, images
from autostudent.errors import AssetError
from autostudent.measure.predict import BATCH, at_once, seen
from autostudent.records import digest
from autostudent.teach.teacher import LARGEST, Teacher
from autostudent.teach.view_files import read_view, whole_files, write_view

CODE = 1  # a change of what the files hold must change this number: it is part of the key
LIMIT = 2 << 30  # bytes of one tap of one teacher on a whole bank; a larger one is asked for live
PROBES, COSINE = 16, 0.999  # pictures compared with the live teacher

log = logging.getLogger(__name__)


class Maps:
    """The taps of one teacher on one bank."""

    def __init__(self, assets: Assets, teacher: Teacher, bank: ViewBank, limit: int = LIMIT) -> None:
        self.assets, self.teacher, self.bank, self.limit = assets, teacher, bank, limit
        self._bytes: dict[str, int] = {}
        self._held: dict[str, tuple[int, Tensor]] = {}  # by tap: the view that is trained on now

    def folder(self, tap: str) -> Path:
        """Where the views of a tap lie."""
        about = {"code": CODE, "teacher": self.teacher.key, "bank": self.bank.address, "tap": tap}
        return self.assets.entry("taps", digest(about)).folder

    def fit(self, tap: str) -> bool:
        """Whether all views of a tap are small enough to be stored."""
        if tap not in self._bytes:
            self._bytes[tap] = 2 * self._ask(self.bank.x[:1], tap).numel() * len(self.bank.x) * self.bank.views
        return self._bytes[tap] <= self.limit

    def read(self, view: int, tap: str) -> Callable[[Tensor], Tensor]:
        """A function from positions ``(B,)`` to the tap ``(B, channels, H, W)`` or ``(B, D)``, float32, of one view."""
        if self._held.get(tap, (-1,))[0] != view:
            mapped = torch.from_numpy(read_view(self._file(view, tap)))
            self._held[tap] = (view, mapped.to(self.teacher.device))
        whole = self._held[tap][1]
        if whole.ndim == 2:
            return lambda index: whole[index].float()
        return lambda index: whole[index].float().permute(0, 3, 1, 2)  # in channels_last, as a network gives it

    def _file(self, view: int, tap: str) -> Path:
        """The file of a view, made when it is missing or was altered."""
        folder, digits = self.folder(tap), f"{view:05}"
        there = len([*folder.glob(f"view-{digits}-*")])
        whole = whole_files(folder, digits, remove=True)
        if view in whole:
            self._compare(whole[view], view, tap)
            return whole[view]
        if there:
            log.warning("%s of %s: view %d was altered and is computed anew", tap, self.teacher.name, view)
        pictures = self.bank.view(view, self.teacher.device)
        together = min(BATCH, at_once(*seen(self.teacher.module, *pictures.shape[-2:])))
        pieces = [self._ask(piece, tap) for piece in pictures.split(together)]
        return write_view(folder, view, torch.cat(pieces).numpy())

    @torch.no_grad()
    def _ask(self, x: Tensor, tap: str) -> Tensor:
        """What the teacher has at a tap for pictures ``(n, C, H, W)`` uint8, in the form and precision of the files."""
        teacher = self.teacher
        found = teacher.module.features(images(x.to(teacher.device)), (tap,))[1][tap]  # type: ignore[operator]
        found = found.clamp(-LARGEST, LARGEST).half().cpu()
        return (found.permute(0, 2, 3, 1) if found.ndim == 4 else found).contiguous()

    def _compare(self, path: Path, view: int, tap: str) -> None:
        """Raises `AssetError` unless stored and live maps of the first pictures agree (cosine at least `COSINE`)."""
        stored = torch.from_numpy(read_view(path)[:PROBES]).flatten(1)
        now = self._ask(self.bank.view(view, self.teacher.device)[:PROBES], tap).flatten(1)
        same = stored.shape == now.shape
        cosine = float(torch.cosine_similarity(stored.double().ravel(), now.double().ravel(), dim=0)) if same else 0.0
        if not cosine >= COSINE:
            raise AssetError(
                f"{path.parent} does not hold {tap} of teacher {self.teacher.name} (cosine {cosine:.4f}); "
                "delete the folder and run again"
            )
