"""One self-contained HTML file: the verdict first, then the front, then everything an engineer wants to dig into.

Plotly's JavaScript is inlined, nothing is fetched. User text is escaped in the HTML, and again in the labels that the
charts show, because Plotly reads a subset of HTML in them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from autostudent.records import TrialState
from autostudent.report import charts, tables
from autostudent.report.contents import Contents
from autostudent.report.effects import Question, by_method, by_teachers, searched
from autostudent.report.members import members
from autostudent.report.verdict import Verdict, verdict
from autostudent.report.words import AXES, percent, saving


def render(contents: Contents) -> str:
    """The whole page as text."""
    from plotly.offline import get_plotlyjs

    found = verdict(contents)
    chosen = found.row["trial"] if found.row is not None else None
    questions = searched(contents)
    drawings = {
        "front": charts.front_chart(contents, chosen),
        "curves": charts.curve_chart(contents),
        "methods": charts.method_chart(contents),
        "volume": charts.volume_chart(contents),
        "effects": charts.effects_chart(questions),
    }
    parts = [
        header(contents, found),
        front_section(contents, chosen),
        proof_section(contents),
        section("curves", "How they learned", curves_note(contents), chart("curves", "Learning curves")),
        wins_section(contents, questions),
        search_section(contents),
        failures_section(contents),
        reproduce_section(contents),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(contents.name)}: students found by autostudent</title>"
        f"<style>{text('page.css')}</style></head><body>"
        f"<main>{''.join(parts)}</main>{footer(contents)}"
        f"<script>{script_safe(get_plotlyjs())}</script>"
        f'<script type="application/json" id="charts">{embedded(drawings)}</script>'
        f"<script>{text('page.js')}</script></body></html>\n"
    )


CURVES_NOTE = (
    "Each line is a student; a line that ends early was stopped at a rung so that others could go on. "
    "Coloured lines are the front."
)
EFFECTS_NOTE = (
    "Every variable of the search on its own, the most telling first: effects as above, with 95 % "
    "intervals; numbers are cut into three ranges. Among many variables some differ by chance."
)


def text(name: str) -> str:
    """A file that ships beside this module."""
    return files("autostudent.report").joinpath(name).read_text(encoding="utf-8")


def embedded(value: Any) -> str:
    """JSON that cannot end its script element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def script_safe(code: str) -> str:
    """JavaScript that cannot end its script element."""
    return code.replace("</script", "<\\/script")


def section(name: str, title: str, note: str, body: str) -> str:
    """A titled part of the page."""
    words = f'<p class="note">{note}</p>' if note else ""
    return f'<section id="{name}"><h2>{title}</h2>{words}{body}</section>'


def chart(name: str, label: str) -> str:
    """The place where page.js draws the chart of that name."""
    return f'<div class="chart" id="chart-{name}" role="img" aria-label="{escape(label)}"></div>'


def header(contents: Contents, found: Verdict) -> str:
    """Study name, the verdict, and the figures that matter."""
    return (
        f'<header><p class="study">Study <b>{escape(contents.name)}</b></p><h1>{whole(found.sentence)}</h1>'
        f'<p class="lead">{whole(found.detail)}</p>{tiles(contents, found)}</header>'
    )


def whole(sentence: str) -> str:
    """Escaped text in which no line breaks between a number and its percent sign."""
    return escape(sentence).replace(" %", "&nbsp;%")


def curves_note(contents: Contents) -> str:
    """What the learning curves show; that some are left out where there are many."""
    others = len(contents.trials) - len(contents.front)
    return CURVES_NOTE + (
        f" Of the {others:,} others about {charts.CURVES} are drawn." if others >= 2 * charts.CURVES else ""
    )


