"""What to try next: proposers, by name. The vendors behind a proposer are imported when it is made."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from autostudent.errors import ConfigError, unknown_name
from autostudent.propose.base import Proposer

__all__ = ["PROPOSERS", "Proposer", "make"]

PROPOSERS = {
    "random": "autostudent.propose.random:Random",
    "evolution": "autostudent.propose.evolution:Evolution",
    "bayes": "autostudent.propose.bayes:Bayes",
    "tpe": "autostudent.optuna_samplers.proposers:tpe",
    "nsga2": "autostudent.optuna_samplers.proposers:nsga2",
    "gp": "autostudent.optuna_samplers.proposers:gp",
}


def make(name: str, /, **options: Any) -> Proposer:
    """The proposer of this name. Raises `ConfigError` for an unknown name or option."""
    if name not in PROPOSERS:
        raise unknown_name("search.proposer", name, PROPOSERS)
    module, _, attribute = PROPOSERS[name].partition(":")
    build: Callable[..., Proposer] = getattr(import_module(module), attribute)
    allowed = signature(build).parameters
    open_ended = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in allowed.values())
    for option in options:
        if option not in allowed and not open_ended:
            there = f"an option of {name!r}: {', '.join(allowed) or 'none'}"
            raise ConfigError(f"search.options.{option}", options[option], there)
    return build(**options)
