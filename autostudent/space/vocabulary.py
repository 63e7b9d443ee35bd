"""The names that a student file may use, for each generator."""

from __future__ import annotations

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

_ALLOWED: dict[str, tuple[object, ...]] = {
    "graph": GRAPHS,
    "merge": MERGES,
    "skip": ("none", "node", "cell"),
    "wiring": ("independent", "shared"),
    "stride": (1, 2, 4),
}


def check_student_param(generator: str, key: str, name: str, ops: Sequence[str], values: Iterable[object]) -> None:
    """Raises `ConfigError` unless ``generator`` reads a parameter ``name`` and understands its ``values``."""
    known = (*GENERATORS[generator], *(f"op.{op}" for op in ops))
    if name not in known:
        raise unknown_name(key, name, known)
    allowed = _ALLOWED.get(name.split(".")[-1])
    if allowed is None:
        return
    for value in values:
        if value not in allowed:
            raise ConfigError(f"{key}.{name}", value, "one of: " + ", ".join(map(str, allowed)))
