"""SIGKILL at every write of a study, then the same command again: nothing lost, nothing twice, nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from autostudent.store.store import Store

FINAL = ["COMPLETE", "PRUNED", "FAIL", "COMPLETE", "COMPLETE"]


def die_at(write: int) -> None:
    """This process kills itself when the database is about to commit its ``write``-th change, which is then lost.

    Killing before the commit that follows is killing after the one before, so that every gap is met.
    """
    engine, changed, seen = sqlalchemy.engine.Engine, [], []

    @sqlalchemy.event.listens_for(engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, many):
        if statement.startswith(("INSERT", "UPDATE")):
            changed.append(statement)

    @sqlalchemy.event.listens_for(engine, "commit")
    def kill(connection):
        if changed:
            changed.clear()
            seen.append(connection)
            if len(seen) == write:
                os.kill(os.getpid(), signal.SIGKILL)


def run_in_child(work) -> int:
    """Runs ``work`` in a forked process; returns the signal that ended it, 0 for a good end."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed before it was killed"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@pytest.fixture(autouse=True)
def warm(tmp_path, toy):
    """What opening a store imports is imported before the process forks."""
    with type(toy)(tmp_path / "warm").open():
        pass


def drive(toy) -> None:
    with toy.open() as store:
        toy.drive(store)


def drive_until_write(toy, write: int) -> None:
    die_at(write)
    drive(toy)


def check_whole(toy, kills: int) -> None:
    """The ended study holds every student once, and only cut segments were trained again."""
    study = optuna.load_study(study_name="toy", storage=toy.url)
    assert [trial.state.name for trial in study.trials] == FINAL
    assert [trial.user_attrs["key"] for trial in study.trials] == [toy.candidate(n).key for n in range(toy.students)]
    for trial in study.trials:
        epochs = [name.split(":")[1] for name in trial.user_attrs if name.startswith("segment:")]
        assert len(epochs) == len(set(epochs))
        if trial.state.name == "COMPLETE":
            assert epochs == ["3", "9"]
            assert trial.values[0] == pytest.approx(0.59 + 0.05 * trial.number)
    store = toy.read()
    orders = sorted(result.order for trial in store.trials() for result in trial.results)
    assert orders == list(range(7))
    assert [row["trial"] for row in store.front()] == [0, 3, 4]
    assert store.traceback(toy.fails) == "Traceback: no such layer"
    trained = Counter(toy.log.read_text().splitlines())
    assert set(trained) == {"0 3", "1 3", "2 3", "3 3", "4 3", "0 9", "3 9", "4 9"}
    assert sum(trained.values()) <= len(trained) + kills


def test_a_kill_at_each_write_in_turn_loses_nothing(toy):
    """The n-th run dies at its n-th write: the study creeps forward through every step of every kind."""
    kills = 0
    while run_in_child(partial(drive_until_write, toy, 6 + kills % 3)) == signal.SIGKILL:
        kills += 1
        assert kills < 60
    assert kills > 5
    check_whole(toy, kills)


@pytest.mark.slow
def test_one_kill_at_any_write(toy, tmp_path):
    write = 1
    while True:
        again = type(toy)(tmp_path / str(write))
        killed = run_in_child(partial(drive_until_write, again, write)) == signal.SIGKILL
        if killed:
            drive(again)
        check_whole(again, kills=int(killed))
        if not killed:
            break
        write += 1
    assert write > 30


@pytest.mark.slow
def test_a_driver_killed_from_outside_at_five_moments(toy):
    """A separate interpreter, killed whenever it likes; a reader looks on all the time."""
    code = (
        "import sys, time\nsys.path.insert(0, sys.argv[1])\nfrom pathlib import Path\nfrom conftest import ToyStudy\n"
        "toy = ToyStudy(Path(sys.argv[2]))\nstore = toy.open()\nprint('open', flush=True)\n"
        "while toy.step(store): time.sleep(0.02)\n"
    )
    here = str(Path(__file__).parent)
    for steps in range(5):
        driver = subprocess.Popen(
            [sys.executable, "-c", code, here, str(toy.file.parent)], stdout=subprocess.PIPE, text=True
        )
        assert driver.stdout.readline() == "open\n"
        time.sleep(0.03 + 0.05 * steps)
        Store.read(toy.url).front()
        driver.kill()
        driver.wait()
    drive(toy)
    check_whole(toy, kills=5)


def test_what_a_killed_driver_had_just_forked_does_not_hold_the_study(toy):
    """Between fork and exec a child shares the lock's file; Python's own forks close it when they run their program."""

    def die_while_forking() -> None:
        toy.open()
        if os.fork() == 0:
            time.sleep(0.3)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_child(die_while_forking) == signal.SIGKILL
    drive(toy)
    assert [row["trial"] for row in toy.read().front()] == [0, 3, 4]
