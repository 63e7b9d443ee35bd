"""From a store to the contents of the page."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from autostudent.assets import Assets
from autostudent.errors import AssetError, ConfigError
from autostudent.records import Trial
from autostudent.report.cite import citations
from autostudent.report.contents import Contents, Reference
from autostudent.report.ledger import ledger
from autostudent.report.tables import FAILURES
from autostudent.report.words import taught_by
from autostudent.space.graph import Architecture
from autostudent.store.choose import recommended
from autostudent.store.store import Store

COSTS = ("params", "macs", "memory_bytes")
FIGURES = ("agreement", "ece", "nll", "latency_ms")
VERIFIED = "verified: "
DRAWN = 40  # front members whose graph is drawn


def gather(
    store: Store, *, study_file: str | None = None, given: Sequence[str] = (), assets: Assets | None = None
) -> Contents:
    """Everything that the page shows, read from the store at this moment.

    Args:
        store: opened to read, while the study runs or after.
        study_file: the path that the commands on the page name.
        given: options that they name beside it.
        assets: the study's, for graphs and tracebacks; without them the page has neither.
    """
    trials = store.trials()
    rows = {row["trial"]: row for row in store.rows(anew=False)}
    students = {f"student {number}": row for number, row in rows.items()}
    recipes = {number: (str(row.get("method", "unknown")), taught_by(row)) for number, row in rows.items()}
    described = store.described()
    events = store.events()
    environment = {"autostudent store": store.url, **(events[-1]["versions"] if events else {})}
    if events and events[-1].get("revision"):
        environment["source revision"] = events[-1]["revision"]
    front = store.front()
    methods = {method for method, _ in recipes.values()}
    papers = described.get("papers")
    return Contents(
        study=store.resolved(),
        objectives=store.objectives,
        trials=with_tracebacks(store, trials) if assets else trials,
        front=front,
        references=sorted(
            (reference for name, row in store.references().items() for reference in references_of(name, row, students)),
            key=standing,
        ),
        recipes=recipes,
        validation_images=described.get("validation_images"),
        claims=described.get("claims", []),
        graphs=graphs(front, assets, described.get("validation_images")) if assets else {},
        papers={method: citations([method], papers) for method in methods},
        ledger=ledger(rows.values(), described.get("shared", {})),
        effort=described.get("effort", {}),
        environment=environment,
        citations=citations(methods, papers),
        commands=commands([study_file or "STUDY.yaml", *given], described.get("verified", []), store.references()),
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def graphs(front: Sequence[Mapping[str, Any]], assets: Assets, images: int | None) -> dict[int, Architecture]:
    """Architectures of the recommended student and the front's most accurate; one that cannot be read is left out."""
    found = {}
    chosen = recommended(front, images=images)[0]["trial"] if front else None
    for row in sorted(front, key=lambda row: (row["trial"] != chosen, -row["accuracy"]))[:DRAWN]:
        if "graph" in row:
            try:
                found[row["trial"]] = Architecture.from_json(json.loads(assets.get(row["graph"])))
            except (AssetError, ConfigError):
                continue
    return found


def with_tracebacks(store: Store, trials: Sequence[Trial]) -> list[Trial]:
    """The trials, the first failed ones with the tracebacks that the page shows."""
    left, found = FAILURES, []
    for trial in trials:
        if trial.failure is not None and left:
            left -= 1
            try:
                trace = store.traceback(trial.number)
            except AssetError:
                trace = ""
            trial = replace(trial, failure=replace(trial.failure, traceback=trace))
        found.append(trial)
    return found


def references_of(name: str, row: Mapping[str, Any], students: Mapping[str, Mapping[str, Any]]) -> list[Reference]:
    """A stored reference row as the page wants it.

    Rows that `verify` wrote were measured on both splits and give two. ``students`` are rows of trials by name
    ("student 7"): a retrained student costs what its trial does. A row without an accuracy gives none.
    """
    title = str(row.get("name", name.removeprefix(VERIFIED)))
    known = {**{k: v for k, v in students.get(title, {}).items() if k in COSTS}, **row}
    if known.get("accuracy") is None:
        return []
    first = Reference(
        name=title,
        kind=str(row.get("kind", "rival")),
        accuracy=float(row["accuracy"]),
        split="test" if name.startswith(VERIFIED) else "validation",
        sd=row.get("accuracy_sd"),
        seeds=int(row.get("seeds", 1)),
        params=known.get("params"),
        macs=known.get("macs"),
        memory_bytes=known.get("memory_bytes"),
        how=str(row.get("how", "")),
        figures={name: float(row[name]) for name in FIGURES if row.get(name) is not None},
    )
    if row.get("validation_accuracy") is None:
        return [first]
    again = replace(
        first, split="validation", accuracy=float(row["validation_accuracy"]), sd=row.get("validation_sd"), figures={}
    )
    return [first, again]


def standing(row: Reference) -> tuple[int, int, int, str]:
    """Sorts references: teachers, then each student followed by what it was compared with, then baselines."""
    ends = {"teacher": -2, "assistant": -1, "baseline": 1}
    student = re.search(r"student (\d+)", row.name)
    order = ("student", "control", "rival", "family")
    place = order.index(row.kind) if row.kind in order else len(order)
    return ends.get(row.kind, 0), int(student[1]) if student else -1, place, row.name


def commands(study: Sequence[str], verified: Sequence[int], references: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Shell lines that repeat the study (its file, and options), what was verified of it, and this page."""
    file = shlex.join(study)
    rows = [references.get(f"{VERIFIED}student {number}", {}) for number in verified]
    seeds = {int(row["seeds"]) + int(row.get("diverged", 0)) if "seeds" in row else None for row in rows}
    asked = f" --trials {','.join(map(str, verified))}" if verified else ""
    asked += f" --seeds {seeds.pop()}" if len(seeds) == 1 and None not in seeds else ""
    family = [row for name, row in references.items() if name.startswith(VERIFIED) and row.get("kind") == "family"]
    graphs = {int(row.get("seeds", 0)) + int(row.get("diverged", 0)) for row in family}
    asked += f" --family {graphs.pop()}" if len(graphs) == 1 else ""
    asked += " --alone" if verified and not any(row.get("kind") == "control" for row in references.values()) else ""
    return [f"autostudent search {file}", f"autostudent verify {file}{asked}", f"autostudent report {file}"]
