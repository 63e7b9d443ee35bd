"""The names that a student file may use, for each generator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from autostudent.errors import ConfigError, unknown_name
from autostudent.space.ops import MERGES

LEVELS = ("top", "cell", "node")
GRAPHS = ("ws", "er", "ba")

_SHARED = ("stem.stride", "stem.size", "stage.growth", "width.multiple", "params.target")

GENERATORS: dict[str, tuple[str, ...]] = {
    "hnag": (
        *(f"{level}.{what}" for level in LEVELS for what in ("nodes", "graph", "k", "p", "m", "merge")),
        *("merge", "skip", "wiring", "stem.convs", "stage.count", "stage.early", "head.ratio"),
        *_SHARED,
    ),
    "resnet": ("resnet.depth", *_SHARED),
}
"""Parameter names that each generator reads; "hnag" also reads ``op.NAME`` weights of its operations."""

_WORDS: dict[str, tuple[object, ...]] = {
    "graph": GRAPHS,
    "merge": MERGES,
    "skip": ("none", "node", "cell"),
    "wiring": ("independent", "shared"),
    "stride": (1, 2, 4),
}
_ZERO_TO_ONE = (0.0, 1.0)
_BOUNDS: dict[str, tuple[float, float]] = {"p": _ZERO_TO_ONE, "early": _ZERO_TO_ONE, "growth": (0.1, 10.0)}
_FROM_ZERO = ("ratio", "k", "op")


def check_student_param(generator: str, key: str, name: str, ops: Sequence[str], values: Iterable[object]) -> None:
    """Raises `ConfigError` unless ``generator`` reads a parameter ``name`` and understands its ``values``.

    ``values`` are the choices of a parameter, the ends of its range, or its one fixed value.
    """
    known = (*GENERATORS[generator], *(f"op.{op}" for op in ops))
    if name not in known:
        raise unknown_name(key, name, known)
    first, last = name.split(".")[0], name.split(".")[-1]
    allowed = _WORDS.get(last)
    low, high = _BOUNDS.get(last, (0.0 if first in _FROM_ZERO or last in _FROM_ZERO else 1.0, math.inf))
    for value in values:
        if allowed is not None:
            if value not in allowed:
                raise ConfigError(f"{key}.{name}", value, "one of: " + ", ".join(map(str, allowed)))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            limits = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
            raise ConfigError(f"{key}.{name}", value, f"a number {limits}")
