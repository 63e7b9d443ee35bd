"""The sentence on top of the page: which student to take, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from autostudent.report.contents import Contents, Reference
from autostudent.report.words import AXES, EXACT, cost, empty_front, percent, saving
from autostudent.store.choose import recommended

NEAR = 3.0  # points below the teacher that still count as coming near it
KEPT = 1.0  # points below the teacher on the test split beyond which nobody says kept, however wide the interval
MUCH = 0.75  # a student with at most this share of another's size is much smaller


@dataclass(frozen=True)
class Verdict:
    """``row`` is the chosen front row, ``keeps`` whether it holds the teacher's accuracy; the rest is text."""

    row: Mapping[str, Any] | None
    keeps: bool
    sentence: str
    detail: str


def standard_error(accuracy: float, images: int | None) -> float:
    """Of an accuracy measured on ``images`` pictures (binomial); 0 when their number is not known."""
    return sqrt(max(accuracy * (1 - accuracy), 0.0) / images) if images else 0.0


def keeps(contents: Contents, row: Mapping[str, Any]) -> bool:
    """Whether the student is at most one standard error below the teacher on validation."""
    teacher = contents.teacher()
    if teacher is None:
        return False
    return bool(row["accuracy"] >= teacher.accuracy - standard_error(teacher.accuracy, contents.validation_images))


def proved(contents: Contents, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The claim about teacher and student on the test split, None where the student was not verified."""
    teacher = contents.teacher("test")
    what = f"{teacher.name if teacher else ''} - student {row['trial']}"
    return next((claim for claim in contents.claims if claim.get("difference") == what), None)


def savings(contents: Contents, row: Mapping[str, Any], teacher: Reference) -> str:
    """How much less (or more) than the teacher the student costs, in words."""
    parts = []
    for axis in ("params", "memory_bytes", "macs"):
        price = teacher.cost(axis)
        if axis in contents.axes and price:
            parts.append(" ".join(saving(axis, price, row[axis])))
    return " and ".join(parts[:2])


def verdict(contents: Contents) -> Verdict:
    """What to say first of the student that `autostudent.store.choose.recommended` names.

    Where it was verified the sentence rests on the test split: the teacher's accuracy is kept when the student is at
    most `KEPT` points below it, and the interval of the difference reaches zero and ends below `NEAR` points.
    Otherwise it rests on validation.
    """
    if not contents.front:
        return Verdict(None, False, empty_front(contents.trials, contents.objectives), "")
    row, _ = recommended(contents.front, images=contents.validation_images)
    teacher = contents.teacher()
    if teacher is None:
        axis = contents.axes[0]
        size = f"{row[axis]:,.0f}" if axis in EXACT else cost(axis, row[axis])
        sentence = f"Student {row['trial']} reaches {percent(row['accuracy'])} with {size} {AXES[axis]}."
        return Verdict(row, False, sentence, proof(contents, row))
    saved, claim = savings(contents, row, teacher), proved(contents, row)
    if claim is None:
        kept, gap, where = keeps(contents, row), 100 * (teacher.accuracy - row["accuracy"]), ""
    else:
        ends = [float("inf") if claim.get(end) is None else float(claim[end]) for end in ("low", "high")]
        gap, where = float(claim["points"]), " on the test split"
        kept = gap <= KEPT and ends[0] <= 0 and ends[1] <= NEAR
    if kept:
        also = smaller(contents, row) if claim is None else ""
        sentence = f"Student {row['trial']} keeps the teacher's accuracy{where} with {saved}."
        return Verdict(row, True, sentence, also + proof(contents, row))
    gap = max(gap, 0.0)
    near = f"comes within {gap:.1f} points of the teacher" if gap <= NEAR else f"is {gap:.1f} points below the teacher"
    return Verdict(row, False, f"Student {row['trial']} {near}{where} with {saved}.", proof(contents, row))


def smaller(contents: Contents, row: Mapping[str, Any]) -> str:
    """The smallest student that keeps the teacher's accuracy too, where it is much smaller."""
    axis, teacher = contents.axes[0], contents.teacher()
    found = [other for other in contents.front if other[axis] < MUCH * row[axis] and keeps(contents, other)]
    if not found or teacher is None:
        return ""
    least = min(found, key=lambda other: other[axis])
    return f"Student {least['trial']} keeps it too, with {savings(contents, least, teacher)}. "


def proof(contents: Contents, row: Mapping[str, Any]) -> str:
    """How far the sentence can be trusted: fresh seeds on the test split when there are any."""
    teacher = contents.teacher()
    pictures = (
        f"{contents.validation_images:,} validation pictures" if contents.validation_images else "validation split"
    )
    compared = f"{percent(row['accuracy'])} on the {pictures}"
    if teacher is not None:
        error = standard_error(teacher.accuracy, contents.validation_images)
        compared += f", the teacher {percent(teacher.accuracy)}"
        compared += f" (standard error {100 * error:.1f} points)" if error else ""
    compared += "."
    again = [r for r in contents.references if r.split == "test" and r.name == f"student {row['trial']}"]
    if not again:
        return compared + " Measured once, by the search that picked it: expect a little less on new data."
    fresh, held_out = again[0], contents.teacher("test")
    spread = f" ± {100 * fresh.sd:.1f}" if fresh.sd is not None else ""
    beside = f"; the teacher has {percent(held_out.accuracy)}" if held_out else ""
    return (
        f"{compared} Trained again with {fresh.seeds} fresh seeds it has "
        f"{100 * fresh.accuracy:.1f}{spread} % on the held-out test split{beside}."
    )
