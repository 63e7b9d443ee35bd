"""What an Optuna study's parameters may be together: learned from its trials, or replayed from a function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from autostudent.optuna_samplers.columns import Column
from autostudent.records import Value
from autostudent.space.domains import Choice, Domain, Int

Config = Mapping[str, Value]
Branch = tuple[str, ...]  # names of parameters
FEW = 20  # whole numbers with at most so many values can decide which other parameters exist
REPLAYS = 256  # from which a space that is a function knows its names and ranges


class StudySpace(ABC):
    """A space of coded parameters (see `Column`) whose active names form branches."""

    recipe: tuple[str, ...] = ()

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.columns = dict(columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """A complete configuration of one branch."""

    @abstractmethod
    def mutate(self, config: Config, rng: np.random.Generator, names: Sequence[str]) -> dict[str, Value]:
        """The configuration with one of ``names`` changed, complete again."""

    @abstractmethod
    def complete(self, config: Config) -> bool:
        """Whether the configuration has exactly the parameters of one branch."""

    def check(self, config: Config) -> None:
        """Raises KeyError for an unknown name."""
        for name in config:
            self.columns[name]

    def encode(self, config: Config) -> np.ndarray:
        """(d,) shares of the ranges and indices of choices; NaN for what a branch has not."""
        return np.array(
            [self.columns[name].domain.encode(config[name]) if name in config else np.nan for name in self.columns]
        )

    def params(self, config: Config) -> dict[str, Any]:
        """The configuration as Optuna's parameters."""
        return {name: self.columns[name].value(code) for name, code in config.items()}

    def config(self, params: Mapping[str, Any]) -> dict[str, Value] | None:
        """Optuna's parameters as a configuration; None when one is unknown or out of range by now."""
        if any(name not in self.columns or not self.columns[name].holds(value) for name, value in params.items()):
            return None
        return {name: self.columns[name].code(value) for name, value in params.items()}


