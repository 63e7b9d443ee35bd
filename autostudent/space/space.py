"""A search space: named parameters, which of them apply when, what is forbidden. Read from ``search_spaces/*.yaml``.

A space joins two files: how students are drawn (``students``) and how they are taught (``recipe``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autostudent.errors import ConfigError, unknown_name
from autostudent.records import Value, digest
from autostudent.space.domains import Choice, Domain, same
from autostudent.space.files import SpaceFile, read_file
from autostudent.space.params import Param
from autostudent.space.rules import Rule, read_rule

TRIES = 1000  # random draws before a space is called over-constrained

__all__ = ["Param", "Space", "list_spaces", "load_space"]


@dataclass(frozen=True)
class Space:
    """All that may vary. ``students`` and ``recipe`` are the names of the two parts, ``fixed`` holds constants.

    ``ops`` is the vocabulary of operations, ``generator`` draws the graphs ("hnag" or "resnet").
    """

    params: Mapping[str, Param]
    rules: tuple[Rule, ...]
    modality: str
    generator: str
    ops: tuple[str, ...]
    fixed: Mapping[str, Value]
    students: tuple[str, ...]
    recipe: tuple[str, ...]
    about: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every parameter, in the order of the columns of `encode`."""
        return tuple(self.params)

    @cached_property
    def defaults(self) -> dict[str, Value]:
        """Values of the parameters that declare one."""
        return {name: param.default for name, param in self.params.items() if param.default is not None}

    @cached_property
    def merges(self) -> tuple[str, ...]:
        """Every way in which the space joins several inputs of a node."""
        found: list[Value] = []
        for name in ("merge", "top.merge", "cell.merge", "node.merge"):
            if name in self.params:
                found += getattr(self.params[name].domain, "values", ())
            elif name in self.fixed:
                found.append(self.fixed[name])
        return tuple(dict.fromkeys(str(value) for value in found))

    def active(self, config: Mapping[str, Value]) -> tuple[str, ...]:
        """Names that apply, given the values of their parents in ``config``."""
        found: dict[str, None] = {}
        for name, param in self.params.items():
            if all(
                parent in found and parent in config and any(same(config[parent], value) for value in values)
                for parent, values in param.when.items()
            ):
                found[name] = None
        return tuple(found)

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """A random configuration of active parameters that breaks no rule.

        Raises:
            ConfigError: when the rules leave next to nothing.
        """
        for _ in range(TRIES):
            config: dict[str, Value] = {}
            for name, param in self.params.items():
                if param.applies(config):
                    config[name] = param.domain.sample(rng)
            if not any(rule.breaks(config) for rule in self.rules):
                return config
        raise ConfigError("forbid", [rule.text for rule in self.rules], "rules that leave something to draw")

    def check(self, config: Mapping[str, Value]) -> None:
        """Raises `ConfigError` unless ``config`` holds exactly the active parameters, in range, and breaks no rule."""
        for name in config:
            if name not in self.params:
                raise unknown_name("config", name, self.params)
        active = self.active(config)
        for name in active:
            domain = self.params[name].domain
            if name not in config:
                raise ConfigError(name, None, domain.describe())
            if not domain.contains(config[name]):
                raise ConfigError(name, config[name], domain.describe())
        for name in config:
            if name not in active:
                raise ConfigError(name, config[name], f"nothing: it applies only when {self.params[name].condition}")
        for rule in self.rules:
            if rule.breaks(config):
                raise ConfigError(rule.left, config[rule.left], f"a value that the rule `forbid: {rule.text}` allows")

    def encode(self, config: Mapping[str, Value]) -> np.ndarray:
        """``(d,)`` numbers in the order of `names`; NaN where a parameter does not apply."""
        return np.array(
            [param.domain.encode(config[name]) if name in config else np.nan for name, param in self.params.items()]
        )

    def decode(self, u: Sequence[float] | np.ndarray) -> dict[str, Value]:
        """The configuration nearest to ``(d,)`` numbers; a NaN where a parameter applies becomes its default or middle.

        The rules are not looked at: call `check` where that matters.
        """
        config: dict[str, Value] = {}
        for x, (name, param) in zip(u, self.params.items(), strict=True):
            if param.applies(config):
                config[name] = param.typical() if np.isnan(x) else param.domain.decode(float(x))
        return config

    def mutate(self, config: Mapping[str, Value], rng: np.random.Generator, names: Sequence[str]) -> dict[str, Value]:
        """A configuration that differs in one of ``names`` (and in what then starts or stops to apply).

        Raises:
            ConfigError: when none of ``names`` can change within the rules.
        """
        movable = [name for name in names if name in config and self.params[name].varies]
        for _ in range(TRIES if movable else 0):
            name = movable[int(rng.integers(len(movable)))]
            domain = self.params[name].domain
            moved = domain.sample(rng) if rng.random() < 0.25 else domain.move(config[name], rng)
            if same(moved, config[name]):
                continue
            repaired = self._repair({**config, name: moved}, rng)
            if not any(rule.breaks(repaired) for rule in self.rules):
                return repaired
        raise ConfigError("mutate", list(names), "active parameters that can change without breaking a rule")

    def _repair(self, config: Mapping[str, Value], rng: np.random.Generator) -> dict[str, Value]:
        """Drops what no longer applies and draws what now does."""
        repaired: dict[str, Value] = {}
        for name, param in self.params.items():
            if param.applies(repaired):
                repaired[name] = config[name] if name in config else param.domain.sample(rng)
        return repaired

    def to_json(self) -> dict[str, Any]:
        """Everything that decides what the space can draw."""
        return {
            "modality": self.modality,
            "generator": self.generator,
            "ops": list(self.ops),
            "fixed": dict(self.fixed),
            "params": [param.to_json() for param in self.params.values()],
            "forbid": [rule.text for rule in self.rules],
            "students": list(self.students),
            "recipe": list(self.recipe),
        }

    @cached_property
    def digest(self) -> str:
        """Equal for spaces that draw the same."""
        return digest(self.to_json())


