"""What a segment costs beside its training: the program's whole service against plain Ray Tune with OptunaSearch.

    python benchmarks/service_overhead.py [--segments 500] [--plain 150] [--fresh 16] [--workers 2] [--json FILE]

Segments do nothing and return an invented accuracy, so that all of the wall time is overhead.

ours            StudyDriver, random proposals (real graphs drawn and costed), SQLite store, assets, RayRunner
tune, reused    Tuner with OptunaSearch (TPE over three numbers), no store, ``reuse_actors=True``
tune, fresh     the same with a new actor for every trial

The start of Ray is left out, the start of the workers is not. Driver CPU are the processor seconds of the process that
runs the study, its threads included.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import environment
from proposal_time import OBJECTIVES
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from autostudent.assets import Assets
from autostudent.driver import StudyDriver
from autostudent.problem import Catalogue, make_problem
from autostudent.propose import make
from autostudent.records import Result, Segment
from autostudent.run.ray_session import RaySession
from autostudent.run.ray_tune import RayRunner
from autostudent.space.architecture import InputShape
from autostudent.space.space import load_space
from autostudent.store.store import Store
from autostudent.study import structural

EPOCH = 9


class Idle:
    """A worker that trains nothing."""

    def run(self, segment: Segment) -> Result:
        value = 0.5 + 0.5 * float(np.random.default_rng(segment.trial).random())
        return Result(segment.until_epoch, {"accuracy": value}, {"accuracy": value}, seconds={"student": 0.0})


class IdleTrainable(tune.Trainable):
    """The same for plain Tune."""

    def setup(self, config: dict[str, Any]) -> None:
        return None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        return {"accuracy": self.config["a"] * self.config["b"], "done": True}


def ours(segments: int, workers: int, folder: Path) -> None:
    """A study of so many students of one segment."""
    space = load_space("hnag_tiny", "kd_basic")
    catalogue = Catalogue(space, InputShape(1, 28, 28, 10), OBJECTIVES)
    problem = make_problem(catalogue, OBJECTIVES, (EPOCH,), segments, 0, structural(space))
    assets, domains = Assets(folder / "assets"), {name: param.domain for name, param in space.params.items()}
    url, study = f"sqlite:///{folder}/study.db", {"study": "idle"}
    with Store.create_or_open(url, "idle", study, OBJECTIVES, assets, rungs=(EPOCH,), domains=domains) as store:
        label = lambda candidate: {"method": "kd", "teachers": ["main"]}  # noqa: E731
        driver = StudyDriver(problem, make("random"), store, assets, catalogue, label)
        RayRunner(workers).run(driver, Idle)
        assert len(store.trials()) == segments


def plain(segments: int, workers: int, folder: Path, reuse: bool) -> None:
    """So many Tune trials."""
    searcher = OptunaSearch(
        space={name: tune.uniform(0.0, 1.0) for name in "abc"}, metric="accuracy", mode="max", seed=0
    )
    tuner = tune.Tuner(
        tune.with_resources(IdleTrainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=segments, max_concurrent_trials=workers, reuse_actors=reuse
        ),
        run_config=tune.RunConfig(
            name="plain",
            storage_path=str(folder),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            verbose=0,
        ),
    )
    found = tuner.fit()
    assert len(found) == segments
    assert not found.errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=500, help="of our study")
    parser.add_argument("--plain", type=int, default=150, help="trials of plain Tune with reused actors")
    parser.add_argument("--fresh", type=int, default=16, help="trials of plain Tune with fresh actors")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output ignores verbose=0
    told = environment()
    print(told + "\n")
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, RaySession(options.workers, 0, None, False):
        ways: dict[str, tuple[int, Callable[[int, Path], None]]] = {
            "ours": (options.segments, lambda n, place: ours(n, options.workers, place)),
            "tune, reused": (options.plain, lambda n, place: plain(n, options.workers, place, True)),
            "tune, fresh": (options.fresh, lambda n, place: plain(n, options.workers, place, False)),
        }
        print("| | segments | wall s a segment | driver CPU s a segment |")
        print("|---|---:|---:|---:|")
        for name, (segments, call) in ways.items():
            place = Path(folder) / name.replace(", ", "-")
            started = time.perf_counter(), time.process_time()
            call(segments, place)
            wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
            found[name] = {"segments": segments, "wall_s": wall / segments, "cpu_s": cpu / segments}
            print(f"| {name} | {segments} | {wall / segments:.3f} | {cpu / segments:.3f} |", flush=True)
    ratio = found["tune, fresh"]["wall_s"] / found["ours"]["wall_s"]
    print(f"\nFresh actors cost {ratio:.1f} times as much as our service.")
    if options.json:
        options.json.write_text(json.dumps({"about": told, "workers": options.workers, "ways": found}, indent=1))


if __name__ == "__main__":
    main()
