"""What the outcomes say: rows of the table of proof, and differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autostudent.measure.intervals import Interval, gap, interval, paired, unpack, welch, with_pictures
from autostudent.verify.contenders import Contender

AVERAGED = ("accuracy", "nll", "ece", "agreement")


@dataclass(frozen=True)
class Measured:
    """A contender with its outcomes, one a training; those that diverged are counted and left out of every mean."""

    contender: Contender
    outcomes: tuple[Mapping[str, Any], ...]

    @property
    def whole(self) -> list[Mapping[str, Any]]:
        """Outcomes of trainings that ended well."""
        return [outcome for outcome in self.outcomes if "failed" not in outcome]

    def accuracies(self) -> list[float]:
        """Test accuracy of each training that ended well."""
        return [outcome["test"]["accuracy"] for outcome in self.whole]

    def row(self) -> dict[str, Any]:
        """Means over trainings, and the interval of the accuracy; ``accuracy`` is None when all of them diverged."""
        contender, whole = self.contender, self.whole
        head = {
            "name": contender.name,
            "kind": contender.kind,
            "how": contender.how,
            "epochs": contender.epochs,
            **contender.costs,
            "seeds": len(whole),
            "diverged": len(self.outcomes) - len(whole),
        }
        if not whole:
            return {**head, "accuracy": None}
        found = interval(self.accuracies())
        means = {name: sum(outcome["test"][name] for outcome in whole) / len(whole) for name in AVERAGED}
        seen = interval([outcome["validation"]["accuracy"] for outcome in whole])
        spread = {
            "accuracy_sd": found.sd,
            "accuracy_low": found.low,
            "accuracy_high": found.high,
            "validation_accuracy": seen.mean,
            "validation_sd": seen.sd,
        }
        seconds = sum(sum(outcome["seconds"].values()) for outcome in whole) / len(whole)
        return {**head, **means, **spread, "seconds": seconds}


def claims_of(measured: Sequence[Measured], teacher: Mapping[str, Any], teacher_right: Tensor) -> list[dict[str, Any]]:
    """Differences that matter, each with its 95 % interval (seeds and pictures); one that holds zero is called a tie.

    A student comes before its controls, rival and family. With controls it shares seeds, so that differences are
    paired; a seed that diverged in either is left out.
    """
    claims: list[dict[str, Any]] = []
    student: Measured | None = None
    for entry in measured:
        if entry.contender.kind == "student":
            student = entry
            right = [unpack(outcome["correct"], len(teacher_right)) for outcome in entry.whole]
            if right:
                found = gap(teacher_right, right)
                ratio = teacher["params"] / entry.contender.costs["params"]
                claims.append({**claim(f"{teacher['name']} - {entry.contender.name}", found), "params_ratio": ratio})
        elif student is not None:
            difference = compared(student, entry, len(teacher_right))
            if difference is not None:
                claims.append(claim(f"{student.contender.name} - {entry.contender.name}", difference))
    return claims


def compared(student: Measured, other: Measured, pictures: int) -> Interval | None:
    """The student's accuracy minus the other's: paired over common seeds with a control, else unpaired."""
    ours, theirs = student.whole, other.whole
    if other.contender.kind == "control":
        both = zip(student.outcomes, other.outcomes, strict=True)
        pairs = [pair for pair in both if not any("failed" in outcome for outcome in pair)]
        ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if not ours or not theirs:
        return None
    mine, its = ([outcome["test"]["accuracy"] for outcome in each] for each in (ours, theirs))
    found = paired(mine, its) if other.contender.kind == "control" else welch(mine, its)
    right, other_right = ([unpack(outcome["correct"], pictures) for outcome in each] for each in (ours, theirs))
    return with_pictures(found, right, other_right)


def claim(what: str, found: Interval) -> dict[str, Any]:
    """A difference in accuracy as plain data, in points (hundredths); trainings of one seed leave the verdict open."""
    low, high = 100 * found.low, 100 * found.high
    verdict = "tie" if low <= 0 <= high else "higher" if low > 0 else "lower"
    if math.isinf(low) or math.isinf(high):
        verdict = "unknown"
    return {
        "difference": what,
        "points": 100 * found.mean,
        "low": low,
        "high": high,
        "seeds": found.n,
        "verdict": verdict,
    }
