"""The names that a student file may use, for each generator."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from autostudent.errors import ConfigError, unknown_name
from autostudent.space.domains import Domain, Float, Int, same
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
_WHOLE = ("nodes", "k", "m", "convs", "count", "size", "multiple", "depth")
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
    words, whole, (low, high) = _WORDS.get(_last(name)), _last(name) in _WHOLE, _bounds(name)
    for value in values:
        fits = any(same(value, word) for word in words) if words else _is_within(value, low, high, whole)
        if not fits:
            raise ConfigError(f"{key}.{name}", value, _allowed(name))


def check_student_range(key: str, name: str, domain: Domain) -> None:
    """Raises `ConfigError` where a range whose ends a parameter may be holds something between them that it may not."""
    words = _WORDS.get(_last(name))
    if isinstance(domain, Float) and (words or _last(name) in _WHOLE):
        raise ConfigError(f"{key}.{name}.float", [domain.low, domain.high], f"int or choice, for {_allowed(name)}")
    if isinstance(domain, Int) and words:
        for value in range(domain.low, domain.high + 1):
            if value not in words:
                raise ConfigError(f"{key}.{name}", value, _allowed(name))


def _last(name: str) -> str:
    return name.split(".")[-1]


def _bounds(name: str) -> tuple[float, float]:
    from_zero = name.split(".")[0] in _FROM_ZERO or _last(name) in _FROM_ZERO
    return _BOUNDS.get(_last(name), (0.0 if from_zero else 1.0, sys.float_info.max))


def _allowed(name: str) -> str:
    """What a parameter may be, in words."""
    if words := _WORDS.get(_last(name)):
        return "one of: " + ", ".join(map(str, words))
    low, high = _bounds(name)
    limits = f"from {low:g} to {high:g}" if high < sys.float_info.max else f"of at least {low:g}"
    return f"a {'whole ' if _last(name) in _WHOLE else ''}number {limits}"


def _is_within(value: object, low: float, high: float, whole: bool) -> bool:
    """Whether it is a number of the range, and a whole one where that is asked."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return False
    return not whole or float(value).is_integer()
