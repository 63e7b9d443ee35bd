"""Options that several commands share, and how they name a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from autostudent.errors import ConfigError

if TYPE_CHECKING:
    from autostudent.settings import StudySettings
    from autostudent.store.store import Store

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.", show_default=False)]
MaybeStudyFile = Annotated[
    Path | None, typer.Argument(metavar="[STUDY.yaml]", help="The study file; or give --store.", show_default=False)
]
StoreUrl = Annotated[str | None, typer.Option("--store", metavar="URL", help="Storage URL instead of the file's.")]
StudyName = Annotated[str | None, typer.Option("--study", metavar="NAME", help="Which study of the store.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override an entry: data.npz=FILE. Repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]


class Place(NamedTuple):
    """Of a study: its storage URL, name and artifacts, and the options that name it beside its file."""

    url: str
    study: str
    artifacts: str
    options: list[str]


def located(study: Path, store: str | None, name: str | None, assignments: Sequence[str] | None) -> Place:
    """Where a study file's study is; ``name`` is another study of the same store, with the file's options."""
    from autostudent.config import locate

    given = list(assignments or ())
    url, found, artifacts = locate(study, given, store=store)
    if name is None or name == found:
        return Place(url, found, artifacts, as_given(store, given))
    given.append(f"study={json.dumps(name, ensure_ascii=False)}")
    return Place(url, name, locate(study, given, store=url)[2], as_given(url, given))


def as_given(store: str | None, assignments: Sequence[str] | None) -> list[str]:
    """The options that name a study beside its file, to be typed again; passwords are hidden."""
    from autostudent.store.backend import shown

    given = [part for entry in assignments or () for part in ("--set", entry)] + (["--store", store] if store else [])
    return [shown(part) if "://" in part else part for part in given]


def open_store(study: Path | None, store: str | None, name: str | None, assignments: list[str] | None) -> Store:
    """The store of a query, opened to read. Raises `ConfigError` when neither a study file nor a URL is given."""
    from autostudent.assets import Assets
    from autostudent.settings import placed_store
    from autostudent.store.store import Store

    if study is not None:
        place = located(study, store, name, assignments)
        return Store.read(place.url, place.study, Assets(place.artifacts))
    return Store.read(placed_store(require_store(store, assignments)), name)


def require_store(store: str | None, assignments: Sequence[str] | None) -> str:
    """The store of a command without a study file. Raises `ConfigError` for none, or for changes of no file."""
    if assignments:
        raise ConfigError("--set", assignments[0], "a study file beside it, whose entries it changes")
    if store is None:
        raise ConfigError("STUDY.yaml", None, "a study file, or --store URL")
    return store


def front_of(settings: StudySettings) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """(front rows, reference rows) of a study as they stand in its store."""
    from autostudent.store.store import Store

    with Store.read(settings.store, settings.study) as store:
        return store.front(), store.references()


def open_driver(study: Path | None, store: str | None, name: str | None, assignments: list[str] | None) -> Store:
    """The store opened as its one driver, whatever the study's settings, for repair."""
    from autostudent.assets import Assets
    from autostudent.settings import default_artifacts, placed_store
    from autostudent.store.store import Store

    if study is not None:
        place = located(study, store, name, assignments)
        return Store.reopen(place.url, place.study, Assets(place.artifacts))
    url = placed_store(require_store(store, assignments))
    with Store.read(url, name) as reader:
        found = reader.study
    return Store.reopen(url, found, Assets(default_artifacts(url, found)))
