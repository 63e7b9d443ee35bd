"""A table instead of a training: segments answered from results that were measured before.

It lets a whole search run in seconds, on any runner: to compare proposers, to test what happens after a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from autostudent.errors import DataError
from autostudent.records import Candidate, Result, Segment

if TYPE_CHECKING:
    import pandas as pd


def by_key(candidate: Candidate) -> str:
    """The candidate's own key."""
    return candidate.key


class TableWorker:
    """A `autostudent.run.base.Worker` that looks every segment up.

    Args:
        rows: results by (name of the candidate, epoch at which the segment ends).
        name: the name of a candidate in the table; its key unless told otherwise.
        pace: seconds to wait for every second that a row says it took ("student" and "private" together).
    """

    def __init__(
        self, rows: Mapping[tuple[str, int], Result], name: Callable[[Candidate], str] = by_key, pace: float = 0.0
    ) -> None:
        self.rows = rows
        self.name = name
        self.pace = pace

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        values: Sequence[str] = ("accuracy",),
        name: Callable[[Candidate], str] = by_key,
        pace: float = 0.0,
    ) -> Self:
        """One row per segment: columns ``key``, ``epoch``, those of ``values``, and ``seconds`` if known.

        Every other numeric column becomes a metric.

        Raises:
            DataError: when a column is missing, or two rows have the same key and epoch.
        """
        if missing := {"key", "epoch", *values} - set(frame.columns):
            raise DataError(f"the table has no column {', '.join(sorted(missing))}; it has {', '.join(frame.columns)}")
        twice = frame.duplicated(["key", "epoch"])
        if twice.any():
            first = frame[twice].iloc[0]
            raise DataError(f"the table has two rows for key {first['key']!r} and epoch {first['epoch']}")
        numeric = frame.select_dtypes("number").columns
        metrics = [column for column in numeric if column not in {"key", "epoch", "seconds", *values}]
        rows = {}
        for row in frame.to_dict("records"):
            result = Result(
                epoch=int(row["epoch"]),
                values={column: float(row[column]) for column in values},
                metrics={column: float(row[column]) for column in metrics},
                seconds={"student": float(row["seconds"])} if "seconds" in row else {},
            )
            rows[str(row["key"]), result.epoch] = result
        return cls(rows, name, pace)

    @classmethod
    def read(
        cls,
        path: Path,
        values: Sequence[str] = ("accuracy",),
        name: Callable[[Candidate], str] = by_key,
        pace: float = 0.0,
    ) -> Self:
        """`from_frame` for a ``.parquet`` or ``.csv`` file."""
        import pandas as pd

        if path.suffix not in (".parquet", ".csv"):
            raise DataError(f"{path}: expected a .parquet or .csv file")
        try:
            frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"key": str})
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as a table ({error})") from None
        return cls.from_frame(frame, values, name, pace)

    def run(self, segment: Segment) -> Result:
        """The recorded result. Raises `DataError` when the table has none."""
        name = self.name(segment.candidate)
        result = self.rows.get((name, segment.until_epoch))
        if result is None:
            raise DataError(f"the table has no row for key {name!r} and epoch {segment.until_epoch}")
        if self.pace:
            time.sleep(self.pace * sum(result.seconds.get(column, 0.0) for column in ("student", "private")))
        return result
