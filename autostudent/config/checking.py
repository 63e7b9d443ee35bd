"""From plain mappings to checked entries, with errors in this package's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from autostudent.config.entries import (
    CheckpointTeacher,
    ObjectiveEntry,
    PluginTeacher,
    SearchEntry,
    TorchvisionTeacher,
    TrainedTeacher,
)
from autostudent.errors import ConfigError, unknown_name
from autostudent.records import LATENCY, Objective

TEACHERS: dict[str, type[BaseModel]] = {
    "plugin": PluginTeacher,
    "checkpoint": CheckpointTeacher,
    "torchvision": TorchvisionTeacher,
    "resnet": TrainedTeacher,
}
# name in the study file: (name in the records, direction, unit, known from the graph)
OBJECTIVES = {
    "accuracy": ("accuracy", "maximize", "fraction", False),
    "params": ("params", "minimize", "parameters", True),
    "macs": ("macs", "minimize", "multiply-adds", True),
    "memory": ("memory_bytes", "minimize", "bytes", True),
    "latency": (LATENCY, "minimize", "ms", False),
    "ece": ("ece", "minimize", "fraction", False),
    "nll": ("nll", "minimize", "nats", False),
}

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], value: object, path: str = "") -> M:
    """``value``, which stands at ``path``, as ``model``; or the first thing that is wrong with it as `ConfigError`."""
    if not isinstance(value, Mapping):
        raise ConfigError(path or "study file", value, f"a mapping with the keys {', '.join(model.model_fields)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # A misspelt key also makes the right one missing: the misspelling is the thing to say.
        first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise explain(model, first, path) from None


def explain(model: type[BaseModel], error: Any, path: str) -> ConfigError:
    """One pydantic error in this package's words."""
    where = [str(part) for part in error["loc"] if part != "[key]"]
    key = ".".join([path, *where] if path else where) or "study file"
    if error["type"] == "extra_forbidden":
        parent = ".".join(key.split(".")[:-1]) or "study file"
        return unknown_name(parent, where[-1], fields_at(model, where[:-1]))
    if error["type"] == "missing":
        return ConfigError(key, None, "a value (this entry is required)")
    if error["type"] == "value_error":
        return ConfigError(key, shown(error["input"]), str(error["ctx"]["error"]))
    return ConfigError(key, shown(error["input"]), allowed(model, error, where))


def allowed(model: type[BaseModel], error: Any, where: Sequence[str]) -> str:
    """What would have been accepted, in words."""
    kind, message = error["type"], error["msg"].removeprefix("Input should be ")
    if kind == "model_type":
        return f"a mapping with the keys {', '.join(fields_at(model, where))}"
    if kind == "string_pattern_mismatch":
        choices = error["ctx"]["pattern"].strip("^$()")
        return choices.replace("|", " or ") if "[" not in choices else "a name without slashes and control characters"
    if kind == "too_short":
        return f"at least {error['ctx']['min_length']}"
    if kind.startswith(("greater_than", "less_than")):
        return f"a number {message}"
    return str(message).split(",")[0]


def shown(value: object) -> object:
    """A whole mapping does not belong in a one-line message: its keys do."""
    return sorted(map(str, value)) if isinstance(value, Mapping) else value


def fields_at(model: type[BaseModel], where: Sequence[str]) -> list[str]:
    """The keys allowed at a path below ``model``."""
    for part in where:
        annotation = model.model_fields[part].annotation
        inner = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        model = inner[0]
    return list(model.model_fields)


def teacher(name: str, spec: object) -> dict[str, Any]:
    """A teacher's spec, checked against the kind that its first key names."""
    path = f"teachers.{name}"
    if not isinstance(spec, Mapping):
        raise ConfigError(path, spec, f"a mapping with one of {', '.join(TEACHERS)}")
    for kind, model in TEACHERS.items():
        if kind in spec:
            return parse(model, spec, path).model_dump(exclude_none=True)
    raise ConfigError(path, shown(spec), f"one of {', '.join(TEACHERS)}")


def like(name: str, spec: object, catalogue: Mapping[str, Any]) -> object:
    """A teacher's spec over that of the teacher which its entry ``like`` names."""
    if not isinstance(spec, Mapping) or "like" not in spec:
        return spec
    base = catalogue.get(str(spec["like"]))
    if not isinstance(base, Mapping) or "resnet" not in base:
        trained = [other for other, entry in catalogue.items() if isinstance(entry, Mapping) and "resnet" in entry]
        if not trained:
            raise ConfigError(f"teachers.{name}.like", spec["like"], "a teacher with resnet; the study has none")
        raise unknown_name(f"teachers.{name}.like", str(spec["like"]), trained)
    return {**base, **{key: value for key, value in spec.items() if key != "like"}}


def objectives(entries: Mapping[str, Any]) -> tuple[Objective, ...]:
    """The objectives with the measured one first."""
    found = []
    for name, spec in entries.items():
        key = f"objectives.{name}"
        if name not in OBJECTIVES:
            raise unknown_name("objectives", name, OBJECTIVES)
        record, direction, unit, exact = OBJECTIVES[name]
        entry = parse(ObjectiveEntry, {spec: True} if spec in ("minimize", "maximize") else spec, key)
        wanted = [way for way in ("minimize", "maximize") if getattr(entry, way)]
        if wanted != [direction]:
            raise ConfigError(key, " and ".join(wanted) or "no direction", direction)
        for bound in ("limit", "reference") if unit == "fraction" else ():
            if (value := getattr(entry, bound)) is not None and value > 1:
                raise ConfigError(f"{key}.{bound}", value, "a fraction from 0 to 1")
        found.append(Objective(record, direction, unit, entry.reference, entry.limit, exact))
    if "accuracy" not in entries or len(found) < 2:
        raise ConfigError(
            "objectives", list(entries), f"accuracy and at least one of {', '.join(list(OBJECTIVES)[1:])}"
        )
    return tuple(sorted(found, key=lambda objective: (objective.name != "accuracy", objective.exact)))


def require_proposer(search: SearchEntry) -> None:
    """Raises `ConfigError` for a proposer that there is not, or an option that it does not have."""
    from autostudent.propose import PROPOSERS, make  # loads numpy, which queries do without

    if search.proposer not in PROPOSERS:
        raise unknown_name("search.proposer", search.proposer, PROPOSERS)
    if "source" in search.options:
        raise ConfigError("search.options.source", search.options["source"], "no entry; search.warm_start is that")
    if search.options:
        make(search.proposer, **search.options)  # loads the vendors behind it, which most files do without
