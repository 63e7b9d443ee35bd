"""How good predictions are: pure functions of logits ``(N, C)`` and labels ``(N,)``, computed in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest logit is the label's."""
    return float((logits.argmax(1) == labels).double().mean())


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    return float(F.cross_entropy(logits.double(), labels))


def confidence(logits: Tensor) -> float:
    """Mean of the largest probability."""
    return float(logits.double().softmax(1).amax(1).mean())


def ece(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: sum over bins of (share of samples) |accuracy - confidence|.

    ``bins`` of equal width over the largest probability; bin b holds (b/bins, (b+1)/bins].
    Guo et al. 2017, arXiv 1706.04599.
    """
    sure, guess = logits.double().softmax(1).max(1)
    right = (guess == labels).double()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=logits.device)[1:-1]
    place = torch.bucketize(sure, edges)
    gap = torch.zeros(bins, dtype=torch.float64, device=logits.device).index_add_(0, place, right - sure)
    return float(gap.abs().sum() / len(labels))


def agreement(logits: Tensor, teacher_logits: Tensor) -> float:
    """Share of samples for which student and teacher choose the same class."""
    return float((logits.argmax(1) == teacher_logits.argmax(1)).double().mean())


def quality(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> dict[str, float]:
    """Every figure above by name; "agreement" only with a teacher's logits."""
    figures = {
        "accuracy": accuracy(logits, labels),
        "nll": nll(logits, labels),
        "ece": ece(logits, labels),
        "confidence": confidence(logits),
    }
    if teacher_logits is not None:
        figures["agreement"] = agreement(logits, teacher_logits)
    return figures
