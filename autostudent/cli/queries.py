"""``pareto``, ``best``, ``report``, ``doctor``: questions to a store, while a study runs or after."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from autostudent.cli.options import AsJson, Assignments, MaybeStudyFile, StoreUrl, StudyName, open_store
from autostudent.cli.shown import as_json, front_table, out
from autostudent.errors import ConfigError
from autostudent.report.words import AXES, cost, percent, taught_by


def pareto(
    study: MaybeStudyFile = None,
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """The Pareto front: students that no other beats in accuracy and in every cost."""
    with open_store(study, store, name, assignments) as opened:
        rows, references, title = opened.front(), opened.references(), opened.study
    if json:
        as_json(rows)
    else:
        out.print(front_table(rows, references, title=f"Pareto front of {title}"))


def best(
    study: MaybeStudyFile = None,
    max_params: Annotated[str | None, typer.Option(metavar="N", help="At most so many parameters: 50k.")] = None,
    max_memory: Annotated[str | None, typer.Option(metavar="SIZE", help="At most so much memory: 256KiB.")] = None,
    max_macs: Annotated[str | None, typer.Option(metavar="N", help="At most so many multiply-adds: 2M.")] = None,
    within: Annotated[
        float | None, typer.Option(metavar="POINTS", help="The smallest within so many points of the best.")
    ] = None,
    rule: Annotated[
        str,
        typer.Option(
            help="accuracy: the best; knee: where more size buys little; smallest: within one standard error."
        ),
    ] = "accuracy",
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """One student of the front: the most accurate under the limits, or the smallest that is nearly as good."""
    from autostudent.store.choose import best as choose

    if within is not None and within < 0:
        raise ConfigError("--within", within, "points of accuracy, 0 or more")
    with open_store(study, store, name, assignments) as opened:
        rows, images = opened.front(), opened.described().get("validation_images")
    row, reason = choose(
        rows,
        max_params=wish("--max-params", max_params),
        max_memory=wish("--max-memory", max_memory),
        max_macs=wish("--max-macs", max_macs),
        within=None if within is None else within / 100,
        rule={"smallest": "smallest_within_1se"}.get(rule, rule),
        images=images,
    )
    if json:
        as_json({**row, "reason": reason})
        return
    prices = ", ".join(f"{cost(axis, row[axis])} {AXES[axis]}" for axis in AXES if axis in row)
    out.print(f"[bold]student {row['trial']}[/bold]: {percent(row['accuracy'])}, {prices}")
    out.print(f"  {escape(str(row.get('method', '')))}, taught by {escape(taught_by(row))}")
    out.print(f"  {escape(reason)}")


def wish(option: str, text: str | None) -> float | None:
    """A limit from the command line, with its unit."""
    from autostudent.space.yaml_loader import parse_quantity

    return None if text is None else parse_quantity(text, option)


def report(
    study: MaybeStudyFile = None,
    target: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the page goes.")] = None,
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
) -> None:
    """Writes one HTML page that works without a network: verdict, front, curves, recipes, costs, failures."""
    from autostudent.report.gather import gather
    from autostudent.report.page import write_page
    from autostudent.settings import store_file

    with open_store(study, store, name, assignments) as opened:
        contents = gather(opened, study_file=None if study is None else str(study))
    if target is None:
        url = store if study is None else store_of(study, store, assignments)
        file = store_file(url or "")
        target = file.parent / "report.html" if file is not None else Path("report.html")
    out.print(f"Wrote {escape(str(write_page(contents, target)))}", soft_wrap=True)


def store_of(study: Path, store: str | None, assignments: list[str] | None) -> str:
    """The storage URL of a study file."""
    from autostudent.config import locate

    return locate(study, assignments or (), store=store)[0]


def doctor(
    study: MaybeStudyFile = None,
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """What the store holds, and what had to be put right in it. Refused while a driver is at work."""
    from autostudent.cli.options import open_driver

    with open_driver(study, store, name, assignments) as opened:
        summary = {**opened.summary(), "repaired": opened.repaired}
    if json:
        as_json(summary)
        return
    out.print(f"[bold]{escape(summary['study'])}[/bold] in {escape(summary['store'])}", soft_wrap=True)
    states = ", ".join(f"{count} {state}" for state, count in summary["trials"].items()) or "none"
    out.print(f"  trials: {states}; {summary['front']} on the front")
    if summary["failures"]:
        out.print("  failures: " + ", ".join(f"{count} {cause}" for cause, count in summary["failures"].items()))
    for line in summary["repaired"]:
        out.print(f"  repaired: {escape(line)}", soft_wrap=True)
    if not summary["repaired"]:
        out.print("  nothing to repair")
