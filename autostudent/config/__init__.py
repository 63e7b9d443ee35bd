"""The study file: YAML in, `autostudent.settings.StudySettings` out, every entry checked on the way.

Unknown keys, wrong types and values out of range are `ConfigError`: the dotted path of the entry, what was given, what
is allowed. ``${NAME}`` in a text entry is replaced by that environment variable; nothing else is expanded, and a study
file holds no code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autostudent.config.checking import like, objectives, parse, require_proposer, teacher
from autostudent.config.entries import SOURCE_OPTIONS, SOURCES, EarlierEntry, StudyEntry
from autostudent.errors import ConfigError, unknown_name
from autostudent.settings import (
    PLACES,
    LadderSettings,
    RivalSettings,
    RunSettings,
    SearchSettings,
    SpaceSettings,
    StudySettings,
    TrainingSettings,
    default_artifacts,
    placed_store,
    store_file,
)
from autostudent.space.yaml_loader import load_yaml

if TYPE_CHECKING:
    from autostudent.study import Study

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def override(raw: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """``raw`` with every ``key.path=value`` of ``--set`` applied; values are read as YAML.

    Another source of data takes the place of the file's, whose own options go with it.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise ConfigError("--set", assignment, "key=value, for example data.npz=FILE or budget.trials=100")
        values[key] = load_yaml(f"value: {text}")["value"]
    data = raw["data"] if isinstance(raw.get("data"), dict) else {}
    sources = [name for name in SOURCES if values.get(f"data.{name}") is not None]
    there = [name for name in SOURCES if data.get(name) is not None]
    if sources and there and not {*sources} & {*there}:
        raw["data"] = {key: entry for key, entry in data.items() if key not in (*SOURCES, *SOURCE_OPTIONS)}
    for key, value in values.items():
        *parents, last = key.split(".")
        node = raw
        for parent in parents:
            if node.get(parent) is None:
                node[parent] = {}
            node = node[parent]
            if not isinstance(node, dict):
                raise ConfigError("--set", f"{key}={value}", f"a key below a mapping; {parent} holds {node!r}")
        node[last] = value
    return raw


def substitute(value: Any, path: str = "") -> Any:
    """``value`` with ``${NAME}`` in every text replaced by the environment variable of that name."""
    if isinstance(value, Mapping):
        return {key: substitute(entry, f"{path}.{key}" if path else str(key)) for key, entry in value.items()}
    if isinstance(value, list):
        return [substitute(entry, f"{path}.{position}") for position, entry in enumerate(value)]
    if not isinstance(value, str):
        return value
    for name in VARIABLE.findall(value):
        if name not in os.environ:
            wanted = f"the environment variable {name} to be set, or --set {path}=VALUE"
            raise ConfigError(path, value, wanted)
    return VARIABLE.sub(lambda found: os.environ[found[1]], value)


def absolute(value: Any) -> Any:
    """``value`` with every relative path made absolute from the current directory."""
    if isinstance(value, Mapping) and "plugin" not in value:
        return {
            key: place(entry) if key in PLACES and isinstance(entry, str) else absolute(entry)
            for key, entry in value.items()
        }
    return value


def place(path: str) -> str:
    """A path or file URL, absolute; other URLs as they are."""
    return path if "://" in path else str(Path(path).expanduser().absolute())


def named_or_placed(name: str) -> str:
    """A space by its name, or the absolute path of its file."""
    return place(name) if name.endswith((".yaml", ".yml")) or os.sep in name else name


def load_file(path: str | Path) -> dict[str, Any]:
    """The study file as it stands."""
    if not Path(path).is_file():
        raise ConfigError("study file", str(path), "an existing YAML file")
    return load_yaml(Path(path))


def filled(path: str | Path, assignments: Sequence[str] = (), *, store: str | None = None) -> dict[str, Any]:
    """The study file with overrides and environment variables filled in, not checked, no path made absolute."""
    raw = override(load_file(path), assignments)
    if store is not None:
        raw["store"] = store
    whole: dict[str, Any] = substitute(raw)
    return whole


def load_settings(path: str | Path, assignments: Sequence[str] = (), *, store: str | None = None) -> StudySettings:
    """The checked settings of a study file.

    Args:
        path: the YAML file.
        assignments: ``key.path=value`` overrides, as given with ``--set``.
        store: a storage URL instead of the file's.

    Raises:
        ConfigError: for anything that is missing, unknown, of the wrong type or out of range.
    """
    return build(filled(path, assignments, store=store))


