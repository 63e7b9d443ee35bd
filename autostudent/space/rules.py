"""Combinations that a search space forbids: ``name op name|number``, nothing else."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autostudent.errors import ConfigError, unknown_name
from autostudent.records import Value
from autostudent.space.domains import Choice, Domain

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
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
    choices = [domains[name] for name in ((left, str(value)) if named else (left,))]
    ordered = all(not isinstance(d, Choice) or all(isinstance(v, int | float) for v in d.values) for d in choices)
    if relation not in ("==", "!=") and not (ordered and (named or isinstance(value, int | float))):
        raise ConfigError("forbid", text, "== or != between things that have no order")
    return Rule(str(text), left, relation, value, named)


def _right(text: str, left: Domain, domains: Mapping[str, Domain]) -> tuple[Value, bool]:
    if text in domains:
        return text, True
    for kind in (int, float):
        try:
            return kind(text), False
        except ValueError:
            continue
    word: Value = {"true": True, "false": False}.get(text, text)
    if isinstance(left, Choice) and left.contains(word):
        return word, False
    raise unknown_name("forbid", text, domains)
