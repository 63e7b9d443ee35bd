"""What the store costs: creating, starting and committing a trial, opening a study, reading its front.

    python benchmarks/store_speed.py [TRIALS]

Milliseconds of the driver for each trial, and seconds to open a study of that many trials: processor time, so that a
busy machine tells the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from autostudent.assets import Assets
from autostudent.records import Candidate, Objective, Result
from autostudent.space.domains import Choice, Float
from autostudent.store.store import Store

RUNGS = (3, 9, 27)
OBJECTIVES = (
    Objective("accuracy", "maximize"),
    Objective("params", "minimize", limit=1e6, exact=True),
    Objective("memory_bytes", "minimize", exact=True),
)
DOMAINS = {f"top.p{n}": Float(0.0, 1.0) for n in range(18)} | {f"kd.c{n}": Choice(("a", "b")) for n in range(6)}


def fill(store: Store, trials: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """Trains ``trials`` imaginary students; seconds by operation."""
    spent: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, call, *arguments):
        started = time.process_time()
        call(*arguments)
        spent[name].append(time.process_time() - started)

    for n in range(trials):
        config = {name: domain.sample(rng) for name, domain in DOMAINS.items()}
        params = float(np.exp(rng.uniform(7, 13)))
        costs = {"params": int(params), "macs": int(90 * params), "memory_bytes": int(4 * params + rng.integers(90000))}
        about = {"method": "kd", "teachers": ["main"], "graph": f"{n:040d}.json"}
        timed("create", store.create, Candidate(config, n), f"{n:032d}", costs, about)
        for epoch in RUNGS:
            value = float(1 - 3 / np.log(params) + 0.03 * rng.normal())
            metrics = dict.fromkeys(("accuracy", "nll", "ece", "agreement"), value)
            result = Result(epoch, {"accuracy": value}, metrics, {"weights": f"{n:040d}"}, {"student": 1.0})
            timed("start", store.start, n, epoch)
            timed("commit of the last segment" if epoch == RUNGS[-1] else "commit", store.commit, n, result)
    return spent


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        url, assets = f"sqlite:///{folder}/study.db", Assets(Path(folder) / "assets")

        def opened() -> Store:
            return Store.create_or_open(
                url, "speed", {"study": "speed"}, OBJECTIVES, assets, rungs=RUNGS, domains=DOMAINS
            )

        with opened() as store:
            spent = fill(store, trials, np.random.default_rng(0))
        for name, times in spent.items():
            late = times[-len(times) // 10 :]
            print(f"{name:28s} {1000 * np.median(times):7.1f} ms, last tenth {1000 * np.median(late):7.1f} ms")
        started = time.process_time()
        with opened():
            print(f"open with {trials} trials       {time.process_time() - started:7.2f} s")
        started = time.process_time()
        with Store.read(url) as reader:
            rows = reader.front()
        print(f"read a front of {len(rows):4d}         {time.process_time() - started:7.3f} s")


if __name__ == "__main__":
    main()
