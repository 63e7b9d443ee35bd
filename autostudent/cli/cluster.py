"""``submit``, ``jobs``, ``logs``, ``stop``: studies as jobs of a Ray cluster."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from autostudent.cli.options import AsJson, Assignments, StoreUrl, StudyFile
from autostudent.cli.shown import as_json, out

Address = Annotated[
    str | None, typer.Option("--address", metavar="URL", help="The cluster's dashboard: http://HOST:8265.")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow plain http to another machine without a token.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `jobs` lists it.", show_default=False)]


def submit(
    study: StudyFile,
    address: Address = None,
    store: StoreUrl = None,
    assignments: Assignments = None,
    insecure: Insecure = False,
    json: AsJson = False,
) -> None:
    """Runs a study as a job of a Ray cluster; the same study is never there twice."""
    from autostudent.config import build, filled
    from autostudent.run.cluster import submit as send

    study_mapping = filled(study, assignments or (), store=store)
    build(study_mapping)
    job = send(study_mapping, address, insecure=insecure)
    if json:
        as_json(job.to_json())
    elif job.new:
        out.print(f"Submitted {job.id}. Follow it: autostudent logs {job.id} --follow", markup=False, soft_wrap=True)
    else:
        out.print(f"{job.id} is there already, {job.status}.", markup=False, soft_wrap=True)


def jobs(address: Address = None, insecure: Insecure = False, json: AsJson = False) -> None:
    """Our jobs on the cluster, oldest first."""
    from autostudent.run.cluster import jobs as listed

    found = listed(address, insecure=insecure)
    if json:
        as_json([job.to_json() for job in found])
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("job", "study", "status", "started"):
        grid.add_column(title)
    for job in found:
        started = (
            "" if job.started is None else datetime.fromtimestamp(job.started).astimezone().isoformat(" ", "minutes")
        )
        grid.add_row(escape(job.id), escape(job.study), job.status, started)
    out.print(grid if found else "No study was submitted here.")


def logs(
    job: JobId,
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    insecure: Insecure = False,
) -> None:
    """What a job has printed."""
    from autostudent.run.cluster import logs as pieces

    for piece in pieces(job, address, follow=follow, insecure=insecure):
        typer.echo(piece, nl=False)


def stop(job: JobId, address: Address = None, insecure: Insecure = False) -> None:
    """Asks a job to end. Its store stays; the same study can be submitted again and goes on."""
    from autostudent.run.cluster import stop as ask

    asked = ask(job, address, insecure=insecure)
    out.print(f"{job} is asked to stop." if asked else f"{job} had ended already.", markup=False, soft_wrap=True)
