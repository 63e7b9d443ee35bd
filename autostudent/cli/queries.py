"""``pareto``, ``best``, ``report``, ``events``, ``doctor``: questions to a store, while a study runs or after."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from autostudent.cli.options import (
    AsJson,
    Assignments,
    MaybeStudyFile,
    StoreUrl,
    StudyName,
    as_given,
    located,
    open_store,
)
from autostudent.cli.shown import as_json, errors, front_table, out
from autostudent.errors import ConfigError
from autostudent.report.words import AXES, cost, empty_front, percent, taught_by

RULES = {"accuracy": "accuracy", "knee": "knee", "smallest": "smallest_within_1se"}


def pareto(
    study: MaybeStudyFile = None,
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """The Pareto front: students that no other beats in accuracy and in every cost."""
    with open_store(study, store, name, assignments) as opened:
        rows, references, title, objectives = opened.front(), opened.references(), opened.study, opened.objectives
        missed = "" if rows else empty_front(opened.trials(), objectives)
    if missed:
        errors.print(missed, markup=False, soft_wrap=True)
    if json:
        as_json(rows)
    else:
        out.print(front_table(rows, references, objectives, title=escape(f"Pareto front of {title}")))


def best(
    study: MaybeStudyFile = None,
    max_params: Annotated[str | None, typer.Option(metavar="N", help="At most so many parameters: 50k.")] = None,
    max_memory: Annotated[str | None, typer.Option(metavar="SIZE", help="At most so much memory: 256KiB.")] = None,
    max_macs: Annotated[str | None, typer.Option(metavar="N", help="At most so many multiply-adds: 2M.")] = None,
    max_latency: Annotated[
        float | None, typer.Option(metavar="MS", help="At most so many milliseconds a picture, where measured.")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="At least so much accuracy on validation.")
    ] = None,
    within: Annotated[
        float | None, typer.Option(metavar="POINTS", help="The smallest within so many points of the best.")
    ] = None,
    rule: Annotated[
        str,
        typer.Option(
            help="accuracy: the best; knee: where more size buys little; smallest: one standard error from the best."
        ),
    ] = "accuracy",
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """One student of the front: the most accurate under the limits, or the smallest that is nearly as good."""
    from autostudent.store.choose import best as choose

    if within is not None and not 0 <= within <= 100:
        raise ConfigError("--within", within, "points of accuracy, 0 to 100")
    if max_latency is not None and not max_latency > 0:
        raise ConfigError("--max-latency", max_latency, "milliseconds above 0")
    if min_accuracy is not None and not (min_accuracy == 0 or 1 < min_accuracy <= 100):
        raise ConfigError("--min-accuracy", min_accuracy, "a percentage: 97 for 97 %")
    if within is not None and rule != "accuracy":
        raise ConfigError("--within", within, f"no --rule beside it: both say which student to take, got {rule}")
    if rule not in RULES:
        raise ConfigError("--rule", rule, f"one of: {', '.join(RULES)}")
    with open_store(study, store, name, assignments) as opened:
        rows, images = opened.front(), opened.described().get("validation_images")
        references = opened.references()
    try:
        row, reason = choose(
            rows,
            max_params=wish("--max-params", max_params),
            max_memory=wish("--max-memory", max_memory),
            max_macs=wish("--max-macs", max_macs),
            max_latency=max_latency,
            min_accuracy=None if min_accuracy is None else min_accuracy / 100,
            within=None if within is None else within / 100,
            rule=RULES[rule],
            images=images,
        )
    except ConfigError as error:
        typed = {"max_params": max_params, "max_memory": max_memory, "max_macs": max_macs, "max_latency": max_latency}
        raise as_typed(error, {**typed, "min_accuracy": min_accuracy, "within": within}) from None
    proof = references.get(f"verified: student {row['trial']}")
    if json:
        as_json({**row, "reason": reason, "verified": proof})
        return
    prices = ", ".join(f"{cost(axis, row[axis])} {AXES[axis]}" for axis in AXES if axis in row)
    out.print(f"[bold]student {row['trial']}[/bold]: {percent(row['accuracy'])}, {prices}")
    out.print(f"  {escape(str(row.get('method', '')))}, taught by {escape(taught_by(row))}")
    out.print(f"  {escape(reason)}", soft_wrap=True)
    if proof is not None:
        spread = f" ± {100 * proof['accuracy_sd']:.1f}" if proof.get("accuracy_sd") is not None else ""
        accuracy = f"{100 * proof['accuracy']:.1f}{spread} %" if proof.get("accuracy") is not None else "diverged"
        out.print(f"  trained again with {proof['seeds']} fresh seeds: {accuracy} on the test split")


def as_typed(error: ConfigError, typed: Mapping[str, object]) -> ConfigError:
    """An error about arguments of `autostudent.store.choose.best`, in the words of the options that were given."""
    names = [name for name in error.key.split(" and ") if name in typed]
    if not names:
        return error
    values = " and ".join(str(typed[name]) for name in names)
    return ConfigError(" and ".join(f"--{name.replace('_', '-')}" for name in names), values, error.allowed)


def wish(option: str, text: str | None) -> float | None:
    """A limit from the command line, with its unit."""
    from autostudent.space.yaml_loader import parse_quantity

    return None if text is None else parse_quantity(text, option)


def report(
    study: MaybeStudyFile = None,
    target: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where it goes: .html, .md, or .csv for all students.")
    ] = None,
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
) -> None:
    """Writes one HTML page that works without a network: verdict, front, graphs, curves, recipes, costs, failures.

    A file that ends in .md gets the same as Markdown, one that ends in .csv a line for every student. Without --out it
    is report.html beside the store, with the study's name in it where the store holds several.
    """
    from autostudent.assets import Assets
    from autostudent.report.files import write_report
    from autostudent.settings import placed_store

    place = None if study is None else located(study, store, name, assignments)
    assets = None if place is None else Assets(place.artifacts)
    with open_store(study, store, name, assignments) as opened:
        target = target or page_beside(placed_store(store or "") if place is None else place.url, opened.study)
        named = None if study is None else str(study)
        options = as_given(store, None) if place is None else place.options
        write_report(opened, target, study_file=named, given=options, assets=assets)
    out.print(f"Wrote {escape(str(target))}", soft_wrap=True)


def page_beside(url: str, study: str) -> Path:
    """Where the page of a study goes when nobody says."""
    from autostudent.settings import store_file
    from autostudent.store.opening import studies_in

    file = store_file(url)
    name = "report.html" if len(studies_in(url)) == 1 else f"report-{study}.html"
    return Path(name) if file is None else file.parent / name


def events(
    study: MaybeStudyFile = None,
    form: Annotated[
        str, typer.Option("--format", metavar="NAME", help="tensorboard, mlflow, wandb, or optuna.")
    ] = "tensorboard",
    target: Annotated[
        str | None, typer.Option("--to", metavar="PLACE", help="A folder; for mlflow its tracking URI.")
    ] = None,
    store: StoreUrl = None,
    name: StudyName = None,
    assignments: Assignments = None,
) -> None:
    """Writes one run for every student: TensorBoard event files, MLflow runs, or offline runs of Weights & Biases.

    With --format optuna, graphs and weights of the front become artifacts that optuna-dashboard shows. Called again
    after more of the search, runs keep their names and are not written twice. Nothing is sent anywhere unless --to
    names a server.
    """
    from autostudent.assets import Assets
    from autostudent.report.events import WRITERS
    from autostudent.settings import default_artifacts, placed_store, store_file

    if form not in (*WRITERS, "optuna"):
        raise ConfigError("--format", form, f"one of: {', '.join(WRITERS)}, optuna")
    with open_store(study, store, name, assignments) as opened:
        if study is not None:
            url, _, artifacts, _ = located(study, store, name, assignments)
        else:
            url = placed_store(store or "")
            artifacts = default_artifacts(url, opened.study) if form == "optuna" else ""
        file = store_file(url)
        place = file.parent.absolute() if file is not None else Path.cwd()
        inside = {"mlflow": f"sqlite:///{place}/mlflow.db", "wandb": str(place), "optuna": f"{place}/artifacts"}
        target = target or inside.get(form, f"{place}/events")
        if form == "optuna":
            from autostudent.store.artifacts import publish
            from autostudent.store.backend import shown

            files = publish(opened, url, Assets(artifacts), target)
            show = f"optuna-dashboard {shown(url)} --artifact-dir {shlex.quote(target)}"
            out.print(f"Wrote {files} files; look at them: {escape(show)}", soft_wrap=True)
            return
        runs = WRITERS[form](opened, target)
    quoted = shlex.quote(target)
    look = {
        "tensorboard": f"look at them: tensorboard --logdir {quoted}",
        "mlflow": f"look at them: mlflow ui --backend-store-uri {quoted}",
        "wandb": f"send them, if you want: wandb sync {quoted}/wandb/offline-run-*",
    }
    out.print(f"Wrote {runs} runs; {escape(look[form])}", soft_wrap=True)


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
