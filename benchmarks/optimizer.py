"""Proposers and Optuna's samplers side by side on a table of trained networks.

    python benchmarks/optimizer.py --table FILE --variables e0_1,e0_2,... --error COLUMN --costs COLUMN,... \
        [--low-fidelity COLUMN --low-cost 0.06] --trials 200 --seeds 10 [--json FILE]

Objectives are scaled to [0, 1] between the ideal point and the reference (error at its 95th percentile, costs at their
maximum); the hypervolume is divided by that of the table's true front. A low-fidelity run costs ``--low-cost`` of a
full one and a promotion pays the full price. An error column that rises with the first cost is an accuracy, and is
turned into an error.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from machine import facts

from autostudent.front import hypervolume, nondominated
from autostudent.propose import make
from autostudent.records import Candidate, Description, Objective, Problem, Result, Trial, TrialState, Value

BUDGETS = (10, 25, 50, 100, 200)
OPTUNA = ("optuna:tpe", "optuna:nsga2", "optuna:gp")
OURS = ("random", "evolution", "bayes", "bayes:no-costs", "bayes:low-fidelity")


class TableSpace:
    """Categorical variables, every one always active."""

    recipe: tuple[str, ...] = ()

    def __init__(self, choices: Mapping[str, Sequence[str]]) -> None:
        self.choices = {name: tuple(values) for name, values in choices.items()}
        self.names = tuple(self.choices)

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        return {name: values[int(rng.integers(len(values)))] for name, values in self.choices.items()}

    def check(self, config: Mapping[str, Value]) -> None:
        assert set(config) == set(self.names)

    def encode(self, config: Mapping[str, Value]) -> np.ndarray:
        return np.array([float(values.index(str(config[name]))) for name, values in self.choices.items()])

    def mutate(self, config: Mapping[str, Value], rng: np.random.Generator, names: Sequence[str]) -> dict[str, Value]:
        name = names[int(rng.integers(len(names)))]
        others = [value for value in self.choices[name] if value != config[name]]
        return {**config, name: others[int(rng.integers(len(others)))]}


@dataclass(frozen=True)
class Table:
    """The table as a problem: ``rows`` maps a tuple of choices to (error, costs..., low-fidelity error)."""

    space: TableSpace
    rows: Mapping[tuple[str, ...], tuple[float, ...]]
    names: tuple[str, ...]
    reference: np.ndarray
    ideal: np.ndarray
    best: float
    low_cost: float

    def values(self, config: Mapping[str, Value]) -> tuple[float, ...]:
        return self.rows[tuple(str(config[name]) for name in self.space.names)]

    def score(self, points: np.ndarray) -> float:
        """Normalised hypervolume of (n, m) points."""
        scaled = (points - self.ideal) / (self.reference - self.ideal)
        return hypervolume(scaled, np.ones(len(self.ideal))) / self.best

    def problem(self, seed: int, trials: int, known_costs: bool, low: bool) -> Problem:
        objectives = tuple(
            Objective(name, "minimize", reference=float(self.reference[i]), exact=known_costs and i > 0)
            for i, name in enumerate(self.names)
        )
        rungs, prices = ((1, 2), (self.low_cost, 1.0)) if low else ((1,), (1.0,))
        describe = self.describe if known_costs else self.describe_blindly
        return Problem(self.space, objectives, rungs, trials, seed, describe, rung_costs=prices)

    def describe(self, candidate: Candidate) -> Description:
        key = "".join(f"{candidate.config[name]}|" for name in self.space.names)
        return Description(key, dict(zip(self.names[1:], self.values(candidate.config)[1:], strict=False)))

    def describe_blindly(self, candidate: Candidate) -> Description:
        """As `describe`, for optimisers that are not told the costs."""
        return Description(self.describe(candidate).fingerprint, {})


def read_table(options: argparse.Namespace) -> Table:
    """Reads parquet or csv. Raises SystemExit in one line for unknown columns."""
    frame = pd.read_parquet(options.table) if options.table.endswith("parquet") else pd.read_csv(options.table)
    variables, costs = options.variables.split(","), options.costs.split(",")
    wanted = [*variables, options.error, *costs, *([options.low_fidelity] if options.low_fidelity else [])]
    if unknown := [name for name in wanted if name not in frame.columns]:
        raise SystemExit(f"no column {unknown} in {options.table}; it has {', '.join(frame.columns)}")
    first = frame[costs[0]]
    measured = [_as_error(frame[options.error], first)]
    low = [_as_error(frame[options.low_fidelity], first)] if options.low_fidelity else []
    values = np.column_stack([*measured, *(frame[name] for name in costs), *low]).astype(float)
    keys = [tuple(map(str, row)) for row in frame[variables].itertuples(index=False)]
    points = values[:, : 1 + len(costs)]
    reference = np.array([np.percentile(points[:, 0], 95), *points[:, 1:].max(axis=0)])
    ideal = points.min(axis=0)
    scaled = (points - ideal) / (reference - ideal)
    best = hypervolume(scaled[nondominated(scaled)], np.ones(points.shape[1]))
    choices = {name: sorted({str(v) for v in frame[name]}) for name in variables}
    rows = dict(zip(keys, map(tuple, values.tolist()), strict=True))
    return Table(TableSpace(choices), rows, ("error", *costs), reference, ideal, best, options.low_cost)


def _as_error(column: pd.Series, cost: pd.Series) -> np.ndarray:
    """A rate in [0, 1] that is minimised, from percent or a rate, from an error or an accuracy."""
    values = column.to_numpy(dtype=float) / (100.0 if column.max() > 1 else 1.0)
    return 1.0 - values if column.corr(cost, method="spearman") > 0 else values


@dataclass
class Run:
    """What one optimiser did with one seed: which points it had when (in full trainings), and its seconds an answer."""

    spent: list[float]
    points: list[tuple[float, ...] | None]
    seconds: list[float]

    def curve(self, table: Table, budgets: Sequence[int]) -> list[float]:
        out = []
        for budget in budgets:
            rows = [p for s, p in zip(self.spent, self.points, strict=True) if p and s <= budget + 1e-9]
            out.append(table.score(np.array(rows)) if rows else 0.0)
        return out


def run_proposer(table: Table, name: str, seed: int, trials: int, **options: object) -> Run:
    """One of our proposers; ``bayes:no-costs`` measures everything, ``bayes:low-fidelity`` has two rungs."""
    kind, _, variant = name.partition(":")
    low = variant == "low-fidelity"
    problem = table.problem(seed, 10**6 if low else trials, variant != "no-costs", low)
    proposer = make(kind, **options)
    record: list[Trial] = []
    run = Run([], [], [])
    spent = 0.0
    while spent < trials - 1e-9:
        start = time.perf_counter()
        answers = proposer.ask(problem, record, 1)
        run.seconds.append(time.perf_counter() - start)
        if not answers:
            break
        (answer,) = answers
        values = table.values(answer.candidate.config)
        full = answer.until_epoch == problem.rungs[-1]
        spent += problem.rung_costs[-1 if full else 0]
        costs = dict(zip(table.names[1:], values[1:], strict=False))
        measured = {"error": values[0] if full else values[-1], **costs}
        result = Result(answer.until_epoch, measured, order=len(run.spent))
        state = TrialState.COMPLETE if full else TrialState.PAUSED
        number = len(record) if answer.trial is None else answer.trial
        before = () if answer.trial is None else record[answer.trial].results
        fingerprint = table.describe(answer.candidate).fingerprint
        trial = Trial(number, answer.candidate, fingerprint, state, costs, (*before, result), answer.until_epoch)
        record[number : number + 1] = [trial]
        run.spent.append(spent)
        run.points.append(values[: len(table.names)] if full else None)
    return run


def run_optuna(table: Table, name: str, seed: int, trials: int) -> Run:
    """One of Optuna's samplers, as a user would run it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
    }
    study = optuna.create_study(directions=["minimize"] * len(table.names), sampler=samplers[name.split(":")[1]]())
    run = Run([], [], [])
    for step in range(trials):
        start = time.perf_counter()
        trial = study.ask()
        config = {name: trial.suggest_categorical(name, choices) for name, choices in table.space.choices.items()}
        run.seconds.append(time.perf_counter() - start)
        values = table.values(config)[: len(table.names)]
        study.tell(trial, values)
        run.spent.append(step + 1.0)
        run.points.append(values)
    return run


