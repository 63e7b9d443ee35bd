"""From a search space to what a proposer sees: candidates described by their real, frozen graphs."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from autostudent.errors import ConfigError, InvalidDraw
from autostudent.records import LATENCY, Candidate, Description, Objective, Problem, Trial
from autostudent.space.architecture import Architecture, InputShape, features, freeze, neighbour
from autostudent.space.cost import costs
from autostudent.space.space import Space

CACHED = 50_000  # descriptions kept; one is about a kilobyte
PROBES = 200  # draws from which the space's sizes are judged


class Catalogue:
    """Describes candidates of one space for one input, remembering what it has seen."""

    def __init__(self, space: Space, shape: InputShape, objectives: tuple[Objective, ...]) -> None:
        self.space, self.shape, self.objectives = space, shape, objectives
        self._seen: OrderedDict[str, Description | str] = OrderedDict()
        self._record: dict[int, list[Trial]] = {}  # recalled trials by the seeds of their graphs

    def architecture(self, candidate: Candidate) -> Architecture:
        """The frozen graph. Raises `InvalidDraw`."""
        return freeze(candidate, self.space, self.shape)

    def describe(self, candidate: Candidate) -> Description:
        """Identity, exact costs, features and feasibility. Raises `InvalidDraw`."""
        key = self._key(candidate)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._recorded(key, candidate.seed) or self._describe(candidate)
            self._remember(key, seen)
        if isinstance(seen, str):
            raise InvalidDraw(seen)
        return seen

    def recall(self, trials: Sequence[Trial]) -> None:
        """Takes what the record says of its students, so that their graphs need not be drawn to describe them."""
        for trial in trials:
            if trial.features:
                self._record.setdefault(trial.candidate.seed, []).append(trial)

    def _recorded(self, key: str, seed: int) -> Description | None:
        # Found by seed first: keys of ten thousand students take longer than a proposal may.
        for trial in self._record.get(seed, ()):
            if self._key(trial.candidate) == key:
                return Description(trial.fingerprint, trial.costs, trial.features, self._feasible(trial.costs))
        return None

    def _key(self, candidate: Candidate) -> str:
        """Recipes share their student's description."""
        students = {name: candidate.config[name] for name in self.space.students if name in candidate.config}
        return dataclasses.replace(candidate, config=students).key

    def _remember(self, key: str, seen: Description | str) -> None:
        self._seen[key] = seen
        if len(self._seen) > CACHED:
            self._seen.popitem(last=False)

    def _feasible(self, exact: Mapping[str, float]) -> bool:
        return all(objective.admits(exact[objective.name]) for objective in self.objectives if objective.exact)

    def _describe(self, candidate: Candidate) -> Description | str:
        try:
            architecture = self.architecture(candidate)
        except InvalidDraw as refused:
            return str(refused)
        exact = {name: float(value) for name, value in costs(architecture).as_dict().items()}
        known = features(architecture, candidate, self.space)
        return Description(architecture.fingerprint, exact, known, self._feasible(exact))

    def edit(self, candidate: Candidate, rng: np.random.Generator) -> Candidate:
        """A neighbour of the candidate by one change of its graph."""
        return neighbour(candidate, self.space, self.shape, rng)

    def probe(self, seed: int, draws: int = PROBES) -> list[tuple[Candidate, Description]]:
        """Random draws with their descriptions, invalid ones left out."""
        rng = np.random.default_rng((seed, 7))
        found = []
        for _ in range(draws):
            candidate = Candidate(self.space.sample(rng), int(rng.integers(2**31)))
            try:
                found.append((candidate, self.describe(candidate)))
            except InvalidDraw:
                continue
        return found


def above_chance(objectives: tuple[Objective, ...], classes: int) -> tuple[Objective, ...]:
    """Objectives for a front: an accuracy without a reference must beat nine tenths of the error of guessing."""
    floor = 1 - 0.9 * (1 - 1 / classes)
    return tuple(
        dataclasses.replace(objective, reference=floor)
        if objective.name == "accuracy" and objective.reference is None
        else objective
        for objective in objectives
    )


def with_references(
    objectives: tuple[Objective, ...],
    probes: list[Description],
    teacher: Mapping[str, float],
    classes: int,
    slowest_ms: float | None = None,
) -> tuple[Objective, ...]:
    """Objectives whose missing references are filled in.

    An exact cost counts up to its limit, or to the largest of the probed draws. Accuracy counts from an error of three
    times the teacher's plus five points (but never beyond nine tenths of chance level), log-loss and calibration error
    up to their limits, or in the same way from the teacher's. Latency counts up to its limit, or to ``slowest_ms``.

    Args:
        teacher: what was measured of it: "accuracy", and "nll" or "ece" where they are objectives.
    """
    guessing = {"accuracy": 1 - 1 / classes, "nll": math.log(classes), "ece": 1.0}
    filled = []
    for objective in objectives:
        if objective.reference is not None:
            filled.append(objective)
        elif objective.exact:
            largest = max(probe.costs[objective.name] for probe in probes)
            filled.append(dataclasses.replace(objective, reference=objective.limit or largest))
        elif objective.name in guessing:
            known = teacher[objective.name]
            loss = min(
                0.9 * guessing[objective.name], 3 * (1 - known if objective.name == "accuracy" else known) + 0.05
            )
            worst = 1 - loss if objective.name == "accuracy" else objective.limit or loss
            filled.append(dataclasses.replace(objective, reference=worst))
        elif objective.name == LATENCY and (objective.limit or slowest_ms):
            filled.append(dataclasses.replace(objective, reference=objective.limit or slowest_ms))
        else:
            raise ConfigError(f"{objective.entry}.reference", None, "the worst value that still counts")
    return tuple(filled)


def require_feasible(objectives: tuple[Objective, ...], probes: list[Description]) -> None:
    """Raises `ConfigError` when no probed student respects the limits, naming the smallest that was seen."""
    if not probes:
        allowed = "a space whose draws give connected graphs, and pictures of at least 4 pixels a side"
        raise ConfigError("space", "no valid graph in the first draws", allowed)
    if any(probe.feasible for probe in probes):
        return
    for objective in objectives:
        if objective.exact and objective.limit is not None:
            smallest = min(probe.costs[objective.name] for probe in probes)
            if not objective.admits(smallest):
                raise ConfigError(
                    f"{objective.entry}.limit",
                    objective.limit,
                    f"at least {smallest:,.0f} {objective.unit or ''}".strip()
                    + ", the smallest student seen in the space",
                )
    raise ConfigError("objectives", "limits that no drawn student meets together", "looser limits, or another space")


def make_problem(
    catalogue: Catalogue,
    objectives: tuple[Objective, ...],
    rungs: tuple[int, ...],
    trials: int,
    seed: int,
    cover: tuple[str, ...],
) -> Problem:
    """The problem that a study gives its proposer; segments of one training are paid by their epochs."""
    steps = np.diff((0, *rungs)) / rungs[-1]
    return Problem(
        space=catalogue.space,
        objectives=objectives,
        rungs=rungs,
        trials=trials,
        seed=seed,
        describe=catalogue.describe,
        edit=catalogue.edit,
        rung_costs=tuple(float(step) for step in steps),
        cover=cover,
    )


def structural(space: Space) -> tuple[str, ...]:
    """Recipe choices that others are conditional on: those that decide what kind of recipe it is."""
    parents = {parent for param in space.params.values() for parent in param.when}
    return tuple(name for name in space.recipe if name in parents)
