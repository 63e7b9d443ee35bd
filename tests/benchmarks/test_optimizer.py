"""The optimizer's benchmark runs on any table of trained networks, and shows what the proposers are worth."""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import optimizer
from peers import missing, run_peer
from table import Table, read_table

from autostudent.records import Candidate

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


def refusal(tmp_path: Path, *more: str, variables: str = "a,b,c,d") -> str:
    """What a call with these options on top says when it refuses."""
    write_table(tmp_path / "table.csv")
    usual = ["--table", str(tmp_path / "table.csv"), "--variables", variables, "--error", "accuracy", "--costs", "cost"]
    with pytest.raises(SystemExit) as refused:
        optimizer.main([*usual, *more])
    return str(refused.value)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    assert "no column ['z']" in refusal(tmp_path, variables="a,z")
    assert "--only baies: not among random" in refusal(tmp_path, "--only", "baies")
    assert "one operation for each of the choices 0, 1, 2, 3" in refusal(tmp_path, "--cell", "none,skip")
    assert "are no edges" in refusal(tmp_path, "--cell", "none,skip,pool,conv")
    assert "--only bayes:graph: needs --cell" in refusal(tmp_path, "--only", "random,bayes:graph")
    assert "needs --low-fidelity" in refusal(tmp_path, "--only", "bayes:low-fidelity")


def read(tmp_path: Path) -> Table:
    """The table with edges for variables."""
    write_table(tmp_path / "table.csv")
    frame = pd.read_csv(tmp_path / "table.csv").rename(columns={"a": "e0_1", "b": "e0_2", "c": "e1_2", "d": "e0_3"})
    frame.to_csv(tmp_path / "table.csv", index=False)
    options = {"table": str(tmp_path / "table.csv"), "variables": "e0_1,e0_2,e1_2,e0_3", "error": "accuracy"}
    options |= {"costs": "cost", "cell": "none,skip,pool,conv", "low_fidelity": None, "low_cost": 0.06}
    return read_table(argparse.Namespace(**options))


def test_the_model_is_told_the_graph_where_asked(tmp_path: Path) -> None:
    table = read(tmp_path)
    candidate = Candidate({"e0_1": "3", "e0_2": "1", "e1_2": "0", "e0_3": "3"}, 0)
    assert table.cell is not None
    assert table.problem(0, 9, graph=True).describe(candidate).features == table.cell.features(candidate.config)
    assert table.problem(0, 9).describe(candidate).features == ()
    assert table.problem(0, 9, known_costs=False).describe(candidate).costs == {}


def test_one_of_optunas_samplers_is_asked_and_told(tmp_path: Path) -> None:
    table = read(tmp_path)
    run = run_peer(table, "optuna:tpe", 0, 12)
    assert run.points == run_peer(table, "optuna:tpe", 0, 12).points
    assert len(set(run.points)) > 6
    assert 0 < run.curve(table, [12])[0] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["botorch:qlognehvi", "smac:parego"])
def test_models_of_peers_learn_from_what_they_are_told(tmp_path: Path, name: str) -> None:
    if missing([name]):
        pytest.skip("SMAC is not installed")
    table = read(tmp_path)
    (found,) = run_peer(table, name, 0, 20).curve(table, [20])
    drawn = [run_peer(table, "optuna:random", seed, 20).curve(table, [20])[0] for seed in range(5)]
    assert found > np.mean(drawn)
