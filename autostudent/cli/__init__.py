"""The command line. Every command imports what it needs when it runs, so that a question is answered at once."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

import typer

from autostudent.cli import catalogues, cluster, export, proving, queries, searching, single, synthesizing
from autostudent.cli.shown import errors
from autostudent.errors import AutostudentError, is_of_surroundings

app = typer.Typer(
    name="autostudent",
    help="Searches small student networks and their distillation recipe together.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: tuple[Callable[..., None], ...] = (
    searching.check,
    searching.search,
    proving.verify,
    queries.pareto,
    queries.best,
    queries.report,
    queries.events,
    export.export,
    single.distill,
    single.costs,
    synthesizing.synthesize,
    catalogues.methods,
    catalogues.spaces,
    queries.doctor,
    cluster.submit,
    cluster.jobs,
    cluster.logs,
    cluster.stop,
)
for command in COMMANDS:
    app.command()(command)


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show tracebacks; may stand anywhere.")) -> None:
    """Searches small student networks and their distillation recipe together."""


INTERRUPTED = (130, 143)  # how a command ends after SIGINT (typer sees to that) and after SIGTERM


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command. Exit codes: 0 done, 1 stopped by failures of its own, 2 something given cannot be used."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that a terminal cannot show ends nothing
    try:
        app([argument for argument in given if argument != "--debug"], prog_name="autostudent")
    except AutostudentError as error:
        if debug:
            raise
        trace = getattr(error, "traceback", "")
        if trace:
            errors.print(trace, markup=False, highlight=False)
        errors.print("autostudent: " + " ".join(str(error).split()), markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1 if trace else 2) from None
    except OSError as error:  # a file that cannot be written or read
        if debug or (error.filename is None and not is_of_surroundings(error)):
            raise
        where = error.filename or "what was to be written"
        errors.print(f"autostudent: {where}: {error.strerror}", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
    except Exception as error:
        reason = getattr(error, "orig", None)  # a database's own word, in SQLAlchemy's exceptions
        if debug or reason is None:
            raise
        errors.print(f"autostudent: the store cannot be used: {reason}", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1) from None
    except SystemExit as ended:
        if ended.code in INTERRUPTED:
            errors.print("autostudent: interrupted; the same command goes on where it was", soft_wrap=True)
        raise
