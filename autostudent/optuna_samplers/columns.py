"""Optuna's distributions as domains, with plain JSON codes for their values."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autostudent.records import Value
from autostudent.space.domains import Choice, Domain, Float, Int

EXACT = 2**53  # whole numbers up to here are exact as floats


class Column:
    """One parameter: a choice is coded by its index as text, a stepped number by its step, any other by itself."""

    def __init__(self, distribution: BaseDistribution) -> None:
        self.distribution = distribution
        self.domain, self._step = _domain(distribution)

    def code(self, value: Any) -> Value:
        """The code of a parameter's value."""
        if isinstance(self.distribution, CategoricalDistribution):
            return str(int(self.distribution.to_internal_repr(value)))
        if self._step is not None:
            return round((float(value) - self._low) / self._step)
        return float(value) if isinstance(self.distribution, FloatDistribution) else int(value)

    def value(self, code: Value) -> Any:
        """The inverse of `code`."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices[int(code)]
        if self._step is not None:
            value = min(self._low + int(code) * self._step, self._high)  # 3 * 0.1 is above 0.3
            return float(value) if isinstance(self.distribution, FloatDistribution) else int(value)
        return code

    def holds(self, value: Any) -> bool:
        """Whether the value is within the distribution."""
        try:
            return bool(self.distribution._contains(self.distribution.to_internal_repr(value)))
        except (TypeError, ValueError):  # a choice that is gone, a text where a number belongs
            return False

    def joined(self, name: str, other: Column) -> Column:
        """A column with the ranges of both, for a parameter ``name`` whose range depends on others.

        Raises:
            ValueError: where the codes of the two mean different things.
        """
        a, b = self.distribution, other.distribution
        one, two = vars(a), vars(b)
        moved = {key for key in one if one[key] != two.get(key)}
        if type(a) is type(b) and moved <= ({"high"} if self._step else {"low", "high"}):
            ends = {"low": min(one["low"], two["low"]), "high": max(one["high"], two["high"])}
            return Column(type(a)(**{**one, **ends}))
        raise ValueError(
            f"define suggests {name!r} as {a} and as {b}; only the range of a number may depend on other parameters, "
            "where it has steps only its end"
        )

    @property
    def _low(self) -> float:
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        return self.distribution.low

    @property
    def _high(self) -> float:
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        return self.distribution.high


def _domain(distribution: BaseDistribution) -> tuple[Domain, float | None]:
    """The domain of the codes, and the step where codes count steps."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(tuple(str(i) for i in range(len(distribution.choices)))), None
    assert isinstance(distribution, FloatDistribution | IntDistribution), f"unknown distribution {distribution}"
    low, high, step = distribution.low, distribution.high, distribution.step
    plain = step is None or (isinstance(distribution, IntDistribution) and step == 1)
    if not plain and step is not None and (high - low) / step < EXACT:  # beyond it every number is on the grid
        return Int(0, round((high - low) / step)), step
    if isinstance(distribution, IntDistribution):
        return Int(int(low), int(high), distribution.log), None
    return Float(low, high, distribution.log), None
