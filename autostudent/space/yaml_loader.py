"""YAML as people expect it: the safe loader with the numbers and booleans of YAML 1.2, and quantities with units.

`1e5` is a number, `on`, `yes` and `no` are words, `0123` is 123, dates stay text, and a key written twice is an error.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from autostudent.errors import ConfigError

UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
"""What a quantity may end with; `parse_quantity` multiplies by it."""

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)\s*")


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value that is not what its tag promises is an error of YAML like any other, with its line."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, AttributeError):
            problem = f"something unreadable as {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return node.value.lower() == "true"


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value, 0) if node.value[:2] in ("0o", "0x") else int(node.value)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key, _ in node.value:
        name = loader.construct_object(key, deep=True)
        if not isinstance(name, str | int | float | bool) or name in seen:
            problem = f"{name!r} as a key; expected every key once, and a plain word"
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        seen.add(name)
    return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(f"^(?:{_pattern})$"),
        [*_first.replace("\0", ""), *([""] * ("\0" in _first))],
    )
_Loader.add_constructor("tag:yaml.org,2002:bool", _boolean)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_yaml(source: str | Path) -> dict[str, Any]:
    """The mapping in a YAML text (``str``) or file (``Path``).

    Raises:
        ConfigError: when the file cannot be read, the text is not YAML, or it does not hold a mapping.
    """
    name, text = "YAML text", source
    if isinstance(source, Path):
        name = str(source)
        try:
            text = source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ConfigError(name, reason, "a readable YAML file") from None
    try:
        value = yaml.load(str(text), _Loader)  # noqa: S506 (a subclass of the safe loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise ConfigError(where, getattr(error, "problem", None) or "unreadable text", "valid YAML") from None
    except RecursionError:
        raise ConfigError(name, "lists or mappings nested too deep", "valid YAML") from None
    if not isinstance(value, dict):
        raise ConfigError(name, type(value).__name__, "a mapping of names to values")
    return value


def parse_quantity(value: object, key: str = "quantity") -> float:
    """A number, or text with a unit: ``100k`` is 1e5, ``2 MiB`` is 2097152. Units are those of `UNITS`.

    Raises:
        ConfigError: for anything else.
    """
    number: float = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and (match := _QUANTITY.fullmatch(value)) and match[2] in UNITS:
        number = float(match[1]) * UNITS[match[2]]
    if not abs(number) <= sys.float_info.max:
        raise ConfigError(key, value, "a number, or a number with one of the units " + ", ".join(u for u in UNITS if u))
    return float(number)
