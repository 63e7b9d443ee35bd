"""Intervals for claims: means over training seeds, paired differences, gaps between networks on the same pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import ndtri, stdtrit  # quantiles; scipy.stats would take a second to import
from torch import Tensor


def pack(correct: Tensor) -> str:
    """A boolean vector ``(n,)`` as hexadecimal digits, eight pictures a byte."""
    bits = torch.nn.functional.pad(correct.to(torch.uint8), (0, -len(correct) % 8)).reshape(-1, 8)
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8)
    return bytes((bits * weights).sum(1, dtype=torch.uint8).tolist()).hex()


def unpack(text: str, count: int) -> Tensor:
    """The boolean vector ``(count,)`` that `pack` wrote."""
    data = torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8)
    return (data[:, None] & weights).ne(0).flatten()[:count]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, in the units of the values."""

    mean: float
    low: float
    high: float
    sd: float
    n: int


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval of a mean over independent replicates; with one value it is infinite."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return Interval(mean, -math.inf, math.inf, math.nan, n)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * sd / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, sd, n)


def gap(teacher: Tensor, students: Sequence[Tensor], level: float = 0.95) -> Interval:
    """Teacher's accuracy minus the students' mean accuracy, with an interval for training seed *and* test pictures.

    ``teacher`` and each of ``students`` are boolean ``(n,)``: which test pictures were classified correctly. The two
    variances add: that of the mean over seeds (t with seeds - 1 degrees of freedom) and that of the paired
    differences over pictures.
    """
    differences = [float((teacher.float() - student.float()).mean()) for student in students]
    return with_pictures(interval(differences, level), [teacher], students, level)


def with_pictures(found: Interval, ours: Sequence[Tensor], theirs: Sequence[Tensor], level: float = 0.95) -> Interval:
    """An interval over training seeds, of the difference of two accuracies, widened for the choice of test pictures.

    ``ours`` and ``theirs``: boolean ``(n,)``, one a training, which of the same pictures were classified correctly. Two
    networks of equal accuracy differ on the pictures at hand however many seeds train them.
    """
    right = [torch.stack([one.double() for one in each]).mean(0) for each in (ours, theirs)]
    differences = right[0] - right[1]
    pictures = float(differences.std()) / math.sqrt(len(differences)) * float(ndtri(0.5 + level / 2))
    half = math.hypot(found.high - found.mean, pictures)
    return Interval(found.mean, found.mean - half, found.mean + half, found.sd, found.n)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The mean paired difference ours - theirs over seeds."""
    return interval([a - b for a, b in zip(ours, theirs, strict=True)])


def welch(ours: Sequence[float], theirs: Sequence[float], level: float = 0.95) -> Interval:
    """The difference of two means over unpaired seeds, with Welch's interval (unequal variances)."""
    a, b = interval(ours, level), interval(theirs, level)
    mean = a.mean - b.mean
    if min(a.n, b.n) < 2:
        return Interval(mean, -math.inf, math.inf, math.nan, min(a.n, b.n))
    va, vb = a.sd**2 / a.n, b.sd**2 / b.n
    if va + vb == 0:
        return Interval(mean, mean, mean, 0.0, min(a.n, b.n))
    degrees = (va + vb) ** 2 / (va**2 / (a.n - 1) + vb**2 / (b.n - 1))
    half = float(stdtrit(degrees, 0.5 + level / 2)) * math.sqrt(va + vb)
    return Interval(mean, mean - half, mean + half, math.sqrt(va + vb), min(a.n, b.n))