def tiles(contents: Contents, found: Verdict) -> str:
    """Four or five figures, large."""
    teacher, row = contents.teacher(), found.row
    shown = []
    if teacher:
        shown.append((percent(teacher.accuracy), "teacher accuracy", "validation"))
    if row:
        shown.append((percent(row["accuracy"]), f"student {row['trial']}", f"{escape(str(row.get('method', '')))}"))
        for axis in ("params", "memory_bytes"):
            whole = teacher.cost(axis) if teacher else None
            if whole and axis in contents.axes:
                factor, words = saving(axis, whole, row[axis])
                shown.append((factor, words, "as the teacher" if words.startswith("as") else "than teacher"))
    states = Counter(trial.state for trial in contents.trials)
    stopped = states[TrialState.PRUNED] + states[TrialState.PAUSED]
    detail = (
        f"{states[TrialState.COMPLETE]:,} trained fully, {stopped:,} stopped early, {states[TrialState.FAIL]:,} failed"
    )
    shown.append((f"{len(contents.trials):,}", "students tried", detail))
    cells = (
        f'<div class="tile"><b>{big}</b><span>{words}</span><small>{small}</small></div>' for big, words, small in shown
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def front_section(contents: Contents, chosen: int | None) -> str:
    """The chart of the front with buttons for its axis, the table below, and each member on its own."""
    if not contents.front:
        return section("front", "The front", "", f"<p>{escape(verdict(contents).sentence)}</p>")
    choices = {axis: AXES[axis].capitalize() for axis in contents.axes}
    if len(contents.axes) > 1:
        choices["3d"] = "3-D"
    note = (
        "No student is both more accurate and cheaper than one on the front (large points). "
        "Up is more accurate, left is cheaper."
    )
    words = "; ".join(charts.summary_text(row, contents.axes) for row in contents.front[:30])
    body = switch("front", choices, "Cost axis") + chart("front", f"Accuracy over cost. {words}")
    body += tables.front_table(contents, chosen) + members(contents, chosen)
    return section("front", "The front", note, body)


def switch(name: str, choices: Mapping[str, str], label: str) -> str:
    """Buttons that choose what the chart of that name shows; the first is pressed. Nothing for a single choice."""
    if len(choices) < 2:
        return ""
    buttons = "".join(
        f'<button type="button" data-chart="{name}" data-axis="{key}" aria-pressed="{str(not place).lower()}">'
        f"{words}</button>"
        for place, (key, words) in enumerate(choices.items())
    )
    return f'<div class="switch" role="group" aria-label="{label}">{buttons}</div>'


def proof_section(contents: Contents) -> str:
    """Fresh seeds on the test split, beside everything that a sceptic would compare with."""
    body = tables.proof_table(contents) + tables.claims_table(contents)
    note = (
        "A search’s winner is the luckiest of many. Students and what they are compared with were trained again with "
        "fresh seeds; they, the teacher and the baseline were measured once on pictures that the search never saw."
    )
    return section("proof", "Proof", note, body) if body else ""


def wins_section(contents: Contents, questions: Sequence[Question]) -> str:
    """Methods, teachers and every other choice of the search, compared."""
    method, teachers = by_method(contents), by_teachers(contents)
    if method is None or teachers is None:
        return ""
    body = chart("methods", "Final accuracy by method") + tables.effects_table(method) + tables.effects_table(teachers)
    if questions:
        words = "; ".join(f"{asked.name} explains {percent(asked.share, 0)}" for asked in questions[:3])
        body += f'<h3>Which choices matter</h3><p class="note">{EFFECTS_NOTE}</p>'
        body += chart("effects", f"Effects of the searched variables. {words}")
        each = "".join(tables.effects_table(asked) for asked in questions)
        body += f"<details><summary>All variables as tables</summary>{each}</details>"
    return section("wins", "What wins", method.note, body)


def search_section(contents: Contents) -> str:
    """How the front grew, and where the time went."""
    note = (
        "Hypervolume of the front as a share of where it ended; "
        "a curve that is flat at the end says that more students would add little."
    )
    body = switch("volume", {"students": "Over students", "hours": "Over time"}, "Horizontal axis")
    body += chart("volume", "Hypervolume over students and time") + tables.time_table(contents)
    return section("search", "How the search went", note, body)


def failures_section(contents: Contents) -> str:
    """What failed and why."""
    body = tables.failure_table(contents)
    return section("failures", "What failed", "", body) if body else ""


def reproduce_section(contents: Contents) -> str:
    """Commands, settings, versions, papers."""
    commands = f"<pre>{escape(chr(10).join(contents.commands))}</pre>" if contents.commands else ""
    settings = {key: value for key, value in contents.study.items() if key != "spaces"}
    study = escape(json.dumps(settings, indent=2))
    parts = [commands, f"<details><summary>The resolved study</summary><pre>{study}</pre></details>"]
    if "spaces" in contents.study:
        spaces = escape(json.dumps(contents.study["spaces"], indent=1))
        parts.append(f"<details><summary>The search space</summary><pre>{spaces}</pre></details>")
    if contents.environment:
        parts.append(f"<details><summary>Versions</summary>{tables.pairs(contents.environment)}</details>")
    if contents.citations:
        items = "".join(f"<li>{escape(line)}</li>" for line in contents.citations)
        parts.append(
            f"<details open><summary>Papers behind the methods of this study</summary><ul>{items}</ul></details>"
        )
    return section("reproduce", "How to reproduce", "", "".join(parts))


def footer(contents: Contents) -> str:
    made = f" on {escape(contents.created)}" if contents.created else ""
    return f"<footer>Made by autostudent{made}. This file works without a network.</footer>"
