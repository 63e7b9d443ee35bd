"""What a look is worth: the rate at which a partial training pays when one may stop after it.

A student costs ``now`` to the next rung and ``rest`` from there to the end; its value (EHVI) counts only at the end.
After the next rung it may be dropped. Its reservation rate is the rate r at which looking just breaks even,

    E[max(0, V' - r rest)] = r now,

V' being the value as it will be believed after the look (Weitzman 1979, "Optimal search for the best alternative"). A
student one rung before the end has rate V / now. So new and paused students are compared in one currency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
HALVINGS = 40


@dataclass(frozen=True)
class Step:
    """Prices, in full trainings, to the next rung and from there to the end."""

    now: float
    rest: float


def reservation_rates(value: Callable[[float], np.ndarray], step: Step) -> np.ndarray:
    """Rates (n,); ``value(u)`` gives the values (n,) after a look that moves the mean by u standard deviations."""
    after = np.stack([value(float(node)) for node in NODES])
    weights = (WEIGHTS / WEIGHTS.sum())[:, None]
    low, high = np.zeros(after.shape[1]), after.max(axis=0) / max(step.now, 1e-9)
    for _ in range(HALVINGS):
        rate = (low + high) / 2
        pays = (weights * np.maximum(after - rate * step.rest, 0.0)).sum(axis=0) > rate * step.now
        low, high = np.where(pays, rate, low), np.where(pays, high, rate)
    return low
