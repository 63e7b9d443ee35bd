"""How long the next proposal takes after many trials: real graphs, conditional recipes, three objectives, three rungs.

    python benchmarks/proposal_time.py [--past 200,2000] [--answers 20] [--json FILE]

A record of random students is made up to each size, with invented accuracies; then proposals are asked for one by one,
each answered before the next. Processor seconds, fits of the model included. What drawing, costing and describing
graphs costs is taken apart; for the first answer this is the whole pool, as after a resume.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from machine import facts

from autostudent.problem import Catalogue, make_problem
from autostudent.propose import make
from autostudent.records import Candidate, Description, Objective, Problem, Proposal, Result, Trial, TrialState
from autostudent.space.architecture import InputShape
from autostudent.space.space import load_space
from autostudent.study import structural

OBJECTIVES = (
    Objective("accuracy", "maximize", reference=0.8),
    Objective("params", "minimize", limit=100_000, reference=100_000, exact=True),
    Objective("memory_bytes", "minimize", limit=2**20, reference=2**20, exact=True),
)
RUNGS = (3, 9, 27)


class Timed:
    """A function that adds up the seconds spent in it."""

    def __init__(self, call: Callable[..., Description]) -> None:
        self.call, self.seconds = call, 0.0

    def __call__(self, candidate: Candidate) -> Description:
        start = time.process_time()
        try:
            return self.call(candidate)
        finally:
            self.seconds += time.process_time() - start


def new_problem(trials: Sequence[Trial] = ()) -> Problem:
    """The problem as a process that has just opened a store of these trials has it: no graph was drawn yet."""
    space = load_space("hnag_tiny", "kd_basic")
    catalogue = Catalogue(space, InputShape(1, 28, 28, 10), OBJECTIVES)
    catalogue.recall(trials)
    return make_problem(catalogue, OBJECTIVES, RUNGS, 10**6, 0, structural(space))


def accuracy(trial: Trial, epoch: int, rng: np.random.Generator) -> float:
    """Invented: rises with size and epochs."""
    end = 0.72 + 0.02 * math.log(trial.costs["params"]) + 0.01 * rng.normal()
    return float(np.clip(end - 0.1 / epoch, 0.1, 0.999))


def trained(problem: Problem, trials: list[Trial], proposal: Proposal, rng: np.random.Generator) -> list[Trial]:
    """The record after the proposed segment has come back."""
    if proposal.trial is None:
        described = problem.describe(proposal.candidate)
        known = {"costs": described.costs, "features": described.features}
        trial = Trial(len(trials), proposal.candidate, described.fingerprint, TrialState.NEW, **known)
        trials = [*trials, trial]
    else:
        trial = trials[proposal.trial]
    epoch = proposal.until_epoch
    order = sum(len(other.results) for other in trials)
    seconds = 1e-3 * math.sqrt(trial.costs["macs"]) * (epoch - trial.epoch) * math.exp(0.1 * rng.normal())
    result = Result(epoch, {"accuracy": accuracy(trial, epoch, rng)}, seconds={"student": seconds}, order=order)
    state = TrialState.COMPLETE if epoch == RUNGS[-1] else TrialState.PAUSED
    trials[trial.number] = replace(trial, results=(*trial.results, result), state=state, until_epoch=epoch)
    return trials


def measure(past: int, answers: int) -> dict[str, float]:
    """Seconds of ``answers`` proposals after ``past`` students."""
    problem, rng = new_problem(), np.random.default_rng(0)
    trials: list[Trial] = []
    for option in make("random").catalogue(problem).fresh(0, past):
        for epoch in RUNGS[: int(rng.geometric(1 / 2))]:  # a half goes on from each rung
            going = None if epoch == RUNGS[0] else len(trials) - 1
            trials = trained(problem, trials, Proposal(option.candidate, epoch, going), rng)
    problem = new_problem(trials)
    described = Timed(problem.describe)
    problem, proposer = replace(problem, describe=described), make("bayes")
    own, pool = [], []
    for _ in range(answers):
        described.seconds, start = 0.0, time.process_time()
        (proposal,) = proposer.ask(problem, trials, 1)
        total = time.process_time() - start
        own.append(total - described.seconds)
        pool.append(described.seconds)
        trials = trained(problem, trials, proposal, rng)
    return {
        "past": past,
        "rows": sum(len(trial.results) for trial in trials),
        "answers": answers,
        "mean": float(np.mean(own)),
        "max": float(np.max(own)),
        "first": own[0],
        "pool_first": pool[0],
        "pool_mean_after": float(np.mean(pool[1:])) if answers > 1 else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--past", default="200,2000", help="numbers of past students, comma separated")
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| past students | measured rows | mean s | max s | first s | graphs: first s | graphs: mean s after |")
    print("|---" * 7 + "|")
    found = []
    for past in map(int, options.past.split(",")):
        found.append(measure(past, options.answers))
        cells = [f"{found[-1][name]:.2f}" for name in ("mean", "max", "first", "pool_first", "pool_mean_after")]
        print(f"| {past} | {found[-1]['rows']:.0f} | " + " | ".join(cells) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps({**facts(), "results": found}, indent=1))


if __name__ == "__main__":
    main()
