"""How a teacher's logits are stored: all of them, or the largest with what the others weigh together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class Form:
    """``dtype``: of stored logits, one of `DTYPES`. ``top``: how many a picture keeps; None, or no fewer classes: all.

    With ``top`` the other C - top logits become one number, the logarithm of the sum of their exponentials: what is
    read back gives each of them the same share of it, so that at temperature 1 the probabilities of the largest are
    exact. The idea is that of Shen and Xing 2021, arXiv 2112.01528 (marginal smoothing).
    """

    dtype: str = "float16"
    top: int | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What decides the stored bytes."""
        return {"dtype": self.dtype, **({"top": self.top} if self.top else {})}

    def pack(self, logits: Tensor) -> np.ndarray:
        """``logits`` ``(N, C)`` float32 as ``(N, C)``, or as ``(N,)`` records of "value", "place" and "rest"."""
        count, classes = logits.shape
        if self.top is None or self.top >= classes:
            return self._narrow(logits)
        value, place = logits.topk(self.top, dim=1)
        others = logits.scatter(1, place, -math.inf)
        rows = np.empty(count, [("value", self.dtype, self.top), ("place", "int32", self.top), ("rest", "float32")])
        rows["value"], rows["place"], rows["rest"] = self._narrow(value), place.numpy(), others.logsumexp(1).numpy()
        return rows

    def _narrow(self, logits: Tensor) -> np.ndarray:
        """In the stored precision; what is beyond its range ends at its largest number, not at infinity."""
        most = float(np.finfo(self.dtype).max)
        return logits.clamp(-most, most).numpy().astype(self.dtype)

    def reader(self, rows: np.ndarray, classes: int, device: torch.device | str) -> Callable[[Tensor], Tensor]:
        """A function from positions ``(B,)`` to logits ``(B, classes)`` float32 on ``device``; ``rows``: as packed."""
        if rows.dtype.names is None:
            whole = torch.from_numpy(rows).to(device)
            return lambda index: whole[index].float()
        parts = (np.ascontiguousarray(rows[name]) for name in rows.dtype.names)
        value, place, rest = (torch.from_numpy(part).to(device) for part in parts)
        share = math.log(classes - place.shape[1])

        def read(index: Tensor) -> Tensor:
            spread = (rest[index] - share)[:, None].repeat(1, classes)
            return spread.scatter_(1, place[index].long(), value[index].float())

        return read
