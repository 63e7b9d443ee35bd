"""Each student of the front on its own: its graph, what it costs, its recipe and what to cite."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from autostudent.report.contents import Contents
from autostudent.report.drawing import draw
from autostudent.report.tables import number, pairs
from autostudent.report.words import AXES, EXACT, cost, duration, percent, taught_by

CALIBRATION = ("ece", "nll")
LARGEST = 3_000_000  # characters that all drawings together may have


def members(contents: Contents, chosen: int | None) -> str:
    """A folded part for every front member, best accuracy first as in the table; the chosen one's is open."""
    trials = {trial.number: trial for trial in contents.trials}
    ledgers = {row["trial"]: row for row in contents.ledger.get("students", ())}
    pictures, parts = drawings(contents, chosen), []
    for row in sorted(contents.front, key=lambda row: -row["accuracy"]):
        picture = pictures.get(row["trial"], "")
        trial = trials.get(row["trial"])
        if trial is None:
            continue
        recipe = {name: number(value) for name, value in trial.candidate.config.items()}
        facts: dict[str, Any] = {
            "accuracy": percent(row["accuracy"], 2),
            **{AXES[axis]: exactly(axis, row[axis]) for axis in contents.axes},
            **{AXES[name]: cost(name, row[name]) for name in CALIBRATION if name in row},
            "taught by": taught_by(row),
            **(spent_on(ledgers[trial.number]) if trial.number in ledgers else {}),
            "seed": trial.candidate.seed,
            "edits": len(trial.candidate.edits),
            "key": trial.candidate.key[:12],
        }
        prices = ", ".join(cost(axis, row[axis]) for axis in contents.axes[:1])
        title = f"Student {trial.number}: {percent(row['accuracy'])}, {prices}, {contents.method(trial)}"
        papers = "".join(f"<li>{escape(line)}</li>" for line in contents.papers.get(contents.method(trial), ()))
        cite = f"<p>Cite</p><ul>{papers}</ul>" if papers else ""
        body = f"{picture}{pairs(facts)}<p>Recipe and generator</p>{pairs(recipe)}{cite}"
        opened = " open" if trial.number == chosen else ""
        parts.append(f'<details class="member"{opened}><summary>{escape(title)}</summary>{body}</details>')
    return "".join(parts)


def spent_on(row: Mapping[str, Any]) -> dict[str, str]:
    """The three columns of a student's cost in words."""
    shared = f"{duration(row['shared'])} (its share: {duration(row['share'])})" if row["shared"] else "–"
    return {
        "own training": duration(row["student"]),
        "trained beside it": duration(row["private"]) if row["private"] else "–",
        "shared teachers": shared,
    }


def exactly(axis: str, value: float) -> str:
    """A cost with every digit where it is exact."""
    unit = " bytes" if axis == "memory_bytes" else ""
    return f"{value:,.0f}{unit}" if axis in EXACT else cost(axis, value)


def drawings(contents: Contents, chosen: int | None) -> dict[int, str]:
    """Graphs of the front by number of student, of the chosen one first, as long as there is room for them."""
    found, left = {}, LARGEST
    for row in sorted(contents.front, key=lambda row: (row["trial"] != chosen, -row["accuracy"])):
        picture = drawing(contents, row["trial"])
        if len(picture) <= left:
            found[row["trial"]], left = picture, left - len(picture)
    return found


def drawing(contents: Contents, trial: int) -> str:
    """The student's graph, empty where it is not at hand."""
    graph = contents.graphs.get(trial)
    if graph is None:
        return ""
    return draw(graph, f"Graph of student {trial}: {len(graph.nodes) - 1} operations")
