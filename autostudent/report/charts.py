"""The page's charts as plain Plotly data: the browser draws them, nothing here needs Plotly itself.

A trace of the front chart carries ``xs``, its x values for every cost; the page's buttons choose among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape as html_escape
from typing import Any

import numpy as np

from autostudent.front import hypervolume, nondominated
from autostudent.records import Trial, TrialState
from autostudent.report.contents import Contents, Reference
from autostudent.report.effects import Question
from autostudent.report.words import AXES, cost, percent

Chart = dict[str, Any]
escape = partial(html_escape, quote=False)  # Plotly's labels know no &quot;

# Okabe and Ito's palette: told apart with any colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#7a4fbf")
LABELS_ONLY, TEACHER, INK = "#8a8f98", "#b00020", "#1c2733"
SYMBOLS = {
    "teacher": "star",
    "assistant": "star-open",
    "rival": "triangle-up-open",
    "control": "square-open",
    "baseline": "line-ew-open",
    "student": "diamond-open",
    "family": "diamond-tall-open",
}
NAMES = {"student": "students trained again", "family": "fresh graphs of a generator"}
CURVES = 150  # learning curves drawn besides those of the front
STEPS = 120  # points of the hypervolume curve
EFFECTS = 8  # questions on the chart of effects


def palette(contents: Contents) -> dict[str, str]:
    """A colour for each method, the same in every chart; labels only are grey."""
    names = sorted({contents.method(trial) for trial in contents.trials} - {"none"})
    return {"none": LABELS_ONLY, **{name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}}


def finished(contents: Contents) -> list[Trial]:
    """Students that were trained to the end."""
    return [trial for trial in contents.trials if trial.state is TrialState.COMPLETE]


def front_chart(contents: Contents, chosen: int | None) -> Chart:
    """Accuracy over each cost: all finished students by method, the front's steps, teacher, rivals and controls."""
    complete, colours = finished(contents), palette(contents)
    traces: list[Chart] = [front_line(contents, axis) for axis in contents.axes]
    numbers = {row["trial"] for row in contents.front}
    for method in dict.fromkeys(contents.method(trial) for trial in complete):
        mine = [trial for trial in complete if contents.method(trial) == method]
        fronts = [trial for trial in mine if trial.number in numbers]
        others = [trial for trial in mine if trial.number not in numbers]
        if others:
            traces.append(students(others, method, colours[method], contents, False, not fronts))
        if fronts:
            traces.append(students(fronts, method, colours[method], contents, True, True))
    for kind in SYMBOLS:
        rows = [row for row in contents.references if row.kind == kind and row.split == "validation" and row.params]
        if rows:
            traces.append(references(kind, rows, contents))
    picked = [trial for trial in complete if trial.number == chosen]
    if picked:
        traces.append(ring(picked, contents))
    teacher = contents.teacher()
    return {
        "axes": {axis: AXES[axis] for axis in contents.axes},
        "traces": traces,
        "teacher": None if teacher is None else teacher.accuracy,
        "low": floor_of([trial.values["accuracy"] for trial in complete], teacher),
    }


def ring(picked: Sequence[Trial], contents: Contents) -> Chart:
    """A ring around the student of the verdict."""
    return {
        "name": "the student of the verdict",
        "mode": "markers",
        "xs": costs_of(picked, contents.axes),
        "y": [trial.values["accuracy"] for trial in picked],
        "marker": {"symbol": "circle-open", "size": 22, "color": INK, "line": {"width": 2}},
        "hoverinfo": "skip",
    }


def floor_of(values: Sequence[float], teacher: Reference | None) -> float | None:
    """Where the accuracy axis begins: far outliers below do not squeeze the students that matter."""
    if not values:
        return None
    top = max([*values, *([teacher.accuracy] if teacher else [])])
    usual = float(np.quantile(values, 0.25))
    low = min(value for value in values if value >= usual - 2 * (top - usual))
    return low - 0.08 * (top - low) - 1e-3


def costs_of(trials: Sequence[Trial], axes: Sequence[str]) -> dict[str, list[float]]:
    return {axis: [trial.values[axis] for trial in trials] for axis in axes}


