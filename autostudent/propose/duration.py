"""How long a training takes: the price that differs between students, read from the record.

Costs such as parameters do not tell it: a deep, narrow network with few parameters is slow. The logarithm of the
seconds an epoch took is regressed on the same columns that the model of accuracy sees (ridge, so that a short record
says little and a candidate unlike all others gets the average).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autostudent.records import Trial

FEWEST = 4  # trials whose seconds are known, below which all trainings count alike
RIDGE = 3.0
LARGEST = 4.0  # no candidate counts as more than so many times slower or faster than the average
COLUMNS = ("student", "private")  # of the ledger: what this training alone had to pay


class Durations:
    """Relative durations of trainings, 1 being the average of the record."""

    def __init__(self, trials: Sequence[Trial], rows: np.ndarray) -> None:
        """``rows`` (n, d) describe the n trials."""
        spent = np.array([_seconds_per_epoch(trial) for trial in trials], dtype=float)
        known = np.isfinite(spent) & (spent > 0)
        self._weights: np.ndarray | None = None
        if known.sum() < FEWEST or np.ptp(spent[known]) == 0:
            return
        x, y = rows[known], np.log(spent[known])
        self._centre = x.mean(axis=0)
        x = x - self._centre
        self._weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (y - y.mean()))

    def relative(self, rows: np.ndarray) -> np.ndarray:
        """(n,) expected durations of candidates described by ``rows`` (n, d), in averages."""
        if self._weights is None:
            return np.ones(len(rows))
        return np.exp(np.clip((rows - self._centre) @ self._weights, -np.log(LARGEST), np.log(LARGEST)))


def _seconds_per_epoch(trial: Trial) -> float:
    """Seconds an epoch of one trial took on average; NaN where none is known."""
    epochs = [0, *(result.epoch for result in trial.results)]
    spent = trained = 0.0
    for before, result in zip(epochs, trial.results, strict=False):
        seconds = sum(result.seconds.get(column, 0.0) for column in COLUMNS)
        if result.epoch > before and seconds > 0:
            spent, trained = spent + seconds, trained + result.epoch - before
    return spent / trained if trained else float("nan")