def compare(table: Table, names: Sequence[str], options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """One summary a name, as soon as its seeds are done."""
    budgets = [budget for budget in BUDGETS if budget <= options.trials]
    for name in names:
        seeds = range(min(options.seeds, options.slow_seeds) if name == "optuna:gp" else options.seeds)
        play = run_optuna if name.startswith("optuna:") else run_proposer
        runs = [play(table, name, seed, options.trials) for seed in seeds]
        curves = np.array([run.curve(table, budgets) for run in runs])
        seconds = np.concatenate([run.seconds for run in runs])
        yield {
            "name": name,
            "seeds": len(runs),
            "budgets": budgets,
            "mean": curves.mean(axis=0).tolist(),
            "sd": curves.std(axis=0, ddof=1 if len(runs) > 1 else 0).tolist(),
            "worst": curves.min(axis=0).tolist(),
            "seconds_mean": float(seconds.mean()),
            "seconds_max": float(seconds.max()),
            "curves": curves.tolist(),
        }


def show(summary: dict[str, object]) -> str:
    """A line of the printed table."""
    columns = zip(summary["mean"], summary["sd"], summary["worst"], strict=True)  # type: ignore[call-overload]
    cells = " | ".join(f"{mean:.3f} ± {sd:.3f} ({worst:.3f})" for mean, sd, worst in columns)
    seconds = f"{summary['seconds_mean']:.3f} | {summary['seconds_max']:.2f}"
    return f"| {summary['name']} | {summary['seeds']} | {cells} | {seconds} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="parquet or csv, one row a network")
    parser.add_argument("--variables", required=True, help="columns that define a network, comma separated")
    parser.add_argument("--error", required=True, help="column of the full training's error (or accuracy)")
    parser.add_argument("--costs", required=True, help="columns of exact costs, comma separated")
    parser.add_argument("--low-fidelity", help="column of the short training's error (or accuracy)")
    parser.add_argument("--low-cost", type=float, default=0.06, help="price of a short training, in full ones")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slow-seeds", type=int, default=3, help="seeds of optuna:gp, which takes seconds an answer")
    parser.add_argument("--only", help=f"comma separated, from {', '.join((*OURS, *OPTUNA))}")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    table = read_table(options)
    names = options.only.split(",") if options.only else [*OURS, *OPTUNA]
    if not options.low_fidelity:
        names = [name for name in names if not name.endswith("low-fidelity")]
    budgets = [budget for budget in BUDGETS if budget <= options.trials]
    print("| optimiser | seeds | " + " | ".join(f"at {b}" for b in budgets) + " | s mean | s max |")
    print("|---" * (len(budgets) + 4) + "|")
    summaries = []
    for summary in compare(table, names, options):
        summaries.append(summary)
        print(show(summary), flush=True)
    if options.json:
        document = {"options": {k: str(v) for k, v in vars(options).items()}, **facts(), "results": summaries}
        options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
