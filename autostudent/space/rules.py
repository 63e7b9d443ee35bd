"""Combinations that a search space forbids: ``name op name|number``, nothing else."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autostudent.errors import ConfigError, unknown_name
from autostudent.records import Value
from autostudent.space.domains import Choice, Domain, same

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": same,
    "!=": lambda a, b: not same(a, b),
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
GRAMMAR = "NAME OPERATOR NAME, NUMBER or CHOICE, where the operator is one of " + " ".join(OPERATORS)

_RULE = re.compile(r"\s*([\w.]+)\s*(==|!=|<=|>=|<|>)\s*([\w.+-]+)\s*")


@dataclass(frozen=True)
class Rule:
    """One forbidden relation. ``right`` is a parameter when ``named``, else a constant."""

    text: str
    left: str
    relation: str
    right: Value
    named: bool

    def breaks(self, config: Mapping[str, Value]) -> bool:
        """Whether the configuration is forbidden; never where a parameter of the rule is inactive."""
        if self.left not in config or (self.named and self.right not in config):
            return False
        right = config[str(self.right)] if self.named else self.right
        return OPERATORS[self.relation](config[self.left], right)


def read_rule(text: object, domains: Mapping[str, Domain]) -> Rule:
    """A `Rule` from its text.

    Raises:
        ConfigError: for another grammar, an unknown name, or an order between things that have none.
    """
    match = _RULE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigError("forbid", text, GRAMMAR)
    left, relation, right = match.groups()
    if left not in domains:
        raise unknown_name("forbid", left, domains)
    value, named = _right(right, domains[left], domains)
    if not named and relation in ("==", "!=") and not domains[left].contains(value):
        raise ConfigError("forbid", text, f"a value that {left} can take: {domains[left].describe()}")
    choices = [domains[name] for name in ((left, str(value)) if named else (left,))]
    ordered = all(not isinstance(d, Choice) or all(isinstance(v, int | float) for v in d.values) for d in choices)
    if relation not in ("==", "!=") and not (ordered and (named or isinstance(value, int | float))):
        raise ConfigError("forbid", text, "== or != between things that have no order")
    return Rule(str(text), left, relation, value, named)


def _right(text: str, left: Domain, domains: Mapping[str, Domain]) -> tuple[Value, bool]:
    """The right side, and whether it names a parameter. What a choice on the left can be goes before all else."""
    readings = _readings(text)
    if isinstance(left, Choice):
        for value in readings:
            if left.contains(value):
                return value, False
    if text in domains:
        return text, True
    if isinstance(readings[0], str | bool):
        raise unknown_name("forbid", text, domains)
    return readings[0], False


def _readings(text: str) -> list[Value]:
    """What the right side may stand for: a number, true or false, and always the word itself."""
    if text in ("true", "false"):
        return [text == "true", text]
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return [int(number) if isinstance(number, float) and number.is_integer() else number, text]
    return [text]
