"""The pure losses on what networks hold inside: maps, embeddings and the relations among them.

Letters: B batch, D features, H and W pixels, M modalities. Maps are ``(B, channels, H, W)``, embeddings ``(B, D)``.
Those of student and teacher may differ in channels and in D; `alike` brings maps to one size. Every function gives
``(B,)`` unless it says otherwise, also where the paper's value belongs to the whole batch: then it is the mean over B.
None waits for the device, and no slope explodes where vectors vanish or samples coincide.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from autostudent.distill.losses import widened

VANISHED = 1e-24  # squared length of a vector that has no direction
SAME = 1e-12  # squared distance of two samples that count as one
AT_ONCE = 1 << 24  # numbers in a temporary of the relations of samples: 64 MiB


def alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps at the smaller of their sizes: the larger one is averaged down."""
    size = min(student.shape[-2], teacher.shape[-2]), min(student.shape[-1], teacher.shape[-1])
    own, wanted = (x if x.shape[-2:] == size else F.adaptive_avg_pool2d(x, size) for x in (student, teacher))
    return own, wanted


def unit(x: Tensor, least: float = VANISHED) -> Tensor:
    """x / ‖x‖ over the last dimension; 0, without gradient, where ‖x‖² is not above ``least``."""
    squares = x.square().sum(-1, keepdim=True)
    there = squares > least
    return x * torch.where(there, torch.where(there, squares, 1.0).rsqrt(), 0.0)


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """mean (r - t)² over channels and pixels, r the student's map brought to the teacher's channels and size.

    Romero et al. 2015 (arXiv 1412.6550).
    """
    return (widened(student) - widened(teacher)).square().flatten(1).mean(1)


def attention(maps: Tensor) -> Tensor:
    """Q = a / ‖a‖, ``(B, H W)``, with a = mean over channels of F² at each pixel (Zagoruyko, Komodakis 2017)."""
    return unit(widened(maps).square().mean(1).flatten(1))


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """mean over pixels of (Q_s - Q_t)², maps of one size (Zagoruyko, Komodakis 2017, arXiv 1612.03928).

    The mean instead of the norm is the authors' code's, whose weight of 1000 belongs to it.
    """
    return (attention(student) - attention(teacher)).square().mean(1)


def similarities(maps: Tensor) -> Tensor:
    """G ``(B, B)``: F Fᵀ with each sample's numbers as a row of F, then every row of G at length one."""
    rows = widened(maps).flatten(1)
    return unit(rows @ rows.T)


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ_j (G_s - G_t)²_ij / B for sample i; the mean is ‖G_s - G_t‖²_F / B² (Tung, Mori 2019, arXiv 1907.09682)."""
    return (similarities(student) - similarities(teacher)).square().mean(1)


def by_anchor(function: Callable[..., Tensor], *embeddings: Tensor) -> Tensor:
    """``function(anchors, *embeddings)`` of all samples, ``(B, ...)``, without ever holding more than some of them.

    What it makes of an anchor, a slice of samples, has up to B numbers for each other sample or feature. Where all of
    that is too much, slices follow each other, and each is computed a second time for its gradient.
    """
    count, width = len(embeddings[0]), max(x.shape[1] for x in embeddings)
    step = max(1, AT_ONCE // (count * max(count, width)))
    if step >= count:
        return function(slice(None), *embeddings)
    slices = (slice(start, start + step) for start in range(0, count, step))
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)  # nothing is drawn in it
    return torch.cat([again(function, anchors, *embeddings) for anchors in slices])


def steps(anchors: slice, embeddings: Tensor) -> Tensor:
    """e_j - e_i at [i, j] for the samples i among ``anchors`` ``(A, B, D)``."""
    wide = widened(embeddings)
    return wide[None] - wide[anchors, None]


def distances(embeddings: Tensor) -> Tensor:
    """‖e_i - e_j‖ over the mean of those that are not zero, ``(B, B)``."""
    squares = by_anchor(lambda anchors, x: steps(anchors, x).square().sum(2), embeddings)
    apart = squares > SAME
    found = torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)
    return found / torch.where(apart.any(), found.sum() / apart.sum().clamp_min(1), 1.0)


def angles(anchors: slice, embeddings: Tensor) -> Tensor:
    """cos of the angle at i, among ``anchors``, between samples j and k, ``(A, B, B)``; 0 where j or k lies on i."""
    sides = unit(steps(anchors, embeddings), SAME)
    return sides @ sides.transpose(1, 2)


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j of huber(`distances`_ij of the student, of the teacher) (Park et al. 2019, arXiv 1904.05068).

    huber(x, y) = (x - y)² / 2 where |x - y| < 1, |x - y| - 1/2 elsewhere. The mean over all B² pairs is the authors'.
    """
    return F.smooth_l1_loss(distances(student), distances(teacher), reduction="none").mean(1)


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j and k of huber(`angles`_ijk of the student, of the teacher) (Park et al. 2019, arXiv 1904.05068)."""

    def huber(anchors: slice, own: Tensor, wanted: Tensor) -> Tensor:
        return F.smooth_l1_loss(angles(anchors, own), angles(anchors, wanted), reduction="none").mean((1, 2))

    return by_anchor(huber, student, teacher)


def gram(embeddings: Tensor) -> Tensor:
    """G_mn = cos(f_m, f_n) of each sample's modalities, ``(B, M, M)``, from embeddings ``(B, M, D)``."""
    units = unit(widened(embeddings))
    return units @ units.transpose(1, 2)


def gram_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ_{m≠n} (G_s - G_t)²_mn / (M (M - 1)) of `gram` (after Liu 2021, arXiv 2112.11447; reconstructed).

    The diagonal is one in both and does not count.
    """
    count = student.shape[1]
    apart = (gram(student) - gram(teacher)).square()
    return (apart.sum((1, 2)) - apart.diagonal(dim1=1, dim2=2).sum(1)) / (count * (count - 1))
