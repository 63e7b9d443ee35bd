"""How answers look: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autostudent.records import Objective
from autostudent.report.words import AXES, axes_of, cost, percent, taught_by, times

WIDE = 120  # columns of a table that goes to a file or a pipe
GAP, WORDS = 2, 6  # columns between two, and the fewest that words need
ROOMY = 110  # columns that the table of proof needs for words beside each other
out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True, highlight=False)

Row = Mapping[str, Any]


def as_json(value: Any) -> None:
    """Prints ``value`` as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def front_table(
    front: Sequence[Row], references: Mapping[str, Row], objectives: Iterable[Objective], *, title: str = ""
) -> Table:
    """The front, best accuracy first, with the teacher's row on top.

    Where the terminal is too narrow for all of it, factors are left out, and words stand below the student's number.
    """
    axes = axes_of(objective.name for objective in objectives)
    titles = ["accuracy", *("MACs" if axis == "macs" else AXES[axis] for axis in axes)]
    lines = [(name, row, "teacher", "") for name, row in references.items() if row.get("kind") == "teacher"][:1]
    teacher = lines[0][1] if lines else None
    for row in sorted(front, key=lambda row: -row["accuracy"]):
        lines.append((str(row["trial"]), row, str(row.get("method", "")), taught_by(row)))

    def figures(whole: Row | None) -> tuple[list[list[str]], int]:
        """The cells of every line, and the columns that they take beside the first."""
        cells = [[percent(r["accuracy"]), *prices(r, axes, None if r is teacher else whole)] for _, r, _, _ in lines]
        return cells, sum(GAP + max(map(len, column)) for column in zip(titles, *cells, strict=True))

    cells, taken = figures(teacher)
    wordy = out.width >= max([7, *(len(name) for name, *_ in lines)]) + taken + 2 * (GAP + WORDS)
    if not wordy:
        cells, taken = figures(None)
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim", title_style="bold")
    if teacher is not None and wordy:
        grid.caption, grid.caption_justify = "10× means ten times less than the teacher", "left"
    grid.add_column("student", overflow="fold", max_width=None if wordy else max(7, out.width - taken))
    for name in titles:
        grid.add_column(name, justify="right", no_wrap=True)
    for name in ("method", "taught by") if wordy else ():
        grid.add_column(name, overflow="fold")
    for (name, row, method, taught), numbers in zip(lines, cells, strict=True):
        words = (escape(method), escape(taught))
        head = escape(name) if wordy else f"{escape(name)}\n[dim]{', '.join(filter(None, words))}[/dim]"
        grid.add_row(head, *numbers, *(words if wordy else ()), style="red" if row is teacher else "")
    return grid


def prices(row: Row, axes: Sequence[str], teacher: Row | None) -> list[str]:
    """Costs as text; a number with × says how many times less than the teacher's that is."""
    cells = []
    for axis in axes:
        whole = teacher.get(axis) if teacher else None
        less = f" {times(whole, row[axis]):>5}" if whole and row.get(axis) else ""
        cells.append(cost(axis, row.get(axis)) + less)
    return cells


def proof_table(rows: Sequence[Row], width: int) -> Table:
    """What `verify` measured on the test split; all words share a cell where ``width`` is below `ROOMY` columns."""
    grid = Table(
        title="Test split", title_justify="left", box=None, pad_edge=False, header_style="dim", title_style="bold"
    )
    roomy = width >= ROOMY
    for name in ("network", "what it is", "learns from") if roomy else ("network, learns from",):
        grid.add_column(name, overflow="fold")  # only words may be broken over lines, never a figure
    for name in ("accuracy", "seeds", "params", "agrees", "ECE", "NLL", "ms"):
        grid.add_column(name, no_wrap=True, justify="right")
    for row in rows:
        spread = row.get("accuracy_sd")
        accuracy = percent(row["accuracy"]) if spread is None else f"{100 * row['accuracy']:.1f} ± {100 * spread:.1f} %"
        figures = [percent(row.get("agreement")), *(number(row.get(name)) for name in ("ece", "nll", "latency_ms"))]
        learned = ", ".join(
            filter(None, (row.get("how"), f"{row['diverged']} diverged" if row.get("diverged") else ""))
        )
        words = [escape(text) for text in (row["name"], row["kind"], learned)]
        if not roomy:
            words = [f"{words[0]}\n[dim]{', '.join(filter(None, words[1:]))}[/dim]"]
        grid.add_row(*words, accuracy, str(row["seeds"]), cost("params", row.get("params")), *figures)
    return grid


def number(value: float | None) -> str:
    """Three decimals, a dash for what was not measured."""
    return "–" if value is None else f"{value:.3f}"
