"""Latency: what is timed, that it is timed alone, and that it is timed once."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autostudent.assets import Assets
from autostudent.errors import ConfigError
from autostudent.measure import latency
from autostudent.measure.latency import (
    Latency,
    alone,
    by_turns,
    latency_of,
    measure_latency,
    require_attainable,
    sharing,
    steadiest,
)
from autostudent.records import Objective
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


def measuring(log: Path) -> subprocess.Popen[bytes]:
    """Another process (a forked one would hold the locks of this one too) that waits until it may measure."""
    call = f"t.note({str(log)!r}, 'measure asks'); t.measured({str(log)!r}, 'measure', 0.1)"
    code = f"import tests.measure.test_latency as t; t.latency._folder = lambda: t.Path({str(FOLDER())!r}); {call}"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    (gate,) = FOLDER().glob("*.gate")  # this process shares the device, so it is there
    with gate.open("w") as file:
        while True:
            assert process.poll() is None
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return process  # it is at the gate, and lets nobody in
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(0.05)


def lines(log: Path) -> list[str]:
    return [json.loads(line)[1] for line in log.read_text().splitlines()]


def test_who_shares_already_does_not_wait_for_himself(tmp_path: Path) -> None:
    """Inside a training somebody may make knowledge; a measurement that waits meanwhile must not lock both out."""
    log = tmp_path / "log"
    with sharing("cpu"):
        process = measuring(log)
        with sharing("cpu"):
            assert lines(log) == ["measure asks"]
    assert process.wait(60) == 0


def test_a_long_training_lets_measurements_in_between_its_epochs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with by_turns("cpu") as pause:
        process = measuring(log)
        pause()
        note(str(log), "the next epoch")
    assert process.wait(60) == 0
    assert lines(log) == ["measure asks", "measure begins", "measure ends", "the next epoch"]


def test_an_unsteady_measurement_is_repeated() -> None:
    def found(*spreads: float) -> tuple[float, int]:
        given = iter([Latency(float(n + 1), spread, 10, 1, 0.0) for n, spread in enumerate(spreads)])
        seen: list[Latency] = []

        def measure() -> Latency:
            seen.append(next(given))
            return seen[-1]

        return steadiest(measure).median_ms, len(seen)

    assert found(0.05) == (1.0, 1)
    assert found(0.9, 0.1, 9.0) == (2.0, 2)
    assert found(0.9, 1.0, 2.7) == (2.0, 3)


def test_two_that_ask_at_once_get_one_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter((1.0, 2.0))

    def measure(*given: object) -> Latency:
        time.sleep(0.2)
        return Latency(next(figures), 0.0, 10, 1, 0.0)

    monkeypatch.setattr(latency, "measure_latency", measure)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: latency_of(graph(2), Assets(tmp_path)).median_ms, range(2)))
    assert answers == [1.0, 1.0]


def test_a_limit_that_nobody_can_meet_is_refused() -> None:
    def limited(limit: float | None) -> tuple[Objective, ...]:
        return (Objective("accuracy", "maximize"), Objective("latency_ms", "minimize", limit=limit))

    for reachable in (None, 2.0, 1.7):
        require_attainable(limited(reachable), 2.0)
    with pytest.raises(
        ConfigError, match=r"objectives\.latency\.limit: got 1.5; expected at least 2\.000 milliseconds"
    ):
        require_attainable(limited(1.5), 2.0)
