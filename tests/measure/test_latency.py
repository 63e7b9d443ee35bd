"""Latency: what is timed, that it is timed alone, and that it is timed once."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autostudent.assets import Assets
from autostudent.measure import latency
from autostudent.measure.latency import alone, latency_of, measure_latency, sharing
from autostudent.space.graph import Architecture, InputShape, Node

pytestmark = pytest.mark.alone

FOLDER = latency._folder  # as it is outside of tests


@pytest.fixture(autouse=True)
def _locks_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other trainings on this machine are not waited for."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(latency, "_folder", FOLDER)


class Sleeper(nn.Module):
    """Takes as long as it is told, twice as long when it trains."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.threads = seconds, 0
        self.inner = nn.Dropout()
        self.inner.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.threads = torch.get_num_threads()
        time.sleep(self.seconds * (1 + self.training))
        return x


def test_milliseconds_of_an_evaluation_pass_with_fixed_threads() -> None:
    module = Sleeper(0.002)
    found = measure_latency(module, torch.zeros(1), threads=2, seconds=0.2)
    assert 2.0 <= found.median_ms < 3.9
    assert 0.0 <= found.spread_ms < found.median_ms
    assert (found.threads, module.threads) == (2, 2)
    assert 10 <= found.passes * found.median_ms <= 400
    assert module.training
    assert not module.inner.training


def graph(width: int) -> Architecture:
    nodes = (Node("input", 1, 0, 1, "add", ()), Node("plain3_relu", width, 0, 1, "add", (0,)))
    return Architecture(InputShape(1, 16, 16, 10), (*nodes, Node("conv3", width, 0, 1, "add", (1,))), (2,))


@pytest.mark.slow
def test_a_larger_network_takes_longer_and_is_measured_once(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    small, large = latency_of(graph(2), assets), latency_of(graph(128), assets)
    assert 0 < small.median_ms < large.median_ms
    assert latency_of(graph(2), assets) == small
    assert latency_of(graph(2), assets, threads=2).threads == 2
    assert len(list((tmp_path / "latency").iterdir())) == 3
    assert len(list(tmp_path.glob("autostudent-locks-*/*"))) == 2


def trained(log: str, name: str, seconds: float) -> None:
    with sharing("cpu"):
        note(log, f"{name} begins")
        time.sleep(seconds)
        note(log, f"{name} ends")


def measured(log: str, name: str, seconds: float) -> None:
    with alone("cpu"):
        note(log, f"{name} begins")
        time.sleep(seconds)
        note(log, f"{name} ends")


def note(log: str, text: str) -> None:
    with Path(log).open("a") as file:
        file.write(json.dumps([time.monotonic(), text]) + "\n")


def test_nothing_trains_while_something_is_measured(tmp_path: Path) -> None:
    """Two trainings overlap; a measurement between them and later ones overlaps with none, and none is starved."""
    log = str(tmp_path / "log")
    context = multiprocessing.get_context("fork")  # the children only lock and sleep
    plan = [(trained, "train 0"), (trained, "train 1"), (measured, "measure 0"), (measured, "measure 1")]
    plan += [(trained, f"train {n}") for n in range(2, 5)]
    running = [context.Process(target=what, args=(log, name, 0.1)) for what, name in plan]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    at: dict[str, float] = {text: moment for moment, text in map(json.loads, Path(log).read_text().splitlines())}
    spans = {name: (at[f"{name} begins"], at[f"{name} ends"]) for _, name in plan}
    for name in ("measure 0", "measure 1"):
        begin, end = spans.pop(name)
        assert all(other_end <= begin or end <= other_begin for other_begin, other_end in spans.values())


@pytest.mark.slow
def test_a_dead_process_holds_no_lock() -> None:
    code = "import os; from autostudent.measure.latency import sharing; sharing('cpu').__enter__(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    started = time.monotonic()
    with alone("cpu"):
        assert time.monotonic() - started < 5
