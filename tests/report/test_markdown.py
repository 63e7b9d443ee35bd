"""The report as Markdown: what it says, and that user text stays text."""

from __future__ import annotations

from autostudent.report.markdown import render, safe
from tests.report.synthetic import study


def test_verdict_front_proof_and_failures_are_there() -> None:
    contents = study()
    text = render(contents)

    assert text.splitlines()[0] == "# digits: students found by autostudent"
    for row in contents.front:
        assert f"\n| {row['trial']} | {100 * row['accuracy']:.1f} % |" in text
    for title in (
        "## The front",
        "## Proof on the test split",
        "## What wins",
        "## What failed",
        "## How to reproduce",
    ):
        assert title in text
    assert "autostudent search studies/digits.yaml" in text


def test_every_table_has_one_width() -> None:
    for block in render(study(hostile="a|b\n<b>c</b>")).split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        widths = {line.replace("\\|", "").count("|") for line in lines}
        assert len(widths) <= 1


def test_user_text_is_text() -> None:
    assert safe("<script>*x*\n|") == "&lt;script&gt;\\*x\\* \\|"
    assert "<script>" not in render(study(hostile="<script>alert(1)</script>"))
