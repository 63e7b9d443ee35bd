"""``synthesize``: pictures and a study for students whose teacher only answers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from autostudent.cli.options import AsJson, Assignments
from autostudent.cli.queries import as_typed
from autostudent.cli.shown import as_json, errors, out
from autostudent.report.words import percent


def synthesize(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="Data, teacher and everything else.")],
    target: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="For the pictures and the new study.")],
    pictures: Annotated[int, typer.Option("--pictures", min=1, metavar="N", help="Training pictures that are there.")],
    synthetic: Annotated[
        int | None, typer.Option("--synthetic", min=1, metavar="M", help="Made beside them; by default 20 N.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option("--teacher", metavar="NAME", help="Of the study; by default its first.")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", metavar="A", help="Of MixUp.")] = 1.0,
    discard: Annotated[
        float, typer.Option("--discard", metavar="D", help="Blends with shares up to D give way to drawn pictures.")
    ] = 0.05,
    drawn: Annotated[
        bool, typer.Option("--drawn/--blends-only", help="With a conditional VAE, or MixUp alone.")
    ] = True,
    epochs: Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Of the VAE.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of choice, blends and VAE.")] = 0,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """Makes a study for a teacher that only answers, from few pictures without labels (MixUp and a conditional VAE).

    After Nguyen et al. 2022 (arXiv 2207.12106). The folder holds pictures.npz and study.yaml, to search as it stands.
    """
    from autostudent.config.synthesis import synthesize as make
    from autostudent.errors import ConfigError

    shown = errors if json else out
    try:
        made = make(
            study,
            target,
            pictures=pictures,
            synthetic=synthetic,
            teacher=teacher,
            settings=assignments or (),
            seed=seed,
            say=lambda text: shown.print(text, markup=False, soft_wrap=True),
            alpha=alpha,
            discard=discard,
            drawn=drawn,
            epochs=epochs,
        )
    except ConfigError as error:
        given = {"pictures": pictures, "teacher": teacher, "alpha": alpha, "discard": discard, "out": target}
        raise as_typed(error, given) from None
    if json:
        as_json(made)
        return
    counts = made["pictures"]
    out.print(
        f"{counts['real']:,} pictures, {counts['blended']:,} blends, {counts['drawn']:,} drawn; the teacher labels "
        f"{percent(made['agrees'])} of the real ones as the data does",
        soft_wrap=True,
    )
    out.print(f"Next: autostudent search {escape(shlex.quote(made['study']))}", soft_wrap=True)
