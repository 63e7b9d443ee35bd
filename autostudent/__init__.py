"""autostudent searches small student networks together with the recipe that teaches them.

``autostudent.load_study("studies/digits.yaml").run().front()`` is a whole search and its front as a data frame.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autostudent.bundle.export import export as export
    from autostudent.bundle.student import load_student as load_student
    from autostudent.config import load_study as load_study
    from autostudent.config.single import train_student as train_student
    from autostudent.config.synthesis import synthesize as synthesize
    from autostudent.optuna_samplers.pareto import ParetoSampler as ParetoSampler

__all__ = ["ParetoSampler", "export", "load_student", "load_study", "synthesize", "train_student"]

WHERE = {
    "ParetoSampler": "optuna_samplers.pareto",
    "load_study": "config",
    "train_student": "config.single",
    "synthesize": "config.synthesis",
    "export": "bundle.export",
    "load_student": "bundle.student",
}


def __getattr__(name: str) -> Any:
    """Loads a public function when it is first asked for: importing a room of the package loads nothing else."""
    if name == "__version__":
        return import_module("importlib.metadata").version("autostudent")
    if name in WHERE:
        return getattr(import_module(f"autostudent.{WHERE[name]}"), name)
    raise AttributeError(f"module 'autostudent' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return [*__all__, "__version__"]
