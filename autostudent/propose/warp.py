"""Monotone maps between a measured loss and the scale on which it is modelled.

Any monotone map leaves the acquisition exact: it only moves the levels at which probabilities are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from autostudent.records import Objective

BEYOND_BEST = 0.1  # how far below the best the floor lies, in distances from the best to the reference
LEAST_SPAN = 0.1  # the least such distance of a rate: one picture of a few hundred is no leap
SOFTENING = 0.01  # keeps the logit finite at no error, and one picture of a few hundred from looking like a leap


@dataclass(frozen=True)
class Warp:
    """``model = f((loss - low) / width)``, f being the logit for rates and the logarithm for all else.

    Losses are minimised: a maximised accuracy a enters as -a, so that its error is ``loss + 1``.
    """

    low: float
    width: float
    rate: bool

    def to_model(self, loss: np.ndarray) -> np.ndarray:
        """Modelled values; losses below ``low`` (better than anything seen) stay finite."""
        unit = (np.asarray(loss, dtype=float) - self.low) / self.width
        if self.rate:
            return logit(np.clip((unit + SOFTENING) / (1 + 2 * SOFTENING), 1e-9, 1 - 1e-9))
        return np.log(np.maximum(unit, 1e-9))

    def to_loss(self, model: np.ndarray) -> np.ndarray:
        """The inverse of `to_model`."""
        if self.rate:
            return self.low + self.width * (expit(model) * (1 + 2 * SOFTENING) - SOFTENING)
        return self.low + self.width * np.exp(model)

    def log_slope(self, loss: np.ndarray) -> np.ndarray:
        """Logarithm of the derivative of `to_model`: turns a density of modelled values into one of losses."""
        unit = (np.asarray(loss, dtype=float) - self.low) / self.width
        if self.rate:
            share = np.clip((unit + SOFTENING) / (1 + 2 * SOFTENING), 1e-9, 1 - 1e-9)
            return -np.log(share * (1 - share) * (1 + 2 * SOFTENING) * self.width)
        return -np.log(np.maximum(unit, 1e-9) * self.width)


def possible_warps(objective: Objective, losses: Sequence[float], reference: float) -> tuple[Warp, ...]:
    """The logarithm of the distance to a floor just below the best; before it the logit, where values are in [0, 1].

    ``losses`` are the finite ones measured so far, possibly none. The logit of an error rate promises every student a
    chance of half of the best error, which is right where errors go on falling, and wrong where the best crowd
    together because the rest is not for a network to remove: the record has to say which.
    """
    shift = -1.0 if objective.direction == "maximize" else 0.0
    rate = all(shift <= loss <= shift + 1 for loss in [*losses, reference])
    best = min([*losses, reference])
    span = max(reference - best, LEAST_SPAN if rate else 1e-3 * abs(reference), 1e-12)
    floored = Warp(best - BEYOND_BEST * span, span, rate=False)
    return (Warp(shift, 1.0, rate=True), floored) if rate else (floored,)


def choose_reference(objective: Objective, losses: Sequence[float]) -> float:
    """The worst minimised loss that still counts: the objective's own, its limit, or a value read from the record.

    The record's value lies three times as far behind the best as the median does, within what was seen.
    """
    for given in (objective.reference, objective.limit):
        if given is not None:
            return given if objective.direction == "minimize" else -given
    if not losses:
        return 0.0 if objective.direction == "maximize" else 1.0
    best, middle, worst = np.min(losses), np.median(losses), np.max(losses)
    return float(max(min(best + 3 * (middle - best), worst), best + 1e-3 * max(abs(best), 1e-3)))