class BranchSpace(StudySpace):
    """Branches are the key sets of finished trials; distributions are the newest of each name.

    Which parameters decide on the branch is not known. One with few values, or two of these together, are taken for
    deciding when any two of their values seen occur in the same branches or in none together, and that tells branches
    apart that nothing before did. In a branch the deciding ones keep to the values seen there.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        newest: dict[str, BaseDistribution] = {}
        for trial in trials:
            newest.update(trial.distributions)
        super().__init__({name: Column(distribution) for name, distribution in newest.items()})
        self.branches = list(dict.fromkeys(tuple(name for name in newest if name in t.params) for t in trials))
        self._allowed = self._deciding([config for t in trials if (config := self.config(t.params)) is not None])

    def equals(self, other: BranchSpace) -> bool:
        """Whether both draw the same from the same random numbers."""
        mine = {name: column.distribution for name, column in self.columns.items()}
        theirs = {name: column.distribution for name, column in other.columns.items()}
        return mine == theirs and self.branches == other.branches and self._allowed == other._allowed

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        branch = self.branches[int(rng.integers(len(self.branches)))]
        config = {name: self.columns[name].domain.sample(rng) for name in branch}
        for names, allowed in self._allowed.get(branch, {}).items():
            config.update(zip(names, allowed[int(rng.integers(len(allowed)))], strict=True))
        return config

    def mutate(self, config: Config, rng: np.random.Generator, names: Sequence[str]) -> dict[str, Value]:
        branch = tuple(name for name in self.columns if name in config)
        name = names[int(rng.integers(len(names)))]
        for group, allowed in self._allowed.get(branch, {}).items():
            if name in group:
                return {**config, **dict(zip(group, allowed[int(rng.integers(len(allowed)))], strict=True))}
        return {**config, name: self.columns[name].domain.move(config[name], rng)}

    def complete(self, config: Config) -> bool:
        return tuple(name for name in self.columns if name in config) in self.branches

    def _deciding(self, configs: Sequence[Config]) -> dict[Branch, dict[Branch, list[tuple[Value, ...]]]]:
        """By branch the deciding parameters and the values, of all in a group together, to which they keep there."""
        allowed: dict[Branch, dict[Branch, list[tuple[Value, ...]]]] = {}
        alike = set(combinations(self.branches, 2))  # branches that nothing tells apart yet
        few = [name for name, column in self.columns.items() if _is_small(column.domain)]
        for group in (group for size in (1, 2) for group in combinations(few, size)):
            if not alike:
                break
            seen: dict[tuple[Value, ...], set[Branch]] = {}
            for config in configs:
                if all(name in config for name in group):
                    branch = tuple(name for name in self.columns if name in config)
                    seen.setdefault(tuple(config[name] for name in group), set()).add(branch)
            home: dict[Branch, set[Branch]] = {}  # branches in which the same values occur
            if any(home.setdefault(branch, places) != places for places in seen.values() for branch in places):
                continue
            told = {(a, b) for a, b in alike if a in home and b in home and home[a] != home[b]}
            if not told:
                continue
            alike -= told
            for values, branches in seen.items():
                for branch in branches:
                    allowed.setdefault(branch, {}).setdefault(group, []).append(values)
        return allowed


def _is_small(domain: Domain) -> bool:
    """Whether a parameter has few enough values to decide which others exist."""
    return isinstance(domain, Choice) or (isinstance(domain, Int) and domain.high - domain.low < FEW)


class DefinedSpace(StudySpace):
    """Replays a function of suggest calls, so that every configuration is complete from the first trial on.

    Where the range of a number depends on other parameters, its column has all ranges seen together.
    """

    def __init__(self, define: Callable[[Any], object], seed: int) -> None:
        super().__init__({})
        self._define = define
        rng = np.random.default_rng(seed)
        for _ in range(REPLAYS):  # so that the order of names and the ranges do not depend on trials
            self.sample(rng)

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        return self._replay({}, rng)

    def mutate(self, config: Config, rng: np.random.Generator, names: Sequence[str]) -> dict[str, Value]:
        name = names[int(rng.integers(len(names)))]
        return self._replay({**config, name: self.columns[name].domain.move(config[name], rng)}, rng)

    def complete(self, config: Config) -> bool:
        return self._replay(config, np.random.default_rng(0)) == dict(config)

    def knows(self, params: Mapping[str, Any], name: str) -> bool:
        """Whether the function suggests ``name`` where these parameters were suggested before."""
        if name not in self.columns:
            known = {other: value for other, value in params.items() if other in self.columns}
            self._replay(self.config(known) or {}, np.random.default_rng(0))
        return name in self.columns

    def _replay(self, wanted: Config, rng: np.random.Generator) -> dict[str, Value]:
        trial = Replay(wanted, rng)
        self._define(trial)
        for name, column in trial.columns.items():
            known = self.columns.get(name)
            if known is None or known.distribution != column.distribution:
                self.columns[name] = column if known is None else known.joined(name, column)
        return trial.config


class Replay:
    """Stands in for an Optuna trial: answers suggest calls from a configuration, or by drawing."""

    def __init__(self, wanted: Config, rng: np.random.Generator) -> None:
        self._wanted, self._rng = wanted, rng
        self.config: dict[str, Value] = {}
        self.columns: dict[str, Column] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._answer(name, CategoricalDistribution(tuple(choices)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return self._answer(name, FloatDistribution(low, high, log=log, step=step))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self._answer(name, IntDistribution(low, high, log=log, step=step))

    @property
    def params(self) -> dict[str, Any]:
        """What was suggested so far."""
        return {name: self.columns[name].value(code) for name, code in self.config.items()}

    def _answer(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.columns:
            column = self.columns[name] = Column(distribution)
            code = self._wanted.get(name)
            self.config[name] = (
                code if code is not None and column.domain.contains(code) else column.domain.sample(self._rng)
            )
        return self.columns[name].value(self.config[name])