def front_line(contents: Contents, axis: str) -> Chart:
    """The steps below which no student lies, seen along one cost."""
    rows = list(contents.front)
    points = np.array([(row[axis], -row["accuracy"]) for row in rows]).reshape(-1, 2)
    best = [row for row, keep in zip(rows, nondominated(points), strict=True) if keep]
    best.sort(key=lambda row: row[axis])
    return {
        "name": "front",
        "mode": "lines",
        "axis": axis,
        "x": [row[axis] for row in best],
        "y": [row["accuracy"] for row in best],
        "line": {"shape": "hv", "color": INK, "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def students(
    trials: Sequence[Trial], method: str, colour: str, contents: Contents, on_front: bool, shown: bool
) -> Chart:
    """One method's students, those on the front larger; ``shown``: these stand for the method in the legend."""
    marker: Chart = {"color": colour, "size": 11 if on_front else 6, "opacity": 1 if on_front else 0.45}
    if on_front:
        marker["line"] = {"color": "#fff", "width": 1.5}
    return {
        "name": escape(method),
        "legendgroup": escape(method),
        "showlegend": shown,
        "mode": "markers",
        "xs": costs_of(trials, contents.axes),
        "y": [trial.values["accuracy"] for trial in trials],
        "customdata": [trial.number for trial in trials],
        "marker": marker,
        "hovertemplate": f"student %{{customdata}}, {escape(method)}<br>%{{y:.2%}} at %{{x:,}}<extra></extra>",
    }


def references(kind: str, rows: Sequence[Reference], contents: Contents) -> Chart:
    """Teacher, rivals and controls, with error bars where there are several seeds."""
    colour = TEACHER if kind in ("teacher", "assistant") else INK
    return {
        "name": NAMES.get(kind, kind),
        "mode": "markers",
        "xs": {axis: [row.cost(axis) for row in rows] for axis in contents.axes},
        "y": [row.accuracy for row in rows],
        "error_y": {"array": [row.sd or 0 for row in rows], "visible": any(row.sd for row in rows), "thickness": 1},
        "text": [escape(row.name) for row in rows],
        "marker": {"symbol": SYMBOLS[kind], "size": 16 if kind == "teacher" else 11, "color": colour},
        "hovertemplate": f"{kind} %{{text}}<br>%{{y:.2%}} at %{{x:,}}<extra></extra>",
    }


def curve_chart(contents: Contents) -> Chart:
    """Accuracy at every rung: front members in colour, the others faint; a break marks where a student was stopped."""
    numbers, colours = {row["trial"] for row in contents.front}, palette(contents)
    measured = measured_name(contents)
    faint_x: list[float | None] = []
    faint_y: list[float | None] = []
    traces = []
    others = [trial for trial in contents.trials if trial.number not in numbers and trial.curve(measured)]
    for trial in others[:: max(1, len(others) // CURVES)]:
        for epoch, value in trial.curve(measured):
            faint_x.append(epoch)
            faint_y.append(value)
        faint_x.append(None)
        faint_y.append(None)
    traces.append(
        {
            "name": "other students",
            "mode": "lines+markers",
            "x": faint_x,
            "y": faint_y,
            "line": {"color": "#c3c9d1", "width": 1},
            "marker": {"size": 4},
            "hoverinfo": "skip",
        }
    )
    for trial in contents.trials:
        if trial.number not in numbers:
            continue
        points, method = trial.curve(measured), contents.method(trial)
        traces.append(
            {
                "name": f"{trial.number} {escape(method)}",
                "mode": "lines+markers",
                "x": [epoch for epoch, _ in points],
                "y": [value for _, value in points],
                "line": {"color": colours[method], "width": 2},
                "hovertemplate": f"student {trial.number}, {escape(method)}<br>epoch %{{x}}: %{{y:.2%}}<extra></extra>",
            }
        )
    teacher = contents.teacher()
    epochs = sorted({result.epoch for trial in contents.trials for result in trial.results})
    return {"traces": traces, "epochs": epochs, "teacher": None if teacher is None else teacher.accuracy}


def measured_name(contents: Contents) -> str:
    """The objective that training measures."""
    return next((objective.name for objective in contents.objectives if not objective.exact), "accuracy")


def method_chart(contents: Contents) -> Chart:
    """Final accuracies of each method's students: every point, and from five on the box of their quartiles."""
    complete, colours = finished(contents), palette(contents)
    traces = []
    for method in sorted({contents.method(trial) for trial in complete}):
        mine = [trial for trial in complete if contents.method(trial) == method]
        traces.append(
            {
                "type": "box",
                "name": escape(method),
                "y": [trial.values["accuracy"] for trial in mine],
                "boxpoints": "all" if len(mine) <= 200 else "outliers",
                "jitter": 0.4,
                "pointpos": 0,
                "marker": {"color": colours[method], "size": 6, "opacity": 0.6},
                "line": {"color": colours[method] if len(mine) >= 5 else "rgba(0,0,0,0)", "width": 1.5},
                "fillcolor": "rgba(0,0,0,0)",
                "customdata": [trial.number for trial in mine],
                "hovertemplate": f"student %{{customdata}}, {escape(method)}<br>%{{y:.2%}}<extra></extra>",
            }
        )
    return {"traces": traces}


def volume_chart(contents: Contents) -> Chart | None:
    """Hypervolume of the front over finished students and over working time, as a share of where it ended."""
    complete = sorted(finished(contents), key=lambda trial: trial.results[-1].order)
    admitted = np.array([contents.admits(trial) for trial in complete], dtype=bool)
    if len(complete) < 2 or not admitted.any():
        return None
    points = objective_points(complete, contents)
    worst, best = points[admitted].max(axis=0), points[admitted].min(axis=0)
    reference = worst + 0.05 * np.maximum(worst - best, 1e-9)
    scale = np.maximum(reference - best, 1e-12)
    shares = (points - best) / scale
    ends = sorted({round(end) for end in np.linspace(1, len(complete), min(STEPS, len(complete)))})
    front = np.empty((0, points.shape[1]))
    volumes, begin = [], 0
    for end in ends:
        front = np.vstack([front, shares[begin:end][admitted[begin:end]]])
        front = front[nondominated(front)]
        volumes.append(hypervolume(front, np.ones(points.shape[1])))
        begin = end
    last = volumes[-1] or 1.0
    hours = hours_at(contents)
    orders = [trial.results[-1].order for trial in complete]
    trace = {
        "mode": "lines",
        "xs": {"students": ends, "hours": [hours[orders[end - 1]] for end in ends]},
        "y": [volume / last for volume in volumes],
        "line": {"shape": "hv", "color": COLOURS[0], "width": 2},
        "fill": "tozeroy",
        "fillcolor": "rgba(0,114,178,.08)",
        "hovertemplate": "%{x}: %{y:.1%}<extra></extra>",
    }
    return {"traces": [trace], "axes": {"students": "students trained to the end", "hours": "hours of one worker"}}


def hours_at(contents: Contents) -> dict[int, float]:
    """Hours of one worker that all segments up to a commit took together, by the commit's order."""
    committed = sorted((result for trial in contents.trials for result in trial.results), key=lambda r: r.order)
    spent, found = 0.0, {}
    for result in committed:
        spent += result.seconds.get("segment", sum(result.seconds.values()))
        found[result.order] = spent / 3600
    return found


def effects_chart(questions: Sequence[Question]) -> Chart | None:
    """Mean and 95 % interval of every level of the most telling questions; the first question stands on top."""
    if not questions:
        return None
    labels, values, halves, colours = [], [], [], []
    for place, asked in enumerate(questions[:EFFECTS]):
        for effect in asked.levels:
            labels.append(f"{escape(asked.name)}: {escape(effect.level)}")
            values.append(effect.points)
            halves.append(effect.half or 0.0)
            colours.append(COLOURS[place % len(COLOURS)])
    trace = {
        "mode": "markers",
        "x": values,
        "y": labels,
        "error_x": {"array": halves, "thickness": 1.5, "width": 3, "color": "#8a8f98"},
        "marker": {"size": 9, "color": colours},
        "hovertemplate": "%{y}<br>%{x:+.2f} points<extra></extra>",
    }
    return {"traces": [trace], "rows": len(labels)}


def objective_points(trials: Sequence[Trial], contents: Contents) -> np.ndarray:
    """Objective values (n, m), all minimised, costs as logarithms."""
    columns = []
    for objective in contents.objectives:
        values = np.array([trial.values[objective.name] for trial in trials], dtype=float)
        values = np.log(values) if objective.exact else values
        columns.append(-values if objective.direction == "maximize" else values)
    return np.column_stack(columns)


def summary_text(row: Mapping[str, Any], axes: Sequence[str]) -> str:
    """One front row for people who cannot see the chart."""
    prices = ", ".join(f"{cost(axis, row[axis])} {AXES[axis]}" for axis in axes)
    return f"student {row['trial']}: {percent(row['accuracy'])}, {prices}"
