"""The front as plain rows, kept in the study's attributes so that a reader needs one query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autostudent.records import Objective, Trial, TrialState
from autostudent.store.attributes import StudyAttributes

Row = dict[str, Any]

HEAD = "front"
ROW = "row:"


def row_of(trial: Trial, about: Mapping[str, Any]) -> Row:
    """Everything about one trial in one flat row; objectives and costs win over metrics of the same name.

    ``seconds`` sums each ledger column over the segments; ``assets`` are those of the last one.
    """
    seconds: dict[str, float] = {}
    for result in trial.results:
        for column, value in result.seconds.items():
            seconds[column] = seconds.get(column, 0.0) + value
    last = trial.results[-1] if trial.results else None
    return {
        **(last.metrics if last else {}),
        **about,
        "trial": trial.number,
        "state": str(trial.state),
        **trial.values,
        "epoch": trial.epoch,
        "fingerprint": trial.fingerprint,
        "key": trial.candidate.key,
        "replicate": trial.replicate,
        "seconds": seconds,
        "assets": dict(last.assets) if last else {},
        "candidate": trial.candidate.to_json(),
        "failure": {"cause": str(trial.failure.cause), "message": trial.failure.message} if trial.failure else None,
    }


def nondominated_rows(rows: Iterable[Row], objectives: Sequence[Objective]) -> list[Row]:
    """Rows within every limit and reference that no other such row dominates, by number of trial; equal rows stay."""
    kept = [row for row in rows if all(o.admits(row[o.name]) and o.counts(row[o.name]) for o in objectives)]
    if not kept:
        return []
    import numpy as np

    from autostudent.front import nondominated

    signs = [1.0 if objective.direction == "minimize" else -1.0 for objective in objectives]
    points = np.array([[s * row[o.name] for s, o in zip(signs, objectives, strict=True)] for row in kept])
    mask = nondominated(points)
    return sorted((row for row, on in zip(kept, mask, strict=True) if on), key=lambda row: row["trial"])


class Front:
    """The front of a study in its attributes: ``front`` with a revision and the members, ``row:<trial>`` for each.

    A row never changes once it is written, so a commit writes only what came and went: new rows first, then the list,
    then the rows that left. A crash in between leaves the old front or the new one; `rebuild` sweeps the rest.
    """

    def __init__(self, attributes: StudyAttributes, objectives: Sequence[Objective]) -> None:
        self._attributes = attributes
        self._objectives = objectives

    @property
    def revision(self) -> int:
        """Counts the changes of the front."""
        return self._head()["revision"]

    @property
    def members(self) -> list[int]:
        """Numbers of the trials on the front."""
        return list(self._head()["trials"])

    def rows(self) -> list[Row]:
        """The front's rows by number of trial."""
        return [self._attributes.get(f"{ROW}{number}") for number in self.members]

    def offer(self, row: Row) -> None:
        """Takes a COMPLETE trial in if it belongs to the front."""
        rows = nondominated_rows([*self.rows(), row], self._objectives)
        if row in rows:
            self._write(rows, new=[row])

    def rebuild(self, rows: Iterable[Row]) -> bool:
        """Computes the front anew from the rows of all trials; returns whether that changed it."""
        before = self.revision
        front = nondominated_rows((row for row in rows if row["state"] == TrialState.COMPLETE), self._objectives)
        self._write(front, new=front)
        return self.revision != before

    def _head(self) -> dict[str, Any]:
        return self._attributes.get(HEAD, {"revision": 0, "trials": []})

    def _write(self, rows: Sequence[Row], new: Sequence[Row]) -> None:
        numbers = [row["trial"] for row in rows]
        for row in new:
            self._attributes.set(f"{ROW}{row['trial']}", row)
        if numbers != self.members:
            self._attributes.set(HEAD, {"revision": self.revision + 1, "trials": numbers})
        members = set(numbers)
        for name in self._attributes.names(ROW):
            if int(name) not in members:
                self._attributes.set(f"{ROW}{name}", None)
