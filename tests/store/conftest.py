"""A small study whose every answer is known: five students, two rungs, one failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autostudent.assets import Assets
from autostudent.records import Candidate, Cause, Failure, Objective, Result, Trial, TrialState
from autostudent.space.domains import Choice, Float, Int
from autostudent.store.store import Store


class ToyStudy:
    """The study in one folder. Student 2 fails, 1 stays paused, 0, 3 and 4 are trained to the end."""

    rungs = (3, 9)
    students = 5
    fails = 2
    promoted = (0, 3, 4)
    objectives = (
        Objective("accuracy", "maximize", limit=0.1),
        Objective("params", "minimize", limit=1000, exact=True),
        Objective("memory_bytes", "minimize", exact=True),
    )

    def __init__(self, folder: Path, scheme: str = "sqlite") -> None:
        self.file = folder / "study.db"
        self.url = f"{scheme}:///{self.file}"
        self.assets = Assets(folder / "assets")
        self.log = folder / "trained.txt"
        self.domains = {
            "width": Int(1, 64),
            "kd.loss": Choice(("none", "kd")),
            "kd.temperature": Float(1.0, 16.0, log=True),
        }

    def resolved(self, trials: int = 5, **changes: Any) -> dict[str, Any]:
        settings = {
            "study": "toy",
            "space": {"students": "tiny"},
            "objectives": [objective.to_json() for objective in self.objectives],
            "budget": {"trials": trials, "epochs": 9, "rungs": list(self.rungs)},
            "run": {"workers": 2},
            "retention": "front",
        }
        return {**settings, **changes}

    def open(self, **changes: Any) -> Store:
        settings = self.resolved(**changes)
        return Store.create_or_open(
            self.url, "toy", settings, self.objectives, self.assets, rungs=self.rungs, domains=self.domains
        )

    def read(self) -> Store:
        return Store.read(self.url, "toy", self.assets)

    def candidate(self, number: int) -> Candidate:
        """Every other student has a conditional parameter."""
        config: dict[str, Any] = {"width": number + 1, "kd.loss": "none"}
        if number % 2:
            config |= {"kd.loss": "kd", "kd.temperature": 4.0}
        return Candidate(config, seed=number)

    def create(self, store: Store, number: int) -> Trial:
        prices = {"params": 100 * (number + 1), "macs": 5000, "memory_bytes": 4096 - number}
        labels = {"method": "kd" if number % 2 else "none", "teachers": ["main"][: number % 2], "graph": f"g{number}"}
        return store.create(self.candidate(number), f"fingerprint{number}", prices, labels)

    def result(self, number: int, epoch: int, **changes: Any) -> Result:
        done = epoch == self.rungs[-1]
        facts: dict[str, Any] = {
            "values": {"accuracy": 0.5 + 0.05 * number + 0.01 * epoch},
            "metrics": {"nll": 0.4, "ece": 0.1},
            "assets": {"weights": f"w{number}"} if done else {"checkpoint": f"c{number}"},
            "seconds": {"student": 1.5, "private": 0.0},
        }
        return Result(epoch, **{**facts, **changes})

    def train(self, store: Store, number: int, until: int) -> Trial:
        """One segment as a worker does it: noted in a log that survives the process, then committed."""
        store.start(number, until)
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{number} {until}\n".encode())
        os.close(handle)
        if number == self.fails:
            return store.fail(number, Failure(Cause.BUG, "no such layer", "Traceback: no such layer"))
        return store.commit(number, self.result(number, until))

    def step(self, store: Store) -> bool:
        """Does the next thing that the record asks for; False when the study was ended."""
        trials = store.trials()
        for trial in trials:
            if trial.state in (TrialState.NEW, TrialState.TRAINING):
                self.train(store, trial.number, trial.until_epoch or self.rungs[0])
                return True
        if len(trials) < self.students:
            self.create(store, len(trials))
            return True
        for trial in trials:
            if trial.state is TrialState.PAUSED and trial.number in self.promoted:
                self.train(store, trial.number, self.rungs[1])
                return True
        store.finish()
        return False

    def drive(self, store: Store) -> None:
        """The whole study, from wherever it is."""
        while self.step(store):
            pass


@pytest.fixture
def toy(tmp_path: Path) -> ToyStudy:
    return ToyStudy(tmp_path)


@pytest.fixture
def store(toy: ToyStudy) -> Iterator[Store]:
    with toy.open() as opened:
        yield opened
