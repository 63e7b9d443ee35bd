"""The page's tables as HTML text. Everything that a user or a trial wrote passes through `escape`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from autostudent.records import TrialState
from autostudent.report.contents import Contents, Reference
from autostudent.report.effects import Effect, Question
from autostudent.report.words import AXES, cost, count, duration, effort, percent, size, taught_by, times

FAILURES = 60  # failed students listed one by one

CAUSES = {
    "over_budget": "costs more than a hard limit allows",
    "out_of_memory": "did not fit into the worker's memory",
    "diverged": "the loss became infinite or not a number",
    "timeout": "took longer than run.timeout",
    "worker_lost": "the worker process died three times",
    "bug": "an error in code: the traceback says where",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, name: str, marks: Sequence[str] = ()) -> str:
    """An HTML table; cells are HTML already. ``marks`` are classes of the rows, in order."""
    classes = list(marks)
    body = []
    for place, row in enumerate(rows):
        mark = f' class="{classes[place]}"' if place < len(classes) and classes[place] else ""
        first, *others = row
        body.append(f'<tr{mark}><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>')
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def front_table(contents: Contents, chosen: int | None) -> str:
    """The front, best accuracy first, under the teacher's row."""
    teacher = contents.teacher()
    head = ["Student", "Accuracy", *(["To teacher"] if teacher else [])]
    head += [AXES[axis].capitalize() for axis in contents.axes]
    head += ["Method", "Taught by"]
    rows, marks = [], []
    if teacher:
        prices = [cost(axis, teacher.cost(axis)) for axis in contents.axes]
        rows.append([escape(teacher.name), percent(teacher.accuracy), "", *prices, "teacher", ""])
        marks.append("teacher")
    for row in sorted(contents.front, key=lambda row: -row["accuracy"]):
        cells = [str(row["trial"]), percent(row["accuracy"])]
        if teacher:
            cells.append(points(row["accuracy"] - teacher.accuracy))
        cells += [price(axis, row[axis], teacher) for axis in contents.axes]
        cells += [escape(str(row.get("method", ""))), escape(taught_by(row))]
        rows.append(cells)
        marks.append("chosen" if row["trial"] == chosen else "")
    return table(head, rows, name="Pareto front", marks=marks)


def points(difference: float, digits: int = 1) -> str:
    """A difference of accuracies in percentage points, with its sign."""
    return f"{round(100 * difference, digits) + 0.0:+.{digits}f}".replace("-", "−")  # no minus before a zero


def price(axis: str, value: float, teacher: Reference | None) -> str:
    """A cost, and how many times less (or as much) that is than the teacher's."""
    whole = teacher.cost(axis) if teacher else None
    if not whole or not value:
        return cost(axis, value)
    beside = f"{times(whole, value)} less" if value < whole else f"{times(value, whole)} as much"
    return f'{cost(axis, value)} <small title="beside the teacher">{beside}</small>'


def number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def proof_table(contents: Contents) -> str:
    """What was measured on the held-out test split; empty without such rows."""
    rows = [row for row in contents.references if row.split == "test"]
    if not rows:
        return ""
    figures: dict[str, tuple[str, Callable[[float | None], str]]] = {
        "agreement": ("Like teacher", percent),
        "ece": ("ECE", thousandths),
        "nll": ("NLL", thousandths),
        "latency_ms": ("Latency, ms", thousandths),
    }
    shown = {name: entry for name, entry in figures.items() if any(name in row.figures for row in rows)}
    cells = []
    for row in rows:
        spread = f" ± {100 * row.sd:.1f}" if row.sd is not None else ""
        cells.append(
            [
                f"{escape(row.name)}<small>{escape(', '.join(filter(None, (row.kind, row.how))))}</small>",
                f"{100 * row.accuracy:.1f}{spread} %",
                str(row.seeds),
                count(row.params),
                size(row.memory_bytes),
                *(word(row.figures.get(name)) for name, (_, word) in shown.items()),
            ]
        )
    head = ["Network, and what it learned from", "Test accuracy", "Seeds", "Parameters", "Memory"]
    head += [title for title, _ in shown.values()]
    return table(head, cells, name="Test accuracy", marks=[row.kind for row in rows])


