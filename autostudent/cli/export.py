"""``export``: a student as a folder to take away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from autostudent.cli.options import AsJson, Assignments, StoreUrl, StudyFile
from autostudent.cli.shown import as_json, errors, out


def export(
    study: StudyFile,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="Number of a student of the front.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="NAME", help="safetensors (always there), onnx, pt2, all. Repeatable."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="The folder; else student-N beside the store.")
    ] = None,
    store: StoreUrl = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """Writes a student as weights, graph and model card, and as ONNX or torch.export program; all checked."""
    from autostudent.bundle.export import export as write
    from autostudent.config import load_study

    loaded = load_study(study, assignments or (), store=store)
    progress = errors if json else out
    done = write(
        loaded, trial, formats or ("safetensors",), to, lambda text: progress.print(text, markup=False, soft_wrap=True)
    )
    if json:
        as_json({"folder": str(done.folder), **done.manifest})
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("file")
    grid.add_column("bytes", justify="right")
    for name, file in done.manifest["files"].items():
        grid.add_row(name, f"{file['bytes']:,}")
    out.print(grid)
    out.print(f"Wrote {escape(str(done.folder))}. Its README.md says how to load it.", soft_wrap=True)