def placed(store: str) -> str:
    """A storage URL with an absolute file. Raises `StoreError` for what no storage can be opened with."""
    url = placed_store(store)
    if store_file(url) is None:
        from autostudent.store.backend import require_storage  # loads a vendor that files do without

        require_storage(url)
    return url


def default_store(study: str) -> str:
    """Where a study without ``store`` is remembered."""
    return f"sqlite:///runs/{study}/study.db"


def locate(path: str | Path, assignments: Sequence[str] = (), *, store: str | None = None) -> tuple[str, str, str]:
    """(store URL, study name, artifacts) of a study file, for queries: data and teachers need not be there."""
    raw = override(load_file(path), assignments)
    for key in raw:
        if key not in StudyEntry.model_fields:
            raise unknown_name("study file", str(key), StudyEntry.model_fields)
    if not isinstance(raw.get("study"), str) or not raw["study"]:
        raise ConfigError("study", raw.get("study"), "the study's name")
    kept = substitute({key: raw[key] for key in ("study", "store", "artifacts") if raw.get(key) is not None})
    name = kept["study"]
    url = placed(str(store or kept.get("store") or default_store(name)))
    return url, name, place(str(kept["artifacts"])) if "artifacts" in kept else default_artifacts(url, name)


def build(raw: Mapping[str, Any]) -> StudySettings:
    """The checked settings of a study given as a mapping (see `load_settings`)."""
    entry = parse(StudyEntry, raw)
    teachers = {
        name: absolute(teacher(name, like(name, spec, entry.teachers))) for name, spec in entry.teachers.items()
    }
    if entry.ladder is not None and entry.ladder.of not in teachers:
        raise unknown_name("ladder.of", entry.ladder.of, teachers)
    for name in (entry.rivals.torchvision if entry.rivals else None) or ():
        from autostudent.teach.origin import require_classifier  # loads torch, which most files do without

        require_classifier(name, "rivals.torchvision")
    require_proposer(entry.search)
    url = placed(entry.store or default_store(entry.study))
    if "latency" in entry.objectives and entry.run.address is not None:
        raise ConfigError("run.address", entry.run.address, "none with the objective latency: it is this machine's")
    if entry.run.gpus_per_trial == "auto" and entry.run.address is not None:
        raise ConfigError("run.gpus_per_trial", "auto", "a number with run.address: auto looks at this machine's GPUs")
    return StudySettings(
        study=entry.study,
        data=absolute(entry.data.model_dump(exclude_none=True)),
        teachers=teachers,
        space=SpaceSettings(named_or_placed(entry.space.students), named_or_placed(entry.space.recipe)),
        objectives=objectives(entry.objectives),
        budget=entry.budget.settings(),
        store=url,
        artifacts=place(entry.artifacts) if entry.artifacts else default_artifacts(url, entry.study),
        ladder=LadderSettings(**entry.ladder.model_dump()) if entry.ladder else None,
        search=SearchSettings(**{**entry.search.model_dump(), "warm_start": earlier(entry.search.warm_start)}),
        training=TrainingSettings(**entry.training.model_dump(exclude_none=True)),
        run=RunSettings(**{"timeout_s" if k == "timeout" else k: v for k, v in entry.run.model_dump().items()}),
        rivals=RivalSettings(**{**entry.rivals.model_dump(), "space": named_or_placed(entry.rivals.space)})
        if entry.rivals
        else None,
        retention=entry.retention,
    )


def earlier(entry: EarlierEntry | None) -> str | dict[str, str] | None:
    """What `SearchSettings.warm_start` holds: where nothing else is said, the store alone."""
    if entry is None:
        return None
    store = placed(entry.store)
    named = {"study": entry.study, "artifacts": place(entry.artifacts) if entry.artifacts else None}
    told = {key: value for key, value in named.items() if value is not None}
    return {"store": store, **told} if told else store


def load_study(path: str | Path, assignments: Sequence[str] = (), *, store: str | None = None) -> Study:
    """The study of a YAML file, ready for ``.check()``, ``.run()`` and ``.front()`` (see `load_settings`)."""
    from autostudent.study import Study

    return Study(load_settings(path, assignments, store=store))
