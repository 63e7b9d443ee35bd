"""A study file searched by several proposers with equal budgets: hypervolume over students and over wall clock.

    python benchmarks/own_problem.py studies/digits.yaml --seeds 3 [--proposers bayes,random,tpe] [--set KEY=VALUE]

Searches run one after the other, proposers by turns, each in a store of its own below ``--folder``; teachers are
shared, and made before a clock starts. The hypervolume is that of the fully trained students, up to the objectives'
references, as a share of the box between them and the ideal point (no error, no cost). Runs again where it stopped;
seconds of a search that was itself stopped hold the pause, so delete its folder where they matter.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import optuna
from machine import facts

from autostudent.config import load_study
from autostudent.front import hypervolume
from autostudent.records import Objective
from autostudent.store.store import Store

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the students, and of the seconds that the fastest search took


def signed(objective: Objective, value: float) -> float:
    """Minimised."""
    return value if objective.direction == "minimize" else -value


class Search:
    """What a search left in its store: when each full training ended, and its point."""

    def __init__(self, url: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        (name,) = optuna.get_all_study_names(url)
        study = optuna.load_study(study_name=name, storage=url)
        self.objectives = [Objective.from_json(entry) for entry in Store.read(url, name).described()["objectives"]]
        trials = study.get_trials(deepcopy=False)
        starts = [trial.datetime_start for trial in trials if trial.datetime_start]
        ends = [trial.datetime_complete for trial in trials if trial.datetime_complete]
        self.seconds = (max(ends) - min(starts)).total_seconds()
        self.states = {
            state: sum(trial.state.name == state for trial in trials) for state in ("COMPLETE", "PRUNED", "FAIL")
        }
        done = [trial for trial in trials if trial.state is optuna.trial.TrialState.COMPLETE]
        order = [objective.name for objective in self.objectives]
        places = [(study.metric_names or order).index(name) for name in order]
        self.ended = [((t.datetime_complete or min(starts)) - min(starts)).total_seconds() for t in done]
        self.begun_by = [sum(start <= (t.datetime_complete or start) for start in starts) for t in done]
        self.points = np.array(
            [[signed(o, t.values[place]) for o, place in zip(self.objectives, places, strict=True)] for t in done]
        )
        self.trials = len(trials)

    def volume(self, chosen: np.ndarray) -> float:
        """Normalised hypervolume of the full trainings that ``chosen`` (n,) says."""
        reference = np.array([signed(o, float(o.reference or 0.0)) for o in self.objectives])
        ideal = np.array([-1.0 if o.direction == "maximize" else 0.0 for o in self.objectives])
        points = (self.points[chosen] - ideal) / (reference - ideal)
        return hypervolume(points, np.ones(len(ideal))) if len(points) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a study file")
    parser.add_argument("--proposers", default="bayes,random,tpe", help="names as in search.proposer")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/own_problem"))
    parser.add_argument("--set", action="append", default=[], help="override an entry of the study, as in the program")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    found: dict[str, list[Search]] = {name: [] for name in options.proposers.split(",")}
    for seed in range(options.seeds):
        for name in found:
            url = f"sqlite:///{(options.folder / f'{name}_{seed}' / 'study.db').resolve()}"
            changes = [f"search.proposer={name}", f"search.seed={seed}", f"store={url}"]
            changes.append(f"artifacts={(options.folder / 'assets').resolve()}")
            load_study(options.study, [*options.set, *changes]).run()
            found[name].append(Search(url))
            last = found[name][-1]
            reached = last.volume(np.ones(len(last.points), dtype=bool))
            print(f"{name}, seed {seed}: {last.seconds:.0f} s, {last.states}, {reached:.4f}", flush=True)
    fastest = min(search.seconds for searches in found.values() for search in searches)
    report = []
    for name, searches in found.items():
        over = {
            "students": [[s.volume(np.array(s.begun_by) <= share * s.trials) for share in SHARES] for s in searches],
            "seconds": [[s.volume(np.array(s.ended) <= share * fastest) for share in SHARES] for s in searches],
        }
        report.append(
            {"proposer": name, "seconds": [s.seconds for s in searches], "states": [s.states for s in searches], **over}
        )
    for kind, unit in (("students", "of the students"), ("seconds", f"of {fastest:.0f} s")):
        print("| proposer | " + " | ".join(f"{share:.0%} {unit}" for share in SHARES) + " |")
        print("|---" * (len(SHARES) + 1) + "|")
        for entry in report:
            curves = np.array(entry[kind])
            sd = curves.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(SHARES))
            cells = " | ".join(
                f"{mean:.4f} ± {spread:.4f}" for mean, spread in zip(curves.mean(axis=0), sd, strict=True)
            )
            print(f"| {entry['proposer']} | {cells} |")
    if options.json:
        options.json.write_text(json.dumps({**facts(), "results": report}, indent=1))


if __name__ == "__main__":
    main()
