"""``check`` and ``search``."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from autostudent.cli.options import AsJson, Assignments, StoreUrl, StudyFile, as_given
from autostudent.cli.shown import as_json, errors, front_table, out
from autostudent.cli.view import view
from autostudent.report.words import AXES, cost, duration, effort, empty_front, percent

if TYPE_CHECKING:
    from autostudent.study import CheckReport


def check(study: StudyFile, assignments: Assignments = None, json: AsJson = False) -> None:
    """Looks at data, teachers, budget and space, and estimates the time. Trains the teachers, searches nothing."""
    from autostudent.config import load_study

    loaded = load_study(study, assignments or ())
    with view(errors if json else out) as shown:
        report = loaded.check(shown)
    if json:
        as_json(dataclasses.asdict(report))
    else:
        show_check(loaded.settings.study, report)


def show_check(name: str, report: CheckReport) -> None:
    """The findings of a check for people."""
    data = report.data
    shape = " × ".join(str(side) for side in data["shape"])
    out.print(f"[bold]{escape(name)}[/bold]: {escape(str(data['name']))}, {data['classes']} classes, pictures {shape}")
    out.print(f"  {data['train']:,} to train on, {data['validation']:,} to validate on")
    grid = Table(box=None, pad_edge=False, header_style="dim")
    axes = [axis for axis in AXES if any(axis in row for row in report.teachers)]
    for title in ("teacher", "accuracy", *(AXES[axis] for axis in axes)):
        grid.add_column(title, justify="left" if title == "teacher" else "right")
    for row in report.teachers:
        grid.add_row(escape(str(row["name"])), percent(row["accuracy"]), *(cost(axis, row.get(axis)) for axis in axes))
    out.print(grid)
    limits = {objective["name"]: objective["limit"] for objective in report.objectives}
    sizes = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("students cost", "least", "median", "most", "limit"):
        sizes.add_column(title, justify="left" if title == "students cost" else "right")
    for axis, (least, median, most) in report.sizes.items():
        limit = limits.get(axis)
        sizes.add_row(AXES.get(axis, axis), *(cost(axis, value) for value in (least, median, most, limit)))
    out.print(sizes)
    out.print(f"{percent(report.feasible, 0)} of random students respect the limits; the others are never trained.")
    if report.gpu is not None:
        out.print(gpu_line(report.gpu))
    out.print(f"The search will take about {duration(report.seconds)}.")


def gpu_line(share: Mapping[str, Any]) -> str:
    """How the trainings share a GPU."""
    line = f"Each training gets {share['gpus']:g} GPU" + (
        "." if share["gpus"] >= 1 else f"; {share['together']} share one."
    )
    if share["need"] is not None:
        line += f" It needs at most {share['need'] / 2**30:.1f} of {share['device'] / 2**30:.1f} GiB."
    return line


def search(
    study: StudyFile,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Students, instead of the file's.")
    ] = None,
    store: StoreUrl = None,
    address: Annotated[str | None, typer.Option("--address", metavar="HOST", help="Join this Ray cluster.")] = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """Searches until the budget is spent. After a crash, the same command goes on; more --trials add students."""
    from autostudent.config import load_study
    from autostudent.store.store import Store

    given = list(assignments or ())
    given += [f"budget.trials={trials}"] if trials is not None else []
    given += [f"run.address={address}"] if address is not None else []
    loaded = load_study(study, given, store=store)
    with view(errors if json else out, loaded.settings) as shown:
        loaded.run(shown)
    settings = loaded.settings
    with Store.read(settings.store, settings.study, loaded.assets) as stored:
        rows, references, spent = stored.front(), stored.references(), stored.described().get("effort", {})
        segments = sum(r.seconds.get("segment", 0.0) for trial in stored.trials() for r in trial.results)
        missed = "" if rows else empty_front(stored.trials(), stored.objectives)
    if missed:
        errors.print(missed, markup=False, soft_wrap=True)
    if json:
        as_json(rows)
        return
    out.print(front_table(rows, references, settings.objectives, title=escape(f"Pareto front of {settings.study}")))
    out.print(effort(spent, segments))
    following = shlex.join(["autostudent", "report", str(study), *as_given(store, assignments)])
    out.print(f"Next: {following}", markup=False, soft_wrap=True)
