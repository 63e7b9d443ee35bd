"""The pure losses on what networks hold inside: maps, embeddings and the relations among them.

Letters: B batch, D features, H and W pixels, M modalities. Maps are ``(B, channels, H, W)``, embeddings ``(B, D)``.
Those of student and teacher may differ in channels and in D; `alike` brings maps to one size. Every function gives
``(B,)`` unless it says otherwise, also where the paper's value belongs to the whole batch: then it is the mean over B.
None waits for the device, and no slope explodes where vectors vanish or samples coincide.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autostudent.distill.losses import widened

VANISHED = 1e-24  # squared length of a vector that has no direction
SAME = 1e-12  # squared distance of two samples that count as one


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


def steps(embeddings: Tensor) -> Tensor:
    """e_j - e_i at [i, j], ``(B, B, D)``."""
    wide = widened(embeddings)
    return wide[None] - wide[:, None]


def distances(embeddings: Tensor) -> Tensor:
    """‖e_i - e_j‖ over the mean of those that are not zero, ``(B, B)``."""
    squares = steps(embeddings).square().sum(2)
    apart = squares > SAME
    found = torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)
    return found / torch.where(apart.any(), found.sum() / apart.sum().clamp_min(1), 1.0)


def angles(embeddings: Tensor) -> Tensor:
    """cos of the angle at sample i between samples j and k, ``(B, B, B)``; 0 where one of them is i, or lies on it."""
    sides = unit(steps(embeddings), SAME)
    return sides @ sides.transpose(1, 2)


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j of huber(`distances`_ij of the student, of the teacher) (Park et al. 2019, arXiv 1904.05068).

    huber(x, y) = (x - y)² / 2 where |x - y| < 1, |x - y| - 1/2 elsewhere. The mean over all B² pairs is the authors'.
    """
    return F.smooth_l1_loss(distances(student), distances(teacher), reduction="none").mean(1)


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j and k of huber(`angles`_ijk of the student, of the teacher) (Park et al. 2019, arXiv 1904.05068)."""
    return F.smooth_l1_loss(angles(student), angles(teacher), reduction="none").mean((1, 2))


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
