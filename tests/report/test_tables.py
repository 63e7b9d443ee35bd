"""Figures in the page's tables, and which way they point."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autostudent.report.tables import claims_table, front_table, points, time_table
from autostudent.report.words import duration
from tests.report.synthetic import study


def test_a_student_below_its_teacher_has_a_minus() -> None:
    contents = study()
    teacher = contents.teacher()
    assert teacher is not None
    best = max(contents.front, key=lambda row: row["accuracy"])
    page = front_table(contents, None)
    assert points(best["accuracy"] - teacher.accuracy).startswith("−")
    assert f"<td>{points(best['accuracy'] - teacher.accuracy)}</td>" in page
    assert f"<td>{points(teacher.accuracy - best['accuracy'])}</td>" not in page


@pytest.mark.parametrize(
    ("verdict", "reading"),
    [("higher", "the first is better"), ("lower", "the second is better"), ("tie", "not told apart")],
)
def test_a_verdict_is_read_as_it_was_meant(verdict: str, reading: str) -> None:
    contents = study()
    page = claims_table(replace(contents, claims=[{**contents.claims[0], "verdict": verdict}]))
    assert f"<td>{reading}</td>" in page


def test_seconds_of_all_segments_are_added_up() -> None:
    contents = study()
    spent = sum(result.seconds["student"] for trial in contents.trials for result in trial.results)
    assert f">training students</th><td>{duration(spent)}</td>" in time_table(contents)
