"""What the outcomes of a proof are taken to say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from autostudent.measure.intervals import Interval, pack
from autostudent.verify.claims import Measured, claim, claims_of, compared
from autostudent.verify.contenders import Contender

PICTURES = 200


def contender(name: str, kind: str, params: int = 1_000) -> Contender:
    made = Contender(name, kind, "kd", (), {}, (), 6)
    made.__dict__["costs"] = {"params": params}
    return made


def outcome(right: int) -> dict[str, Any]:
    """A training that classifies the first so many of `PICTURES` correctly, worse on validation."""
    share = right / PICTURES
    figures = {"accuracy": share, "nll": 1.0, "ece": 0.1, "agreement": 0.5}
    correct = pack(torch.arange(PICTURES) < right)
    return {"test": figures, "validation": {"accuracy": share - 0.1}, "correct": correct, "seconds": {"student": 1.0}}


def measured(kind: str, *right: int) -> Measured:
    return Measured(contender(f"a {kind}", kind), tuple(map(outcome, right)))


STUDENT = (120, 160, 140)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.3, "higher"), (-0.3, -0.1, "lower"), (-0.1, 0.1, "tie"), (0.0, 0.2, "tie"), (-math.inf, 1.0, "unknown")],
)
def test_an_interval_without_zero_has_a_sign(low: float, high: float, verdict: str) -> None:
    assert claim("a - b", Interval(0.1, low, high, 0.1, 3))["verdict"] == verdict


def test_seeds_are_paired_with_a_control_and_with_nobody_else() -> None:
    """One lead in every pair of seeds, which differ far more than that among themselves."""
    theirs = tuple(right - 20 for right in STUDENT)
    found = {
        kind: compared(measured("student", *STUDENT), measured(kind, *theirs), PICTURES)
        for kind in ("control", "rival", "family")
    }
    for kind, difference in found.items():
        assert difference is not None
        assert difference.mean == pytest.approx(0.1)
        assert (difference.low > 0) == (kind == "control")


def test_a_student_has_a_share_of_its_teachers_parameters() -> None:
    rows = claims_of([measured("student", *STUDENT)], {"name": "main", "params": 8_000}, torch.arange(PICTURES) < 180)
    assert rows[0]["difference"] == "main - a student"
    assert rows[0]["params_ratio"] == 8.0
    assert rows[0]["points"] == pytest.approx(20.0)


def test_a_row_holds_the_spread_of_seeds_and_the_accuracy_on_validation() -> None:
    row = measured("student", *STUDENT).row()
    assert row["accuracy"] == pytest.approx(0.7)
    assert row["accuracy_sd"] == pytest.approx(0.1)
    assert row["validation_accuracy"] == pytest.approx(0.6)
    assert row["accuracy_high"] - row["accuracy"] == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
