"""``verify``: fresh seeds, the test split, and everything that a sceptic would compare with."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from autostudent.cli.options import AsJson, Assignments, StoreUrl, StudyFile
from autostudent.cli.shown import as_json, errors, out, proof_table
from autostudent.errors import ConfigError


def verify(
    study: StudyFile,
    trials: Annotated[
        list[str] | None,
        typer.Option("--trials", "--trial", metavar="N[,N]", help="Front members to prove; repeatable."),
    ] = None,
    shortlist: Annotated[
        int | None,
        typer.Option("--shortlist", metavar="N", help="Choose 1 (default) to 3: smallest as good, best, one between."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=2, metavar="K", help="Fresh trainings of each network.")] = 3,
    family: Annotated[
        int, typer.Option("--family", metavar="K", help="Also train K fresh graphs from each one's generator.")
    ] = 0,
    compare: Annotated[
        bool,
        typer.Option("--compare/--alone", help="With controls (no teacher, longer, smoothed) and an equal ResNet."),
    ] = True,
    store: StoreUrl = None,
    assignments: Assignments = None,
    json: AsJson = False,
) -> None:
    """Trains a few front members again with fresh seeds and measures them on the test split, beside their controls.

    After a crash, the same command goes on. No more than three students of a study are ever measured on the test split.
    """
    from autostudent.config import load_study
    from autostudent.report.tables import between, points
    from autostudent.verify import verify as prove

    numbers = trial_numbers(trials)
    if numbers is not None and shortlist is not None:
        raise ConfigError("--shortlist", shortlist, "no --trials beside it: both say which students to prove")
    loaded = load_study(study, assignments or (), store=store)
    progress = errors if json else out

    def say(text: str) -> None:
        progress.print(text, markup=False, soft_wrap=True)

    try:
        few = 1 if shortlist is None else shortlist
        proof = prove(loaded, numbers, seeds, say, compare, shortlist=few, family=family)
    except ConfigError as error:
        if error.key not in ("trials", "shortlist", "family"):
            raise
        raise ConfigError(f"--{error.key}", error.given, error.allowed) from None
    if json:
        as_json(dataclasses.asdict(proof))
        return
    out.print(proof_table(proof.rows, out.width))
    for claim in proof.claims:
        line = f"{claim['difference']}: {points(claim['points'] / 100)} points ({between(claim)}), {claim['verdict']}"
        out.print(line, markup=False, soft_wrap=True)


def trial_numbers(given: list[str] | None) -> list[int] | None:
    """Numbers of trials from an option that may be repeated and may hold several, None when it was not given."""
    words = [word for text in given or () for word in text.replace(",", " ").split()]
    for word in words:
        if not word.isdecimal():
            raise ConfigError("--trials", word, "numbers of trials: 3 or 3,7")
    if given and not words:
        raise ConfigError("--trials", ",".join(given), "numbers of trials: 3 or 3,7")
    return [int(word) for word in words] or None
