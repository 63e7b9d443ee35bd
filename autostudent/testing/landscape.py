"""An invented study without any training, on which a proposer can be tried in a second.

Four blocks and a width make the "graph", a method with a conditional knob the "recipe". Costs are exact; the error
falls with size and depends on the recipe. Methods rise at different speeds, as real ones do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from autostudent.errors import InvalidDraw
from autostudent.records import (
    Candidate,
    Description,
    Edit,
    Objective,
    Problem,
    Proposal,
    Result,
    Trial,
    TrialState,
    digest,
)
from autostudent.space.domains import Choice, Float, Int
from autostudent.space.space import Param, Space

BLOCKS = ("none", "thin", "wide")
METHODS = ("plain", "early", "late")


def landscape_space() -> Space:
    """Four blocks, a width, and a recipe whose temperature exists only with a teacher."""
    blocks = [Param(f"block{i}", Choice(BLOCKS)) for i in range(4)]
    recipe = [
        Param("loss", Choice(METHODS)),
        Param("temperature", Float(0.0, 1.0), when={"loss": METHODS[1:]}),
        Param("lr", Float(0.0, 1.0)),
    ]
    params = {param.name: param for param in [*blocks, Param("width", Int(4, 64)), *recipe]}
    students, teaching = tuple(params)[:5], tuple(params)[5:]
    return Space(params, (), "vision", "none", (), {}, students, teaching)


@dataclass(frozen=True)
class Landscape:
    """Measures what a trained student would score; a function of the candidate alone."""

    last: int = 9

    def accuracy(self, candidate: Candidate, epoch: int) -> float:
        """Rises with the size, with a good recipe, and along the epochs; the late method overtakes at the end."""
        config = candidate.config
        depth = sum(BLOCKS.index(str(config[f"block{i}"])) * (1 + 0.2 * i) for i in range(4))
        size = math.log(_params(candidate)) / math.log(2e4)
        luck = int(digest([candidate.seed, dict(config)])[:4], 16) / 65535 - 0.5
        gain = 0.0
        if config["loss"] != "plain":
            gain = 0.05 * (1 - abs(float(config["temperature"]) - 0.7)) + (0.05 if config["loss"] == "late" else 0.0)
        end = 0.45 + 0.3 * size + 0.02 * depth + gain - 0.1 * abs(float(config["lr"]) - 0.4) + 0.02 * luck
        progress = epoch / self.last
        speed = {"plain": 4.0, "early": 6.0, "late": 1.0}[str(config["loss"])]
        return min(end * (1 - math.exp(-speed * progress)) / (1 - math.exp(-speed)), 0.999)


def _params(candidate: Candidate) -> int:
    config = candidate.config
    blocks = sum((0, 1, 9)[BLOCKS.index(str(config[f"block{i}"]))] for i in range(4))
    return 10 + blocks * int(config["width"]) ** 2 // 4 + len(candidate.edits)


def _describe(candidate: Candidate) -> Description:
    config = candidate.config
    blocks = [str(config[f"block{i}"]) for i in range(4)]
    if blocks == ["none"] * 4:
        raise InvalidDraw("no block at all")
    graph = [blocks, config["width"], candidate.seed % 4, [edit.to_json() for edit in candidate.edits]]
    params = float(_params(candidate))
    features = (math.log(params), float(sum(block == "wide" for block in blocks)))
    return Description(digest(graph), {"params": params}, features)


def _edit(candidate: Candidate, rng: np.random.Generator) -> Candidate:
    return replace(candidate, edits=(*candidate.edits, Edit("nudge", {"by": int(rng.integers(4))})))


def landscape_problem(trials: int = 24, rungs: tuple[int, ...] = (9,), seed: int = 0, limit: float = 12_000) -> Problem:
    """The invented study as a problem: accuracy is measured, parameters are exact and limited."""
    objectives = (
        Objective("accuracy", "maximize", reference=0.4),
        Objective("params", "minimize", "params", limit=limit, exact=True),
    )
    return Problem(landscape_space(), objectives, rungs, trials, seed, _describe, _edit, cover=("loss",))


def answer(problem: Problem, trial: Trial, accuracy: float, order: int) -> Trial:
    """The trial after its segment in flight came back with this accuracy."""
    epoch = max(trial.until_epoch, problem.rungs[0])
    result = Result(
        epoch, {problem.measured.name: accuracy}, seconds={"student": float(epoch - trial.epoch)}, order=order
    )
    state = TrialState.COMPLETE if epoch == problem.rungs[-1] else TrialState.PAUSED
    return replace(trial, results=(*trial.results, result), state=state, until_epoch=epoch)


def accept(problem: Problem, trials: list[Trial], proposal: Proposal) -> list[Trial]:
    """The record after a proposal was taken up."""
    if proposal.trial is None:
        described = problem.describe(proposal.candidate)
        number, state = len(trials), TrialState.TRAINING
        new = Trial(number, proposal.candidate, described.fingerprint, state, costs=described.costs)
        return [*trials, replace(new, until_epoch=proposal.until_epoch, attempt=1)]
    training = TrialState.TRAINING
    return [
        replace(t, state=training, until_epoch=proposal.until_epoch) if t.number == proposal.trial else t
        for t in trials
    ]
