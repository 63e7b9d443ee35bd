"""The files under ``search_spaces/``: where they lie and what they may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autostudent
from autostudent.errors import ConfigError, unknown_name
from autostudent.records import Value
from autostudent.space.domains import Float, Int
from autostudent.space.ops import OPS
from autostudent.space.params import Param, read_param
from autostudent.space.vocabulary import GENERATORS, check_student_param, check_student_range
from autostudent.space.yaml_loader import load_yaml, parse_quantity

STUDENT_KEYS = ("about", "modality", "generator", "ops", "fixed", "params", "forbid")
RECIPE_KEYS = ("about", "params", "forbid")


@dataclass(frozen=True)
class SpaceFile:
    """One file: ``kind`` is "students" or "recipe"."""

    name: str
    kind: str
    about: str
    modality: str
    generator: str
    ops: tuple[str, ...]
    fixed: Mapping[str, Value]
    params: tuple[Param, ...]
    forbid: tuple[str, ...]


def folder() -> Path:
    """Where the search spaces lie: inside an installed package, beside it in a checkout."""
    package = Path(autostudent.__file__).parent
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def locate(name: str | Path) -> Path:
    """The path of a search space given by name or path.

    Raises:
        ConfigError: when there is none; the message lists the names that exist.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError("space", str(name), "a search-space file that exists")
        return path
    known = {p.stem: p for p in folder().glob("*.yaml")}
    if str(name) not in known:
        raise unknown_name("space", str(name), known)
    return known[str(name)]


def read_file(name: str | Path, kind: str | None) -> SpaceFile:
    """The contents of a search-space file, checked; ``kind`` is what it must be (None: either).

    Raises:
        ConfigError: for an unknown or unusable entry, or the wrong kind of file.
    """
    path = locate(name)
    raw = load_yaml(path)
    label = path.stem
    found = "students" if "generator" in raw or "ops" in raw or "modality" in raw else "recipe"
    if kind is not None and found != kind:
        raise ConfigError("space", str(name), f"a file that describes {kind}; this one describes {found}")
    keys = STUDENT_KEYS if found == "students" else RECIPE_KEYS
    for key in raw:
        if key not in keys:
            raise unknown_name(label, str(key), keys)
    params = tuple(
        read_param(f"{label}.params.{key}", str(key), entry) for key, entry in _mapping(raw, label, "params").items()
    )
    forbid = raw.get("forbid") or []
    if not isinstance(forbid, list):
        raise ConfigError(f"{label}.forbid", forbid, "a list of rules")
    generator, ops, fixed = _student_entries(raw, label, params) if found == "students" else ("", (), {})
    modality = str(raw.get("modality", "vision"))
    if modality != "vision":
        raise ConfigError(f"{label}.modality", modality, "vision")
    return SpaceFile(label, found, str(raw.get("about", "")), modality, generator, ops, fixed, params, tuple(forbid))


def _student_entries(
    raw: Mapping[str, Any], label: str, params: tuple[Param, ...]
) -> tuple[str, tuple[str, ...], dict[str, Value]]:
    generator = raw.get("generator", "hnag")
    if generator not in tuple(GENERATORS):  # a tuple, as what the file says may have no hash
        raise unknown_name(f"{label}.generator", str(generator), GENERATORS)
    ops = raw.get("ops") or []
    if not isinstance(ops, list):
        raise ConfigError(f"{label}.ops", ops, "a list of operations")
    searchable = [name for name, known in OPS.items() if known.searchable]
    for op in ops:
        if op not in searchable:
            raise unknown_name(f"{label}.ops", str(op), searchable)
    fixed = dict(_mapping(raw, label, "fixed"))
    if isinstance(target := fixed.get("params.target"), str):
        fixed["params.target"] = parse_quantity(target, f"{label}.fixed.params.target")
    for name, value in fixed.items():
        check_student_param(generator, f"{label}.fixed", str(name), ops, (value,))
    for param in params:
        check_student_param(generator, f"{label}.params", param.name, ops, extremes(param))
        check_student_range(f"{label}.params", param.name, param.domain)
    if "params.target" not in fixed and all(param.name != "params.target" for param in params):
        raise ConfigError(f"{label}.params", "no params.target", "a parameter count for the width to be solved on")
    if any(param.name == "stage.count" for param in params):
        raise ConfigError(f"{label}.params", "stage.count", "it under `fixed`: all students promise the same taps")
    if generator == "hnag" and not any(OPS[op].mixes for op in ops):
        raise ConfigError(f"{label}.ops", ops, "at least one convolution")
    return generator, tuple(ops), fixed


def extremes(param: Param) -> tuple[Value, ...]:
    """The choices of a parameter, or the ends of its range."""
    domain = param.domain
    if isinstance(domain, Float | Int):
        return domain.low, domain.high
    return getattr(domain, "values", ())


def _mapping(raw: Mapping[str, Any], label: str, key: str) -> Mapping[str, Any]:
    value = raw.get(key) or {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{label}.{key}", value, "a mapping")
    return value