def thousandths(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def claims_table(contents: Contents) -> str:
    """Differences between networks on the test split, each with its interval; empty without any."""
    readings = {"tie": "not told apart", "higher": "the first is better", "lower": "the second is better"}
    readings["unknown"] = "one training each says too little"
    rows = []
    for claim in contents.claims:
        reading = readings.get(str(claim.get("verdict")), "")
        cells = [points(float(claim["points"]) / 100), between(claim), str(claim.get("seeds", "")), reading]
        rows.append([escape(str(claim["difference"]).replace(" - ", " − ")), *cells])
    head = ["Difference", "Points", "95 % interval", "Seeds", "Reading"]
    return table(head, rows, name="Differences on the test split") if rows else ""


def between(claim: Mapping[str, Any]) -> str:
    """A claim's interval in points; one of a single seed has none."""
    if claim.get("low") is None or claim.get("high") is None:
        return "unknown"
    low, high = (points(float(claim[end]) / 100) for end in ("low", "high"))
    return f"{low} to {high}"


def effects_table(asked: Question) -> str:
    """One question: how its answers fared. What the effect compares is for `Question.note`."""
    head = [asked.name, "Students", "To the end", "Best", "On the front", asked.heading]
    rows = []
    for effect in asked.levels:
        cells = [escape(effect.level), f"{effect.tried:,}", f"{effect.students:,}", percent(effect.best)]
        rows.append([*cells, str(effect.fronts), effect_text(effect)])
    return table([escape(title) for title in head], rows, name=f"What wins, by {escape(asked.name.lower())}")


def effect_text(effect: Effect) -> str:
    """Mean and 95 % interval in points: "+0.4 ± 0.3", after thousands of students "+0.04 ± 0.03"."""
    if effect.half is None:
        return points(effect.points / 100)
    digits = 2 if effect.half < 0.1 else 1
    return f"{points(effect.points / 100, digits)} ± {effect.half:.{digits}f}"


def failure_table(contents: Contents) -> str:
    """Failures by cause, then one by one with their messages; empty when nothing failed."""
    failed = [trial for trial in contents.trials if trial.state is TrialState.FAIL and trial.failure]
    if not failed:
        return ""
    causes = Counter(str(trial.failure.cause) for trial in failed if trial.failure)
    rows = [[escape(cause), str(n), escape(CAUSES.get(cause, ""))] for cause, n in causes.most_common()]
    items = []
    for trial in failed[:FAILURES]:
        assert trial.failure is not None
        trace = f"<pre>{escape(trial.failure.traceback)}</pre>" if trial.failure.traceback else ""
        line = f"student {trial.number}: {trial.failure.cause}: {trial.failure.message}"
        items.append(f"<li>{escape(line)}{trace}</li>")
    more = f"<li>and {len(failed) - FAILURES} more</li>" if len(failed) > FAILURES else ""
    listing = f"<details><summary>Each failed student</summary><ul>{''.join(items)}{more}</ul></details>"
    return table(["Cause", "Students", "What it means"], rows, name="Failures by cause") + listing


def time_table(contents: Contents) -> str:
    """Where the seconds went: paid once, and paid by the students."""
    spent: dict[str, float] = defaultdict(float)
    for trial in contents.trials:
        for result in trial.results:
            for column, seconds in result.seconds.items():
                spent[column] += seconds
    words = {
        "student": "training students",
        "private": "peers and other networks private to a student",
        "rung": "annealing copies for the scores at rungs",
        "segment": "whole segments, with loading and measuring",
    }
    rows = [
        [
            f"teacher {escape(row['name'])}<small>once, for all studies</small>",
            duration(row["seconds"]),
            f"{row['users']:,}",
        ]
        for row in contents.ledger.get("teachers", ())
    ]
    rows += [[escape(words.get(name, name)), duration(seconds), ""] for name, seconds in spent.items() if seconds > 0]
    told = f'<p class="note">{escape(effort(contents.effort, spent["segment"]))}</p>' if contents.effort else ""
    return (table(["What", "Time of one worker", "Students that use it"], rows, name="Time") if rows else "") + told


def pairs(values: Mapping[str, Any]) -> str:
    """A mapping as a definition list."""
    entries = (f"<div><dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd></div>" for k, v in values.items())
    return f"<dl>{''.join(entries)}</dl>"
