"""The report as Markdown: the same verdict and tables for a README, an issue or a wiki."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from autostudent.records import TrialState
from autostudent.report.contents import Contents
from autostudent.report.effects import by_method, by_teachers
from autostudent.report.tables import CAUSES, between, effect_text, points
from autostudent.report.verdict import verdict
from autostudent.report.words import AXES, cost, count, percent, size, taught_by

SPECIAL = "\\`*_[]|#~"


def render(contents: Contents) -> str:
    """The whole report as text."""
    found = verdict(contents)
    parts = [
        f"# {safe(contents.name)}: students found by autostudent",
        f"**{safe(found.sentence)}**",
        safe(found.detail),
        front(contents),
        proof(contents),
        claims(contents),
        wins(contents),
        failures(contents),
        "## How to reproduce\n\n```\n" + "\n".join(contents.commands).replace("```", "") + "\n```",
        "## Papers\n\n" + "\n".join(f"- {safe(line)}" for line in contents.citations) if contents.citations else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def safe(text: object) -> str:
    """User text as text: no HTML, no Markdown, one line."""
    line = " ".join(escape(str(text), quote=False).split())
    return "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in line)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def front(contents: Contents) -> str:
    """The front, best accuracy first, under the teacher's row."""
    head = ["Student", "Accuracy", *(AXES[axis].capitalize() for axis in contents.axes), "Method", "Taught by"]
    rows = []
    teacher = contents.teacher()
    if teacher:
        prices = [cost(axis, teacher.cost(axis)) for axis in contents.axes]
        rows.append([safe(teacher.name), percent(teacher.accuracy), *prices, "teacher", ""])
    for row in sorted(contents.front, key=lambda row: -row["accuracy"]):
        prices = [cost(axis, row[axis]) for axis in contents.axes]
        labels = [safe(row.get("method", "")), safe(taught_by(row))]
        rows.append([str(row["trial"]), percent(row["accuracy"]), *prices, *labels])
    return "## The front\n\n" + table(head, rows)


def proof(contents: Contents) -> str:
    """What was measured on the test split; empty without such rows."""
    rows = []
    for row in contents.references:
        if row.split == "test":
            spread = f" ± {100 * row.sd:.1f}" if row.sd is not None else ""
            accuracy = f"{100 * row.accuracy:.1f}{spread} %"
            cells = [safe(row.name), safe(row.kind), safe(row.how), accuracy, str(row.seeds)]
            rows.append([*cells, count(row.params), size(row.memory_bytes)])
    head = ["Network", "What it is", "Learned from", "Test accuracy", "Seeds", "Parameters", "Memory"]
    return "## Proof on the test split\n\n" + table(head, rows) if rows else ""


def claims(contents: Contents) -> str:
    """Differences with their intervals; empty without any."""
    rows = []
    for claim in contents.claims:
        figures = [points(float(claim["points"]) / 100), between(claim), str(claim.get("seeds", ""))]
        rows.append([safe(claim["difference"]), *figures, str(claim.get("verdict", ""))])
    return table(["Difference", "Points", "95 % interval", "Seeds", "Reading"], rows) if rows else ""


def wins(contents: Contents) -> str:
    """Methods and teachers at equal size."""
    asked = [found for found in (by_method(contents), by_teachers(contents)) if found is not None]
    tables = [
        table(
            [safe(found.name), "Students", "To the end", "Best", found.heading],
            [[safe(e.level), str(e.tried), str(e.students), percent(e.best), effect_text(e)] for e in found.levels],
        )
        for found in asked
    ]
    return "\n\n".join(["## What wins", safe(asked[0].note), *tables]) if tables else ""


def failures(contents: Contents) -> str:
    """Failures by cause; empty when nothing failed."""
    failed = [trial.failure for trial in contents.trials if trial.state is TrialState.FAIL and trial.failure]
    causes = Counter(str(failure.cause) for failure in failed)
    rows = [[safe(cause), str(n), safe(CAUSES.get(cause, ""))] for cause, n in causes.most_common()]
    return "## What failed\n\n" + table(["Cause", "Students", "What it means"], rows) if rows else ""
