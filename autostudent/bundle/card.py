"""The model card: what a student is, how it was made, what was proved of it, how to load it."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from autostudent.bundle.formats import INPUT, OUTPUT, Parity
from autostudent.bundle.manifest import ONNX, PT2
from autostudent.report.cite import citations
from autostudent.report.words import AXES, cost, percent, taught_by
from autostudent.store.provenance import versions
from autostudent.store.rows import Row
from autostudent.store.store import Store

if TYPE_CHECKING:
    from autostudent.data.datasets import Dataset

NAMED = 50  # classes that the card lists; all are in preprocessing.json


@dataclass(frozen=True)
class Facts:
    """What the card says of a student: its ``row``, its study, its teacher's row (None without), its proof.

    ``verified`` is the row of its retrainings on the test split, ``claims`` the differences that were measured with
    them. ``pictures``: what was done to the data's. ``shape`` is (channels, height, width); ``counts`` the numbers of
    pictures by split.
    """

    study: str
    row: Row
    data: str
    pictures: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    teacher: Mapping[str, Any] | None
    verified: Mapping[str, Any] | None
    claims: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]


def gather(store: Store, row: Row, dataset: Dataset) -> Facts:
    """The facts of one student from its store and data."""
    references = store.references()
    name = f"student {row['trial']}"
    claims = [claim for claim in store.described().get("claims", []) if name in sides(claim)]
    verified = references.get(f"verified: {name}", {})
    main = store.resolved().get("teacher")
    teachers = {
        key: one
        for key, one in sorted(references.items(), key=lambda pair: pair[0] != main)
        if one.get("kind") == "teacher" and not key.startswith("verified: ")
    }
    return Facts(
        study=store.study,
        row=row,
        data=dataset.name,
        pictures=pictures_of(dataset),
        shape=dataset.shape,
        classes=dataset.classes,
        counts={"training": len(dataset.train), "validation": len(dataset.validation)},
        teacher=next(({**one, "name": key} for key, one in teachers.items()), None),
        verified=verified if verified.get("accuracy") is not None else None,
        claims=claims,
        versions=versions() | installed("safetensors", "onnx", "onnxscript", "onnxruntime"),
    )


def pictures_of(dataset: Dataset) -> str:
    """How pictures became those that the student learned from, in words."""
    channels, height, width = dataset.shape
    colour = "RGB" if channels == 3 else "grey"
    resized = f"resized to {height} x {width}, bilinear with antialiasing, whatever their aspect"
    if "images" in dataset.spec or "torchvision" in dataset.spec:
        return f"{colour} (grey ones with three equal channels), {resized}" if channels == 3 else f"{colour}, {resized}"
    return f"{colour}, {height} x {width}, as they are in the data"


def installed(*names: str) -> dict[str, str]:
    """Versions of those packages that are there."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def sides(claim: Mapping[str, Any]) -> list[str]:
    """The two networks that a claim compares."""
    return str(claim["difference"]).split(" - ")


def card(facts: Facts, checks: Mapping[str, Parity]) -> str:
    """The model card as Markdown."""
    parts = [
        [f"# Student {facts.row['trial']} of the study {plain(facts.study)}"],
        about(facts),
        ["## Load it", *loading(facts, checks)],
        ["## Data", *data(facts)],
        ["## How it was taught", *recipe(facts)],
        ["## What was measured", *measured(facts)],
        ["## Checks of the exported files", *parity_table(checks)],
        ["## Made with", ", ".join(f"{name} {version}" for name, version in facts.versions.items())],
    ]
    return "\n\n".join("\n\n".join(part) for part in parts) + "\n"


