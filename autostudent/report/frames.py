"""Trials and fronts as pandas data frames, one student a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

FIRST = ("trial", "accuracy", "params", "macs", "memory_bytes", "method", "teachers", "state", "epoch")


def front_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Store rows as a frame indexed by trial: objectives and costs first, ``candidate`` and files left out.

    Columns of the configuration are named as in the search space, with a leading ``config.``.
    """
    frame = pd.DataFrame([flat(row) for row in rows])
    if frame.empty:
        return pd.DataFrame(columns=list(FIRST[1:]), index=pd.Index([], name="trial"))
    first = [name for name in FIRST if name in frame.columns]
    return frame[first + [name for name in frame.columns if name not in first]].set_index("trial")


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without nested values: the configuration and the seconds get a column each, a failure one in words."""
    plain = {name: value for name, value in row.items() if not isinstance(value, Mapping) and name != "failure"}
    if row.get("failure"):
        plain["failure"] = f"{row['failure']['cause']}: {row['failure']['message']}"
    if isinstance(plain.get("teachers"), list):
        plain["teachers"] = ", ".join(plain["teachers"])
    config = row.get("candidate", {}).get("config", {})
    seconds = row.get("seconds", {})
    return {
        **plain,
        **{f"seconds.{name}": value for name, value in seconds.items()},
        **{f"config.{name}": value for name, value in config.items()},
    }
