"""Which measurements of a long record the model is conditioned on: conditioning on all would take minutes.

A record of up to `MOST` measurements is remembered whole. Of a longer one the newest are remembered, and of all before
a third each: the best by non-dominated rank, the newest, and an even spread over the rest. What is kept of the older
ones changes every `STEP` measurements only, so that most covariances of one proposal serve the next.

Beyond `LONG` measurements only `MOST_OF_LONG` are remembered, and the model is fitted to two thirds of the usual, taken
from them. On ten thousand networks of NAS-Bench-201 predictions then ranked 2,000 others with .969 instead of .977
(Spearman), and the best tenth of them with .62 instead of .63.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autostudent.front import ranks
from autostudent.propose.targets import Measurement

MOST = 2500
STEP = 250
LONG = 3000  # measurements; three rungs of two thousand students have about 3,500
MOST_OF_LONG = 1750


def remembered(rows: Sequence[Measurement], last: int) -> np.ndarray:
    """Places (k,) in the record's measurements, ascending, k at most `MOST` (`MOST_OF_LONG` beyond `LONG`).

    A function of the record alone.

    Args:
        rows: in commit order.
        last: index of the last rung; only fully trained students can be among the best.
    """
    if len(rows) <= MOST:
        return np.arange(len(rows))
    most = MOST_OF_LONG if is_long(len(rows)) else MOST
    older = len(rows) - len(rows) % STEP
    third = (most - STEP) // 3
    newest = np.arange(older - third, older)
    full = np.array([i for i in range(older - third) if rows[i].level == last], dtype=int)
    points = np.array([[rows[i].loss, *rows[i].others] for i in full])
    best = full[np.argsort(ranks(points, third), kind="stable")[:third]] if len(full) else full
    rest = np.setdiff1d(np.arange(older - third), best)
    even = rest[np.linspace(0, len(rest) - 1, most - STEP - third - len(best)).astype(int)]
    return np.concatenate([np.sort(np.concatenate([best, even])), newest, np.arange(older, len(rows))])


def is_long(rows: int) -> bool:
    """Whether a record of so many measurements is one of which less is looked at."""
    return rows > LONG