def plain(text: object) -> str:
    """A user's text as it stands: Markdown and HTML would otherwise read signs in it."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#~" else sign for sign in line)


def about(facts: Facts) -> list[str]:
    row, (channels, height, width) = facts.row, facts.shape
    prices = ", ".join(f"{cost(axis, row[axis])} {name}" for axis, name in AXES.items() if axis in row)
    return [
        f"An image classifier: pictures of {channels} × {height} × {width} (channels × height × width) to "
        f"{len(facts.classes)} classes. {prices}. Found and trained by autostudent, "
        f"exported on {datetime.now(UTC).strftime('%Y-%m-%d')}."
    ]


def loading(facts: Facts, checks: Mapping[str, Parity]) -> Iterator[str]:
    channels, height, width = facts.shape
    yield (
        f"The input is `{INPUT}`: float32, N x {channels} x {height} x {width}, pixels divided by 255; normalisation "
        f"is inside. The output is `{OUTPUT}`: N x {len(facts.classes)}, in the order of the classes in "
        "`preprocessing.json`. `manifest.json` holds the SHA-256 of every file."
    )
    shape = f"1, {channels}, {height}, {width}"
    run = ("with torch.no_grad():", f"    logits = student(torch.zeros({shape}))")
    yield code("import autostudent, torch", 'student = autostudent.load_student(".")  # this folder', *run)
    if "pt2" in checks:
        yield code("import torch", f'student = torch.export.load("{PT2}").module()', *run)
    if "onnx" in checks:
        given = f'{{"{INPUT}": numpy.zeros(({shape}), numpy.float32)}}'
        opened = f'student = onnxruntime.InferenceSession("{ONNX}")'
        yield code("import numpy, onnxruntime", opened, f"logits = student.run(None, {given})[0]")


def code(*lines: str) -> str:
    """A Python block."""
    return "\n".join(("```python", *lines, "```"))


def data(facts: Facts) -> list[str]:
    counts = ", ".join(f"{count:,} {split}" for split, count in facts.counts.items())
    named = ", ".join(plain(name) for name in facts.classes[:NAMED])
    more = f" and {len(facts.classes) - NAMED} more" if len(facts.classes) > NAMED else ""
    return [
        f"{plain(facts.data)}: {counts} pictures.",
        f"Classes: {named}{more}.",
        f"Pictures: {facts.pictures}.",
        "Nothing is known about pictures of another kind or origin than these.",
    ]


def recipe(facts: Facts) -> Iterator[str]:
    row, method = facts.row, str(facts.row.get("method", "unknown"))
    yield f"Method {plain(method)}, taught by {plain(taught_by(row))}, {row['epoch']} epochs."
    yield "\n".join(f"- {plain(name)}: {plain(value)}" for name, value in row["candidate"]["config"].items())
    if papers := citations([method]):
        yield "\n".join(f"- {plain(paper)}" for paper in papers)


def measured(facts: Facts) -> Iterator[str]:
    row, teacher, verified = facts.row, facts.teacher, facts.verified
    names = ["accuracy", *(axis for axis in AXES if axis in row)]
    lines = ["| | " + " | ".join(["validation accuracy", *(AXES[name] for name in names[1:])]) + " |"]
    lines.append("|---" * (1 + len(names)) + "|")
    for title, one in (("this student", row), (f"teacher {plain(teacher['name'])}" if teacher else "", teacher)):
        if one is not None:
            cells = [percent(one.get("accuracy")), *(cost(name, one.get(name)) for name in names[1:])]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    yield "\n".join(lines)
    yield (
        "The search chose this student by its validation accuracy, which therefore flatters it: "
        + ("the proof follows." if verified else "`autostudent verify` measures the test split; that was not done.")
    )
    if verified is not None:
        spread = verified.get("accuracy_sd")
        shown = (
            percent(verified["accuracy"])
            if spread is None
            else f"{percent(verified['accuracy'])} ± {100 * spread:.1f} points"
        )
        yield (
            f"Trained again from {verified.get('seeds', 1)} fresh seeds and measured on the held-out test split: "
            f"{shown} (mean ± standard deviation). The weights here are those of the search, not of these trainings."
        )
    if facts.claims:
        yield "\n".join(f"- {claim_text(claim)}" for claim in facts.claims)


def claim_text(claim: Mapping[str, Any]) -> str:
    """A measured difference in one line."""
    ends = claim["low"], claim["high"]  # None where too few trainings ended for an interval
    known = "unknown" if None in ends else f"{ends[0]:+.2f} to {ends[1]:+.2f}"
    interval = f"{claim['points']:+.2f} points (95 % interval {known})"
    return f"{plain(claim['difference'])}: {interval}, {plain(claim['verdict'])}"


def parity_table(checks: Mapping[str, Parity]) -> Iterator[str]:
    lines = ["| format | pictures | batch sizes | largest difference of a logit | allowed | same class |"]
    lines.append("|---" * 6 + "|")
    for name, parity in checks.items():
        sizes = ", ".join(map(str, parity.batch_sizes))
        numbers = f"{parity.largest_difference:.1e} | {parity.tolerance:.1e} | {percent(parity.same_class)}"
        lines.append(f"| {name} | {parity.pictures} | {sizes} | {numbers} |")
    yield "Each file was read back and run beside the original on real pictures of the validation split."
    yield "\n".join(lines)
