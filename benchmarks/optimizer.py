"""Proposers and the optimisers of other projects side by side on a table of trained networks.

    python benchmarks/optimizer.py --table FILE --variables e0_1,e0_2,... --error COLUMN --costs COLUMN,... \
        [--low-fidelity COLUMN --low-cost 0.06] [--cell none,skip,...] --trials 200 --seeds 10 [--json FILE]

Objectives are scaled to [0, 1] between the ideal point and the reference (error at its 95th percentile, costs at their
maximum); the hypervolume is divided by that of the table's true front. A low-fidelity run costs ``--low-cost`` of a
full one and a promotion pays the full price. An error column that rises with the first cost is an accuracy, and is
turned into an error.

``bayes:graph`` is told features of each network's graph (`cells.Cell`); a search of students has such features too, if
others. For that ``--cell`` says what the choices, sorted, stand for: ``none``, ``skip`` or an operation; those that mix
channels are named ``conv...``. The other optimisers have no place for them, nor for known costs:
with ``bayes:no-costs`` they compete on even terms, but for the reference of the hypervolume, which ours is told.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from machine import facts
from peers import PEERS, missing, run_peer
from table import Run, Table, read_table

from autostudent.propose import make
from autostudent.records import Result, Trial, TrialState

BUDGETS = (10, 25, 50, 100, 200)
OURS = (
    "random",
    "evolution",
    "bayes",
    "bayes:graph",
    "bayes:no-costs",
    "bayes:graph:no-costs",
    "bayes:low-fidelity",
    "bayes:graph:low-fidelity",
)
USUAL = (*OURS, "optuna:tpe", "optuna:nsga2", "optuna:gp")
SLOW = ("optuna:gp", "botorch:qlognehvi", "smac:parego")  # seconds an answer


def run_proposer(table: Table, name: str, seed: int, trials: int, **options: object) -> Run:
    """One of `OURS`: ``no-costs`` measures everything, ``low-fidelity`` has two rungs, ``graph`` sees the graph."""
    kind, *variants = name.split(":")
    low = "low-fidelity" in variants
    problem = table.problem(seed, 10**6 if low else trials, "no-costs" not in variants, low, "graph" in variants)
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


def compare(table: Table, names: Sequence[str], options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """One summary a name, as soon as its seeds are done."""
    budgets = [budget for budget in BUDGETS if budget <= options.trials]
    for name in names:
        seeds = range(min(options.seeds, options.slow_seeds) if name in SLOW else options.seeds)
        play = run_peer if name in PEERS else run_proposer
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="parquet or csv, one row a network")
    parser.add_argument("--variables", required=True, help="columns that define a network, comma separated")
    parser.add_argument("--error", required=True, help="column of the full training's error (or accuracy)")
    parser.add_argument("--costs", required=True, help="columns of exact costs, comma separated")
    parser.add_argument("--low-fidelity", help="column of the short training's error (or accuracy)")
    parser.add_argument("--cell", help="what the sorted choices of edges eI_J stand for, comma separated")
    parser.add_argument("--low-cost", type=float, default=0.06, help="price of a short training, in full ones")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--slow-seeds", type=int, default=3, help=f"seeds of {', '.join(SLOW)}, which take seconds an answer"
    )
    parser.add_argument("--only", help=f"comma separated, from {', '.join((*OURS, *PEERS))}")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = read_table(options)
    names = options.only.split(",") if options.only else list(USUAL)
    if unknown := [name for name in names if name not in (*OURS, *PEERS)]:
        raise SystemExit(f"--only {','.join(unknown)}: not among {', '.join((*OURS, *PEERS))}")
    if packages := missing(names):
        raise SystemExit(f"--only {options.only}: pip install {' '.join(packages)}")
    for variant, needed, given in (
        ("low-fidelity", "--low-fidelity", options.low_fidelity),
        ("graph", "--cell", options.cell),
    ):
        needing = [name for name in names if variant in name.split(":")]
        if needing and options.only and not given:
            raise SystemExit(f"--only {','.join(needing)}: needs {needed}")
        names = [name for name in names if given or name not in needing]
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
