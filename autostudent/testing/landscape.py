"""An invented study without any training, on which a proposer can be tried in a second.

Twelve building choices make the "graph", a method with conditional knobs the "recipe". Costs are exact; the error falls
with size and depends on the recipe. Methods rise at different speeds, as real ones do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autostudent.errors import ConfigError, InvalidDraw
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
    Value,
    digest,
)

BLOCKS = ("none", "thin", "wide")
METHODS = ("plain", "early", "late")


class LandscapeSpace:
    """Six blocks, a width, and a recipe whose temperature exists only with a teacher."""

    names = ("block0", "block1", "block2", "block3", "width", "loss", "temperature", "lr")
    recipe = ("loss", "temperature", "lr")

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        config: dict[str, Value] = {f"block{i}": str(rng.choice(BLOCKS)) for i in range(4)}
        config |= {"width": int(rng.integers(4, 65)), "loss": str(rng.choice(METHODS)), "lr": float(rng.random())}
        if config["loss"] != "plain":
            config["temperature"] = float(rng.random())
        return config

    def check(self, config: Mapping[str, Value]) -> None:
        if ("temperature" in config) == (config.get("loss") == "plain"):
            raise ConfigError("temperature", config.get("temperature"), "a number exactly when loss is not plain")

    def encode(self, config: Mapping[str, Value]) -> np.ndarray:
        return np.array([self._code(name, config[name]) if name in config else np.nan for name in self.names])

    def mutate(self, config: Mapping[str, Value], rng: np.random.Generator, names: Sequence[str]) -> dict[str, Value]:
        fresh = self.sample(rng)
        name = str(rng.choice(list(names)))
        changed = {**config, name: fresh.get(name, config[name])}
        if changed["loss"] == "plain":
            changed.pop("temperature", None)
        elif "temperature" not in changed:
            changed["temperature"] = float(rng.random())
        return changed

    def _code(self, name: str, value: Value) -> float:
        if name == "width":
            return (float(value) - 4) / 60
        if name == "loss":
            return float(METHODS.index(str(value)))
        return float(BLOCKS.index(str(value))) if name.startswith("block") else float(value)


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
    return Problem(LandscapeSpace(), objectives, rungs, trials, seed, _describe, _edit, cover=("loss",))


def answer(problem: Problem, trial: Trial, accuracy: float, order: int) -> Trial:
    """The trial after its segment in flight came back with this accuracy."""
    epoch = max(trial.until_epoch, problem.rungs[0])
    result = Result(epoch, {problem.measured.name: accuracy}, seconds={"student": 1.0}, order=order)
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
