"""The optimizer's benchmark runs on any table of trained networks, and shows what the proposers are worth."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "optimizer.py"


def write_table(path: Path) -> None:
    """Four edges of four operations; the accuracy rises with the cost, short trainings are a noisy copy."""
    rng = np.random.default_rng(0)
    rows = []
    for ops in itertools.product(range(4), repeat=4):
        cost = 10 + sum((0, 0, 5, 20)[op] for op in ops)
        accuracy = 60 + 8 * np.log(cost) - 6 * (ops[0] == 0) - 4 * (ops[2] == 1) + rng.normal()
        rows.append([*ops, cost, min(accuracy, 99), min(accuracy, 99) - 15 + 2 * rng.normal()])
    pd.DataFrame(rows, columns=["a", "b", "c", "d", "cost", "accuracy", "short"]).to_csv(path, index=False)


@pytest.mark.slow
def test_side_by_side_on_a_small_table(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    command = [sys.executable, str(SCRIPT), "--table", str(tmp_path / "table.csv"), "--variables", "a,b,c,d"]
    command += ["--error", "accuracy", "--costs", "cost", "--low-fidelity", "short", "--low-cost", "0.1"]
    command += ["--trials", "25", "--seeds", "2", "--json", str(tmp_path / "out.json")]
    command += ["--only", "random,evolution,bayes,bayes:no-costs,bayes:low-fidelity,optuna:tpe"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "| bayes | 2 |" in printed
    results = {entry["name"]: entry for entry in json.loads((tmp_path / "out.json").read_text())["results"]}
    assert set(results) == set(command[-1].split(","))
    assert all(0 < value <= 1 + 1e-9 for entry in results.values() for curve in entry["curves"] for value in curve)
    assert results["bayes"]["mean"][-1] > results["random"]["mean"][-1]


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    command = [sys.executable, str(SCRIPT), "--table", str(tmp_path / "table.csv"), "--variables", "a,z"]
    run = subprocess.run(
        [*command, "--error", "accuracy", "--costs", "cost"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "no column ['z']" in run.stderr


def refusal(tmp_path: Path, *more: str) -> str:
    """What a call with these options on top says when it refuses."""
    write_table(tmp_path / "table.csv")
    command = [sys.executable, str(SCRIPT), "--table", str(tmp_path / "table.csv"), "--variables", "a,b,c,d"]
    run = subprocess.run(
        [*command, "--error", "accuracy", "--costs", "cost", *more], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    return run.stderr


def test_unknown_optimisers_and_cells_are_refused(tmp_path: Path) -> None:
    assert "--only baies: not among random" in refusal(tmp_path, "--only", "baies")
    assert "one operation for each of the choices 0, 1, 2, 3" in refusal(tmp_path, "--cell", "none,skip")
    assert "are no edges" in refusal(tmp_path, "--cell", "none,skip,pool,conv")


@pytest.mark.slow
def test_a_table_of_cells_and_a_peer(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv")
    frame = pd.read_csv(tmp_path / "table.csv").rename(columns={"a": "e0_1", "b": "e0_2", "c": "e1_2", "d": "e0_3"})
    frame.to_csv(tmp_path / "table.csv", index=False)
    command = [
        sys.executable,
        str(SCRIPT),
        "--table",
        str(tmp_path / "table.csv"),
        "--variables",
        "e0_1,e0_2,e1_2,e0_3",
    ]
    command += ["--error", "accuracy", "--costs", "cost", "--cell", "none,skip,pool,conv", "--trials", "13"]
    command += ["--seeds", "1", "--only", "bayes:graph,botorch:qlognehvi", "--json", str(tmp_path / "out.json")]
    subprocess.run(command, check=True, capture_output=True)
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [entry["name"] for entry in results] == ["bayes:graph", "botorch:qlognehvi"]
    assert all(0 < value <= 1 + 1e-9 for entry in results for curve in entry["curves"] for value in curve)
