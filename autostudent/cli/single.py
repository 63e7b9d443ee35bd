"""``distill``: one student, one recipe, no search; ``costs``: what the students of a study cost to train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from autostudent.cli.options import AsJson, Assignments, MaybeStudyFile, StoreUrl, StudyName, open_store
from autostudent.cli.shown import as_json, errors, out
from autostudent.report.words import AXES, cost, duration, percent


def distill(
    study: Annotated[
        Path | None,
        typer.Argument(metavar="[STUDY.yaml]", help="Takes data, teachers, ladder and training from a study."),
    ] = None,
    student: Annotated[
        str, typer.Option("--student", metavar="STUDENT", help="resnet:8x4, GRAPH.json, or STUDY.yaml#TRIAL.")
    ] = "",
    method: Annotated[
        str | None,
        typer.Option(
            "--method", metavar="ID", help="kd, dkd, ctkd(ces_kd(dkd)), …; without it kd, or the trial's recipe."
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option("--teacher", metavar="TEACHER", help="A teacher of the study, or resnet:20x16@30. Repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, metavar="N", help="Of the student.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of the training.")] = 0,
    test: Annotated[bool, typer.Option("--test", help="Also measure on the test split; not for choosing.")] = False,
    target: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Keep weights and outcome.")] = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """Trains one student with one recipe, without a search: a paper's setting as it stands.

    --set takes entries of a study (data.name=digits, training.batch_size=64) and of the recipe (dkd.beta=4).
    """
    from autostudent.config.single import STUDENTS, train_student
    from autostudent.errors import ConfigError

    if not student:
        raise ConfigError("--student", None, STUDENTS)
    shown = errors if json else out
    outcome = train_student(
        student,
        method,
        teacher or (),
        study=study,
        settings=assignments or (),
        epochs=epochs,
        seed=seed,
        test=test,
        out=target,
        say=lambda text: shown.print(text, markup=False, soft_wrap=True),
    )
    if json:
        as_json(outcome)
    else:
        show(outcome)


def show(outcome: dict[str, Any]) -> None:
    """The outcome for people: quality on each split, exact costs, the three columns of seconds."""
    taught = ", ".join(outcome["teachers"]) or "labels alone"
    out.print(f"[bold]{escape(outcome['method'])}[/bold], taught by {escape(taught)}")
    for split in ("validation", "test"):
        measured = outcome[split]
        if measured is not None:
            rest = f"calibration error {percent(measured['ece'])}, log-loss {measured['nll']:.3f}"
            out.print(f"  {split}: {percent(measured['accuracy'])}, {rest}")
    prices = outcome["costs"]
    out.print("  " + ", ".join(f"{cost(axis, prices[axis])} {AXES[axis]}" for axis in AXES if axis in prices))
    spent = outcome["seconds"]
    out.print(
        f"  student {duration(spent['student'])}, beside it {duration(spent['private'])}, "
        f"teachers (once, for all) {duration(spent['shared'])}"
    )


def costs(
    study: MaybeStudyFile = None,
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """Seconds of every student in three columns: its own, of what trained beside it, of teachers paid for once."""
    from autostudent.report.ledger import ledger

    with open_store(study, store, name, assignments) as opened:
        found = ledger(opened.rows(), opened.described().get("shared", {}))
    if json:
        as_json(found)
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("student", "method", "student, s", "beside it, s", "shared, s", "its share, s"):
        grid.add_column(title, justify="left" if title in ("student", "method") else "right", no_wrap=True)
    for row in found["students"]:
        spent = (f"{row[column]:.1f}" for column in ("student", "private", "shared", "share"))
        grid.add_row(str(row["trial"]), escape(str(row["method"] or "")), *spent)
    out.print(grid)
    for row in found["teachers"]:
        out.print(f"{escape(row['name'])}: {duration(row['seconds'])}, used by {row['users']}", soft_wrap=True)
