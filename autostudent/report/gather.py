"""From a store to the contents of the page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from autostudent.report.cite import citations
from autostudent.report.contents import Contents, Reference
from autostudent.report.words import taught_by
from autostudent.store.store import Store

COSTS = ("params", "macs", "memory_bytes")
VERIFIED = "verified: "


def gather(store: Store, *, study_file: str | None = None) -> Contents:
    """Everything that the page shows, read from the store at this moment.

    Args:
        store: opened to read, with its assets, while the study runs or after.
        study_file: the path that the commands on the page name.
    """
    rows = {row["trial"]: row for row in store.rows()}
    students = {f"student {number}": row for number, row in rows.items()}
    recipes = {number: (str(row.get("method", "unknown")), taught_by(row)) for number, row in rows.items()}
    described = store.described()
    objectives = described.get("objectives")
    events = store.events()
    environment = {"autostudent store": store.url, **(events[-1]["versions"] if events else {})}
    if events and events[-1].get("revision"):
        environment["source revision"] = events[-1]["revision"]
    return Contents(
        study=store.resolved(),
        objectives=tuple(type(o).from_json(v) for o, v in zip(store.objectives, objectives, strict=True))
        if objectives
        else store.objectives,
        trials=store.trials(),
        front=store.front(),
        references=[
            reference(name, row, students)
            for name, row in store.references().items()
            if row.get("accuracy") is not None
        ],
        recipes=recipes,
        validation_images=described.get("validation_images"),
        claims=described.get("claims", []),
        shared_seconds=described.get("shared_seconds", {}),
        environment=environment,
        citations=citations(method for method, _ in recipes.values()),
        commands=commands(study_file),
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def reference(name: str, row: Mapping[str, Any], students: Mapping[str, Mapping[str, Any]]) -> Reference:
    """A stored reference row as the page wants it; rows that `verify` wrote were measured on the test split.

    ``students`` are rows of trials by name ("student 7"): a retrained student costs what its trial does.
    """
    verified = name.startswith(VERIFIED)
    title = str(row.get("name", name.removeprefix(VERIFIED)))
    known = {**{k: v for k, v in students.get(title, {}).items() if k in COSTS}, **row}
    return Reference(
        name=title,
        kind=str(row.get("kind", "rival")),
        accuracy=float(row["accuracy"]),
        split="test" if verified else "validation",
        sd=row.get("accuracy_sd"),
        seeds=int(row.get("seeds", 1)),
        params=known.get("params"),
        macs=known.get("macs"),
        memory_bytes=known.get("memory_bytes"),
    )


def commands(study_file: str | None) -> list[str]:
    """Shell lines that repeat the study and this page."""
    file = study_file or "STUDY.yaml"
    return [f"autostudent search {file}", f"autostudent verify {file}", f"autostudent report {file}"]
