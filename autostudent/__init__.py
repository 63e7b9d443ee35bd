"""autostudent searches small student networks together with the recipe that teaches them.

``autostudent.load_study("studies/digits.yaml").run().front()`` is a whole search and its front as a data frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autostudent.config import load_study as load_study

__all__ = ["load_study"]


def __getattr__(name: str) -> Any:
    """Loads `load_study` when it is first asked for, so that importing a room of the package loads nothing else."""
    if name == "load_study":
        from autostudent.config import load_study

        return load_study
    raise AttributeError(f"module 'autostudent' has no attribute {name!r}")
