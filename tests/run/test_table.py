from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest

from autostudent.errors import DataError
from autostudent.records import Candidate, Result, Segment
from autostudent.run.table import TableWorker

ONE = Candidate({"kd.loss": "kd"}, 1)
FRAME = pd.DataFrame(
    {"key": [ONE.key, ONE.key], "epoch": [3, 9], "accuracy": [0.4, 0.6], "seconds": [0.1, 0.3], "nll": [1.5, 1.0]}
)


def test_answers_the_segment_that_ends_there() -> None:
    worker = TableWorker.from_frame(FRAME)
    assert worker.run(Segment(0, ONE, 3, 9)) == Result(
        epoch=9, values={"accuracy": 0.6}, metrics={"nll": 1.0}, seconds={"student": 0.3}
    )


def test_candidates_may_have_names_of_their_own() -> None:
    rows = {("kd", 3): Result(epoch=3, values={"accuracy": 0.5})}
    worker = TableWorker(rows, name=lambda candidate: str(candidate.config["kd.loss"]))
    assert worker.run(Segment(0, ONE, 0, 3)).values == {"accuracy": 0.5}


def test_pace_waits_in_proportion() -> None:
    started = time.perf_counter()
    TableWorker.from_frame(FRAME, pace=0.5).run(Segment(0, ONE, 3, 9))
    assert 0.15 <= time.perf_counter() - started < 1


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_reads_files(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"table.{suffix}"
    FRAME.to_parquet(file) if suffix == "parquet" else FRAME.to_csv(file, index=False)
    assert TableWorker.read(file).rows == TableWorker.from_frame(FRAME).rows


def test_bad_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column accuracy; it has key, epoch"):
        TableWorker.from_frame(FRAME.drop(columns="accuracy"))
    with pytest.raises(DataError, match=r"two rows for key .* and epoch 3"):
        TableWorker.from_frame(pd.concat([FRAME, FRAME]))
    with pytest.raises(DataError, match=r"no row for key .* and epoch 27"):
        TableWorker.from_frame(FRAME).run(Segment(0, ONE, 9, 27))
    with pytest.raises(DataError, match="cannot be read as a table"):
        TableWorker.read(tmp_path / "missing.parquet")
    with pytest.raises(DataError, match=r"expected a .parquet or .csv"):
        TableWorker.read(tmp_path / "table.xlsx")
