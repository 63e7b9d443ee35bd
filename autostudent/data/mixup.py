"""MixUp: every picture of a view blended with another one of it. Zhang et al. 2018, arXiv 1710.09412.

Sample i becomes λ x_i + (1 - λ) x_j and its label target λ t_i + (1 - λ) t_j, λ ~ Beta(α, α), j drawn evenly.

Note: the sample itself keeps the larger share, max(λ, 1 - λ), as in MixMatch (Berthelot et al. 2019, 1905.02249). That
changes nothing in how evenly drawn pairs are distributed, but every picture is now the larger part of one blend a view,
and what is known of sample i is known of most of what is seen. The paper's code draws one λ a mini-batch and permutes
it for partners; here both belong to the sample, because a stored view knows no mini-batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from autostudent.data.pixels import chunk, mix64

CODE = 1  # a change of who is mixed with whom, or how, must change this number: it is part of a mixed bank's address
UNIT = 1 << 16  # shares are counted in whole parts of this, so that every device rounds alike


@dataclass(frozen=True)
class Mixing:
    """``partner`` ``(N,)`` int64: position of j. ``share`` ``(N,)`` int32: λ in parts of `UNIT`, more than half."""

    partner: Tensor
    share: Tensor

    def to(self, device: torch.device | str) -> Mixing:
        """The same on a device."""
        return Mixing(self.partner.to(device), self.share.to(device))

    def pixels(self, view: Tensor) -> Tensor:
        """The blends ``(N, C, H, W)`` uint8 of the pictures of a view, rounded to the nearest level, halves upwards."""
        mixed, size = torch.empty_like(view), chunk(view.device, 8 * view[0].numel())
        rest = (UNIT - self.share)[:, None, None, None]
        pieces = (whole.split(size) for whole in (view, self.partner, rest, mixed))
        for own, partner, weight, out in zip(*pieces, strict=True):
            apart = view.index_select(0, partner).to(torch.int32).sub_(own)
            out.copy_(apart.mul_(weight).add_(UNIT // 2).bitwise_right_shift_(16).add_(own))
        return mixed

    def targets(self, soft: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Label probabilities ``(B, C)`` of the samples at ``index`` ``(B,)``.

        Args:
            soft: those of an unmixed picture of each class, ``(C, C)``.
            labels: of all samples, ``(N,)``.
            index: the samples.
        """
        share = (self.share[index].float() / UNIT)[:, None]
        return share * soft[labels[index]] + (1 - share) * soft[labels[self.partner[index]]]


def pairs(alpha: float, bits: np.ndarray, held: np.ndarray) -> Mixing:
    """Partner and share of each sample from its ``bits`` ``(N,)`` uint64, those that already placed its crop.

    Samples at the positions ``held``, and the others, find partners among themselves: a meta split's pictures are
    never part of what is trained on beside it, nor the other way round.
    """
    fresh, inside = mix64(bits), np.zeros(len(bits), dtype=bool)
    inside[held] = True
    partner = np.empty(len(bits), np.int64)
    for side in (np.flatnonzero(inside), np.flatnonzero(~inside)):
        if len(side):
            partner[side] = side[(fresh[side] >> 16) % len(side)]
    share = shares(alpha)[fresh & 0xFFFF]
    return Mixing(torch.from_numpy(partner), torch.from_numpy(share))


@lru_cache(maxsize=4)
def shares(alpha: float) -> np.ndarray:
    """max(λ, 1 - λ) at 65,536 evenly spaced quantiles of Beta(α, α), int32 in parts of `UNIT`; never half or less."""
    from scipy.special import betaincinv  # half a second that a worker without MixUp can do without

    quantiles = betaincinv(alpha, alpha, (np.arange(UNIT) + 0.5) / UNIT)
    return np.rint(np.maximum(quantiles, 1 - quantiles) * UNIT).clip(UNIT // 2 + 1).astype(np.int32)