def load_space(students: str | Path, recipe: str | Path | None = None) -> Space:
    """The space of two files, each a name in ``search_spaces/`` or a path; without ``recipe``, students only.

    Raises:
        ConfigError: for a file that is missing, not a search space, or holds an entry that cannot be used.
    """
    from_students = read_file(students, "students")
    parts: list[SpaceFile] = [from_students]
    if recipe is not None:
        parts.append(read_file(recipe, "recipe"))
    params: dict[str, Param] = {}
    for part in parts:
        for param in part.params:
            if param.name in params or param.name in from_students.fixed:
                raise ConfigError(f"{part.name}.params", param.name, "every parameter once")
            for parent, values in param.when.items():
                check_parent(param, parent, values, params)
            params[param.name] = param
    domains: dict[str, Domain] = {name: param.domain for name, param in params.items()}
    rules = tuple(read_rule(text, domains) for part in parts for text in part.forbid)
    return Space(
        params=params,
        rules=rules,
        modality=from_students.modality,
        generator=from_students.generator,
        ops=from_students.ops,
        fixed=from_students.fixed,
        students=tuple(param.name for param in parts[0].params),
        recipe=tuple(param.name for part in parts[1:] for param in part.params),
        about={part.name: part.about for part in parts},
    )


def check_parent(param: Param, parent: str, values: tuple[Value, ...], known: Mapping[str, Param]) -> None:
    """Raises `ConfigError` unless ``parent`` is declared before ``param`` and can take one of ``values``."""
    if parent not in known:
        raise unknown_name(f"{param.name}.when (a parameter declared before it)", parent, known)
    domain = known[parent].domain
    for value in values:
        if not domain.contains(value):
            raise ConfigError(f"{param.name}.when.{parent}", value, domain.describe())
    if not values:
        raise ConfigError(f"{param.name}.when.{parent}", list(values), "at least one value")


def list_spaces() -> list[dict[str, Any]]:
    """One row a file in ``search_spaces/``: name, kind ("students" or "recipe"), about, and number of parameters."""
    from autostudent.space.files import folder

    rows = []
    for path in sorted(folder().glob("*.yaml")):
        file = read_file(path, None)
        choices = sum(isinstance(param.domain, Choice) for param in file.params)
        rows.append(
            {"name": path.stem, "kind": file.kind, "about": file.about, "params": len(file.params), "choices": choices}
        )
    return rows
