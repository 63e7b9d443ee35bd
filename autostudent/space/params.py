"""One parameter of a search space, and how its YAML entry is read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autostudent.errors import ConfigError, unknown_name
from autostudent.records import Value
from autostudent.space.domains import Choice, Domain, Float, Int, same
from autostudent.space.yaml_loader import parse_quantity

ENTRIES = ("float", "int", "choice", "log", "weights", "default", "when", "about")


@dataclass(frozen=True)
class Param:
    """A named domain. It applies only ``when`` each of its parents applies and has one of the values listed."""

    name: str
    domain: Domain
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    default: Value | None = None
    about: str = ""

    def applies(self, config: Mapping[str, Value]) -> bool:
        """Whether it applies, where ``config`` holds the active parameters declared before it."""
        for parent, values in self.when.items():
            if parent not in config or not any(same(config[parent], value) for value in values):
                return False
        return True

    @property
    def condition(self) -> str:
        """``when`` in words."""
        return " and ".join(f"{parent} is {' or '.join(map(str, values))}" for parent, values in self.when.items())

    @property
    def varies(self) -> bool:
        """Whether it has more than one value."""
        if isinstance(self.domain, Choice):
            return len(self.domain.values) > 1
        return isinstance(self.domain, Float | Int) and self.domain.low < self.domain.high

    def typical(self) -> Value:
        """The default, or else the middle of the range (the first of choices)."""
        if self.default is not None:
            return self.default
        return self.domain.decode(0.0 if isinstance(self.domain, Choice) else 0.5)

    def to_json(self) -> dict[str, Any]:
        when = {parent: list(values) for parent, values in self.when.items()}
        return {"name": self.name, **self.domain.to_json(), "when": when, "default": self.default}


def read_param(key: str, name: str, entry: object) -> Param:
    """A `Param` from its YAML entry, for example ``{float: [1, 20], log: true, when: {kd.loss: [kd, dkd]}}``.

    Raises:
        ConfigError: naming the entry under ``key``.
    """
    if not isinstance(entry, Mapping):
        raise ConfigError(key, entry, "a mapping such as {float: [0.1, 1.0]}, {int: [3, 5]} or {choice: [a, b]}")
    for word in entry:
        if word not in ENTRIES:
            raise unknown_name(key, str(word), ENTRIES)
    kinds = [kind for kind in ("float", "int", "choice") if kind in entry]
    if len(kinds) != 1:
        raise ConfigError(key, kinds, "exactly one of float, int, choice")
    domain = read_choice(key, entry) if kinds == ["choice"] else read_range(key, entry, kinds[0])
    default = entry.get("default")
    if default is not None and not domain.contains(default):
        raise ConfigError(f"{key}.default", default, domain.describe())
    when = entry.get("when", {})
    if not isinstance(when, Mapping):
        raise ConfigError(f"{key}.when", when, "a mapping of parameters to the values under which this one applies")
    parents = {str(p): tuple(v) if isinstance(v, list) else (v,) for p, v in when.items()}
    if isinstance(domain, Float) and default is not None:
        default = float(default)
    return Param(name, domain, parents, default, str(entry.get("about", "")))


def read_choice(key: str, entry: Mapping[str, Any]) -> Choice:
    """The domain of ``{choice: [...], weights: [...]}``."""
    values = entry["choice"]
    if not isinstance(values, list) or not values or not all(isinstance(v, str | int | float | bool) for v in values):
        raise ConfigError(f"{key}.choice", values, "a list of words or numbers")
    if any(same(a, b) for i, a in enumerate(values) for b in values[:i]):
        raise ConfigError(f"{key}.choice", values, "every value once")
    if "log" in entry:
        raise ConfigError(f"{key}.log", entry["log"], "nothing: choices have no scale")
    weights = entry.get("weights")
    if weights is None:
        return Choice(tuple(values))
    fit = isinstance(weights, list) and len(weights) == len(values)
    if not fit or not all(_finite(w) and w >= 0 for w in weights) or sum(weights) <= 0:
        raise ConfigError(f"{key}.weights", weights, f"{len(values)} numbers that are not negative and not all zero")
    return Choice(tuple(values), tuple(float(w) for w in weights))


def read_range(key: str, entry: Mapping[str, Any], kind: str) -> Float | Int:
    """The domain of ``{float: [low, high], log: …}`` or ``{int: [low, high]}``; bounds may carry units (``100k``)."""
    bounds, log = entry[kind], entry.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{key}.log", log, "true or false")
    if "weights" in entry:
        raise ConfigError(f"{key}.weights", entry["weights"], "nothing: only choices have weights")
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise ConfigError(f"{key}.{kind}", bounds, "[low, high]")
    low, high = (parse_quantity(bound, f"{key}.{kind}") for bound in bounds)
    if low > high or (log and low <= 0):
        raise ConfigError(f"{key}.{kind}", bounds, "low <= high" + (", both above zero (log)" if log else ""))
    if kind == "float":
        return Float(low, high, log)
    if low != int(low) or high != int(high):
        raise ConfigError(f"{key}.int", bounds, "whole numbers")
    return Int(int(low), int(high), log)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
