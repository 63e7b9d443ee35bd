"""What one parameter may be: a real number, a whole number, or one of a few values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from autostudent.records import Value

STEP = 0.15  # standard deviation of a local move, as a share of the range


class Domain(ABC):
    """The values of one parameter. `Space` samples them, checks them and turns them into numbers for a model."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Value:
        """A random value."""

    @abstractmethod
    def contains(self, value: object) -> bool:
        """Whether the value is allowed, its type included."""

    @abstractmethod
    def encode(self, value: Value) -> float:
        """Numbers as a share of their range in [0, 1] (of its logarithm where ``log``), choices as their index."""

    @abstractmethod
    def decode(self, u: float) -> Value:
        """The value nearest to an encoding."""

    @abstractmethod
    def move(self, value: Value, rng: np.random.Generator) -> Value:
        """Another value: near by for numbers, any other for choices."""

    @abstractmethod
    def describe(self) -> str:
        """The domain in words, for error messages and tables."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The domain as it would stand in a search-space file."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Float(Domain):
    """Real numbers from ``low`` to ``high``, uniform, or uniform in their logarithm."""

    low: float
    high: float
    log: bool = False

    def sample(self, rng: np.random.Generator) -> float:
        return self.decode(float(rng.random()))

    def contains(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]

    def encode(self, value: Value) -> float:
        x = float(value)
        if self.high == self.low:
            return 0.0
        if self.log:
            return math.log(x / self.low) / math.log(self.high / self.low)
        return (x - self.low) / (self.high - self.low)

    def decode(self, u: float) -> float:
        u = min(max(float(u), 0.0), 1.0)
        x = self.low * (self.high / self.low) ** u if self.log else self.low + u * (self.high - self.low)
        return min(max(x, self.low), self.high)

    def move(self, value: Value, rng: np.random.Generator) -> float:
        return self.decode(self.encode(value) + STEP * float(rng.normal()))

    def describe(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def to_json(self) -> dict[str, Any]:
        return {"float": [self.low, self.high], "log": self.log}


@dataclass(frozen=True)
class Int(Domain):
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int
    log: bool = False

    def sample(self, rng: np.random.Generator) -> int:
        if not self.log:
            return int(rng.integers(self.low, self.high + 1))
        edge = (self.low - 0.5, self.high + 0.5)
        x = round(math.exp(rng.uniform(math.log(edge[0]), math.log(edge[1]))))
        return min(max(x, self.low), self.high)

    def contains(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def encode(self, value: Value) -> float:
        return Float(self.low, self.high, self.log).encode(value)

    def decode(self, u: float) -> int:
        return round(Float(self.low, self.high, self.log).decode(u))

    def move(self, value: Value, rng: np.random.Generator) -> int:
        moved = self.decode(self.encode(value) + STEP * float(rng.normal()))
        if moved != value or self.low == self.high:
            return moved
        step = 1 if value == self.low or (value != self.high and rng.random() < 0.5) else -1
        return int(value) + step

    def describe(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def to_json(self) -> dict[str, Any]:
        return {"int": [self.low, self.high], "log": self.log}


@dataclass(frozen=True)
class Choice(Domain):
    """One of ``values``; ``weights`` say how often a random draw takes each (evenly when None)."""

    values: tuple[Value, ...]
    weights: tuple[float, ...] | None = None

    def sample(self, rng: np.random.Generator) -> Value:
        if self.weights is None:
            return self.values[int(rng.integers(len(self.values)))]
        bounds = np.cumsum(self.weights)
        return self.values[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]

    def contains(self, value: object) -> bool:
        return any(same(value, known) for known in self.values)

    def encode(self, value: Value) -> float:
        return float(next(i for i, known in enumerate(self.values) if same(value, known)))

    def decode(self, u: float) -> Value:
        return self.values[min(max(round(float(u)), 0), len(self.values) - 1)]

    def move(self, value: Value, rng: np.random.Generator) -> Value:
        others = [known for known in self.values if not same(value, known)]
        return others[int(rng.integers(len(others)))] if others else value

    def describe(self) -> str:
        return "one of: " + ", ".join(str(value) for value in self.values)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"choice": list(self.values)}
        return out if self.weights is None else {**out, "weights": list(self.weights)}


def same(a: object, b: object) -> bool:
    """Equality that tells ``true`` from ``1``."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)
