"""What ten thousand finished students cost: the queries, the page, opening, the next proposal, the disk.

    python benchmarks/store_scale.py [--students 100,1000,10000] [--fast-disk FOLDER] [--json FILE]

A study is simulated: students that random proposals would take, really drawn and costed, with three rungs, of which a
half goes on from each, answered by invented accuracies. It is filled through the store that a search uses. At each
size: ``pareto --json`` and ``report`` as whole processes, reading all trials, opening as the driver, segments of a
search by random proposals (everything but the training), and Bayesian proposals by a driver that has just opened the
store (the first) and one that goes on (the longest of those after; each is answered). All in processor seconds, which a
busy machine disturbs little; on an idle one waiting for the disk comes on top.
``--fast-disk`` fills in a folder of that file system (say /dev/shm) and copies the store, which saves minutes of
waiting for the disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import environment
from proposal_time import OBJECTIVES, RUNGS, accuracy, new_problem, trained

from autostudent.assets import Assets
from autostudent.distill.methods import METHODS
from autostudent.driver import StudyDriver
from autostudent.problem import Catalogue, make_problem
from autostudent.propose import make
from autostudent.propose.catalogue import Option
from autostudent.records import Problem, Result
from autostudent.report.cite import papers
from autostudent.space.architecture import InputShape
from autostudent.space.space import Space, load_space
from autostudent.store.store import Store
from autostudent.study import structural

ASKS = 4  # proposals timed at each size
SEGMENTS = 10  # of a search by random proposals
METRICS = ("accuracy", "nll", "ece", "agreement", "redrawn")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """(processor seconds, what was returned)."""
    started = time.process_time()
    found = call()
    return time.process_time() - started, found


class Simulation:
    """A study of one folder that grows."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder = folder
        self.space: Space = load_space("hnag_tiny", "kd_basic")
        self.catalogue = Catalogue(self.space, InputShape(1, 28, 28, 10), OBJECTIVES)
        cover = structural(self.space)
        self.problem: Problem = make_problem(self.catalogue, OBJECTIVES, RUNGS, 10**6, 0, cover)
        self.assets = Assets(folder / "assets")
        self.rng = np.random.default_rng(0)
        self.students = iter(make("random").catalogue(self.problem).fresh(0, most + most // 10))

    def open(self, folder: Path | None = None) -> Store:
        """The store as its driver."""
        folder = folder or self.folder
        domains = {name: param.domain for name, param in self.space.params.items()}
        study = {"study": "scale", "budget": {"trials": 10**6}}
        url = f"sqlite:///{folder}/study.db"
        return Store.create_or_open(url, "scale", study, OBJECTIVES, self.assets, rungs=RUNGS, domains=domains)

    def grow(self, store: Store, students: int) -> None:
        """Trains students until there are so many."""
        store.describe({"papers": papers(METHODS)})  # as a search does
        for number in range(len(store.trials()), students):
            self.train(store, number, next(self.students))

    def train(self, store: Store, number: int, option: Option) -> None:
        described = option.description
        graph = json.dumps(self.catalogue.architecture(option.candidate).to_json()).encode()
        method = str(option.candidate.config.get("kd.loss", "none"))
        about = {"method": method, "teachers": ["main"], "graph": self.assets.put(graph, ".json")}
        known = described.fingerprint, described.costs
        trial = store.create(option.candidate, *known, about, features=described.features)
        rungs = RUNGS[: int(self.rng.geometric(1 / 2))]
        for epoch in rungs:
            store.start(number, epoch)
            store.commit(number, self.answer(trial, epoch))

    def answer(self, trial: Any, epoch: int) -> Result:
        value = accuracy(trial, epoch, self.rng)
        kept = "weights" if epoch == RUNGS[-1] else "checkpoint"
        address = f"{trial.number:036d}{epoch:04d}"
        seconds = {"student": 1.0 + float(self.rng.random()), "segment": 2.5}
        metrics = {**dict.fromkeys(METRICS, value), "accuracy_se": 0.005}
        return Result(epoch, {"accuracy": value}, metrics, {kept: address}, seconds)


def command(*words: str) -> float:
    """Processor seconds of a whole process of the program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "autostudent", *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def asked(store: Store) -> list[float]:
    """Seconds of proposals one after the other, from a proposer that knows nothing yet."""
    rng, trials, proposer, spent = np.random.default_rng(1), store.trials(), make("bayes"), []
    recalling, problem = timed(lambda: new_problem(trials))
    for _ in range(ASKS):
        seconds, (proposal,) = timed(lambda trials=trials: proposer.ask(problem, trials, 1))
        spent.append(seconds)
        trials = trained(problem, list(trials), proposal, rng)
    return [recalling + spent[0], *spent[1:]]


def searched(simulation: Simulation, store: Store) -> float:
    """Seconds of a segment of a search, its training left out."""
    label = lambda candidate: {"method": "kd", "teachers": ["main"]}  # noqa: E731
    driver = StudyDriver(
        simulation.problem, make("random"), store, simulation.assets, simulation.catalogue, label, retention="all"
    )
    for segment in driver.fill(1):  # the first draws what the record holds
        driver.commit(segment, simulation.answer(store.trial(segment.trial), segment.until_epoch))
    started = time.process_time()
    for _ in range(SEGMENTS):
        (segment,) = driver.fill(1)
        driver.commit(segment, simulation.answer(store.trial(segment.trial), segment.until_epoch))
    return (time.process_time() - started) / SEGMENTS


def measure(simulation: Simulation, folder: Path) -> dict[str, Any]:
    """All figures of the study as it is, in ``folder``."""
    url, page = f"sqlite:///{folder}/study.db", folder / "page.html"
    pareto = min(command("pareto", "--store", url, "--json") for _ in range(3))
    opening, store = timed(lambda: simulation.open(folder))
    with store:
        asks = asked(store)
        segment = searched(simulation, store)
        rows = sum(len(trial.results) for trial in store.trials())
    with Store.read(url) as reader:
        reading, trials = timed(reader.trials)
        front = len(reader.front())
    report = command("report", "--store", url, "--out", str(page))
    return {
        "students": len(trials),
        "segments": rows,
        "front": front,
        "pareto_s": pareto,
        "read_s": reading,
        "report_s": report,
        "page_mb": page.stat().st_size / 1e6,
        "open_s": opening,
        "ask_first_s": asks[0],
        "ask_s": max(asks[1:]),
        "segment_s": segment,
        "store_mb": (folder / "study.db").stat().st_size / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", default="100,1000,10000", help="sizes, rising, comma separated")
    parser.add_argument("--fast-disk", type=Path, help="a folder to fill the store in, such as /dev/shm")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [int(size) for size in options.students.split(",")]
    told = environment()
    print(told + "\n")
    columns = ("pareto_s", "read_s", "report_s", "open_s", "segment_s", "ask_first_s", "ask_s")
    titles = "pareto --json | read all | report | open to drive | segment, random | first ask | ask"
    print(f"| students | segments | front | {titles} | page |")
    print("|---:" * (len(columns) + 4) + "|")
    found = []
    with tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory(dir=options.fast_disk) as work:
        simulation = Simulation(Path(work), sizes[-1])
        for size in sizes:
            started = time.process_time()
            with simulation.open() as store:
                before = len(store.trials())
                simulation.grow(store, size)
            filling = (time.process_time() - started) / (size - before)
            shutil.copy(Path(work) / "study.db", disk)
            row = {**measure(simulation, Path(disk)), "driver_ms_a_student": 1000 * filling}
            found.append(row)
            cells = " | ".join(f"{row[name]:.2f} s" for name in columns)
            about = f"{row['students']:,} | {row['segments']:,} | {row['front']}"
            print(f"| {about} | {cells} | {row['page_mb']:.1f} MB |", flush=True)
        blobs = [path.stat().st_size for path in Path(work).rglob("*.json")]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nStore: {found[-1]['store_mb']:.0f} MB; {len(blobs):,} graphs: {sum(blobs) / 1e6:.1f} MB.")
    print(f"The store's work for a student: {found[-1]['driver_ms_a_student']:.0f} ms of processor time.")
    print(f"Largest memory of the process with store and proposer: {peak:.0f} MiB.")
    if options.json:
        more = {"graphs": len(blobs), "graphs_mb": sum(blobs) / 1e6, "peak_mib": peak}
        options.json.write_text(json.dumps({"about": told, **more, "sizes": found}, indent=1))


if __name__ == "__main__":
    main()
