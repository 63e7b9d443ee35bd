"""The whole program killed again and again: driver and workers, by SIGKILL, followed by the same command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
import pytest

pytestmark = pytest.mark.alone

STUDY = """
study: crashes
data: {name: digits, limit: 400}
teachers:
  main: {resnet: {depth: 8, width: 8}, epochs: 4, lr: 0.05, batch_size: 32}
ladder: {of: main, assistants: 2, smallest: 3000}
space: {students: hnag_tiny, recipe: kd_basic}
objectives:
  accuracy: maximize
  params: {minimize: true, limit: 20k}
budget: {trials: 10, epochs: 9, rungs: [1, 3, 9]}
search: {proposer: random}
training: {batch_size: 64}
store: sqlite:///crashes/study.db
"""
TRIALS = 10


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autostudent", "search", "study.yaml", *more]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(process: subprocess.Popen[str], lines: int, word: str) -> bool:
    """Reads the program's output until ``word`` was printed that often; False when it ended before."""
    assert process.stdout is not None
    for line in process.stdout:
        lines -= word in line
        if not lines:
            return True
    return False


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver; what it leaves behind of Ray goes too, as on a machine that is switched off."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=10)


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All worker processes. Killing one alone proves nothing: it may still be warming up, with no segment to lose."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "Trainable" in " ".join(child.cmdline()):  # Ray names a process after the class of its actor
                found.append(child)
    return found


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """What plain Optuna reads."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'crashes' / 'study.db'}")
    return optuna.load_study(study_name="crashes", storage=storage).get_trials()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_nothing_is_lost_or_doubled_by_kills_of_driver_and_workers(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    for word, lines in (("training ta1", 1), ("epoch 3,", 1)):
        process = start(tmp_path)
        assert wait_for(process, lines, word), f"ended before {lines} x {word!r}"
        kill(process)

    process = start(tmp_path)
    assert wait_for(process, 1, ", accuracy "), "ended before a student was trained"
    killed = workers(process)
    for worker in killed:
        worker.kill()
    output, _ = process.communicate(timeout=300)
    assert killed, output
    assert process.returncode == 0, output  # idle ones cost nothing, busy ones a segment each, which is tried again
    assert "worker_lost: " not in output  # one death ends no student

    trials = stored(tmp_path)
    assert Counter(trial.state.name for trial in trials).keys() <= {"COMPLETE", "PRUNED", "FAIL"}
    assert len(trials) == TRIALS
    for trial in trials:
        epochs = [name.split(":")[1] for name in trial.user_attrs if name.startswith("segment:")]
        assert len(epochs) == len(set(epochs)), f"trial {trial.number} trained a segment twice: {epochs}"
        assert trial.state.name != "COMPLETE" or "9" in epochs
    assert sum(trial.state.name == "COMPLETE" for trial in trials) >= TRIALS / 3

    more = subprocess.run(
        [sys.executable, "-m", "autostudent", "search", "study.yaml", "--trials", "12", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    front = json.loads(more.stdout)
    assert {"trial", "accuracy", "params", "macs", "memory_bytes", "method", "teachers"} <= set(front[0])
    assert [t.params for t in stored(tmp_path)[:TRIALS]] == [t.params for t in trials]
    assert len(stored(tmp_path)) == 12
