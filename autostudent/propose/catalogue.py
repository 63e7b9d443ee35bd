"""Described candidates: the stream of fresh draws and the relatives of known candidates, cached.

Everything here is a function of the problem alone; the caches only save drawing the same graph twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autostudent.errors import ConfigError, InvalidDraw
from autostudent.records import Candidate, Description, Problem, Value

CACHE_SIZE = 50_000  # descriptions; about 100 MB at most
TRIES_PER_DRAW = 20  # infeasible or invalid draws that are skipped for one feasible one, before giving up


@dataclass(frozen=True)
class Option:
    """A candidate that may be trained: valid, within every limit."""

    candidate: Candidate
    description: Description
    identity: tuple[Any, ...]


def identity(problem: Problem, candidate: Candidate, fingerprint: str) -> tuple[Any, ...]:
    """What makes two candidates duplicates: the graph's fingerprint and the recipe's active values."""
    config = candidate.config
    return (fingerprint, *((name, config[name]) for name in problem.space.recipe if name in config))


class Catalogue:
    """Draws and describes candidates of one problem."""

    def __init__(self, problem: Problem, generator: Callable[..., np.random.Generator]) -> None:
        self.problem = problem
        self._generator = generator
        self._described: OrderedDict[str, Description | None] = OrderedDict()
        self._relatives: OrderedDict[tuple[str, int], Option | None] = OrderedDict()
        self._fresh: OrderedDict[int, Option | None] = OrderedDict()

    def serves(self, problem: Problem) -> bool:
        """Whether what is cached belongs to this problem; a larger budget of trials changes nothing here."""
        mine = self.problem
        return (
            mine.space is problem.space
            and mine.describe == problem.describe
            and mine.seed == problem.seed
            and mine.objectives == problem.objectives
            and mine.rungs == problem.rungs
            and mine.cover == problem.cover
        )

    def describe(self, candidate: Candidate) -> Description | None:
        """The problem's description, None for a graph that cannot be drawn."""
        key = candidate.key
        if key in self._described:
            self._described.move_to_end(key)
            return self._described[key]
        try:
            described: Description | None = self.problem.describe(candidate)
        except InvalidDraw:
            described = None
        _remember(self._described, key, described)
        return described

    def option(self, candidate: Candidate) -> Option | None:
        """The candidate with its description; None when it is invalid or over a limit."""
        described = self.describe(candidate)
        if described is None or not described.feasible:
            return None
        for objective in self.problem.objectives:
            if objective.exact and not objective.admits(described.costs[objective.name]):
                return None
        return Option(candidate, described, identity(self.problem, candidate, described.fingerprint))

    def fresh(self, start: int, stop: int) -> list[Option]:
        """Feasible independent draws at places ``start`` to ``stop`` of the problem's one stream.

        Fewer than that where feasible ones are too rare. Every place is drawn on its own: a study that is resumed after
        thousands of students needs none of the places before.
        """
        drawn = (self._place(place) for place in range(start, stop))
        return [option for option in drawn if option is not None]

    def _place(self, place: int) -> Option | None:
        if place in self._fresh:
            self._fresh.move_to_end(place)
            return self._fresh[place]
        found = None
        for attempt in range(TRIES_PER_DRAW):
            rng = self._generator(self.problem.seed, "fresh", place, *([attempt] if attempt else []))
            candidate = Candidate(self.problem.space.sample(rng), int(rng.integers(2**31)))
            if (found := self.option(candidate)) is not None:
                break
        _remember(self._fresh, place, found)
        return found

    def relative(self, candidate: Candidate, index: int) -> Option | None:
        """Relative number ``index`` of a candidate: one change to graph, recipe or generator, by turns."""
        key = (candidate.key, index)
        if key in self._relatives:
            self._relatives.move_to_end(key)
            return self._relatives[key]
        rng = self._generator(self.problem.seed, "relative", candidate.key, index)
        option = self.option(self._change(candidate, index, rng))
        _remember(self._relatives, key, option)
        return option

    def _change(self, candidate: Candidate, index: int, rng: np.random.Generator) -> Candidate:
        space = self.problem.space
        recipe = tuple(name for name in space.recipe if name in candidate.config)
        drawing = tuple(name for name in space.names if name not in space.recipe and name in candidate.config)
        changes: list[Callable[[], Candidate | None]] = []
        if drawing:
            changes.append(lambda: _mutated(self.problem, candidate, rng, drawing, candidate.seed))
        if self.problem.edit is not None:
            changes.append(lambda: self._edited(candidate, rng))
        if recipe:
            changes.append(lambda: _mutated(self.problem, candidate, rng, recipe, candidate.seed))
        if self.problem.edit is not None:  # a graph that is drawn at all has a seed worth redrawing
            changes.append(lambda: Candidate(candidate.config, int(rng.integers(2**31))))
        return changes[index % len(changes)]() or candidate

    def _edited(self, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
        assert self.problem.edit is not None
        try:
            return self.problem.edit(candidate, rng)
        except InvalidDraw:
            return None


def _mutated(
    problem: Problem, candidate: Candidate, rng: np.random.Generator, names: tuple[str, ...], seed: int
) -> Candidate | None:
    try:
        config: dict[str, Value] = problem.space.mutate(candidate.config, rng, names)
    except ConfigError:  # nothing among the names can change
        return None
    return Candidate(config, seed, candidate.edits)


def _remember(cache: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    if len(cache) > CACHE_SIZE:
        cache.popitem(last=False)
