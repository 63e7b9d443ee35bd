"""What people see: tables of any width, and commands that may be copied by anybody."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from autostudent.cli.options import as_given, located
from autostudent.cli.shown import front_table
from autostudent.records import Objective

OBJECTIVES = [Objective(name, "minimize") for name in ("params", "macs", "memory_bytes", "latency_ms")]
TEACHER = {"kind": "teacher", "accuracy": 0.99, "params": 1e6, "macs": 1e8, "memory_bytes": 4e6, "latency_ms": 9.1}
ROW = {"trial": 12, "accuracy": 0.981, "params": 80_000, "macs": 8e6, "memory_bytes": 320_000, "latency_ms": 1.234}
LONG = {"method": "ctkd(ces_kd(dkd))", "teachers": ["main", "assistant one", "assistant two"]}


@pytest.mark.parametrize("words", [{"method": "kd", "teachers": ["main"]}, LONG])
@pytest.mark.parametrize("objectives", [OBJECTIVES, OBJECTIVES[:3]])
@pytest.mark.parametrize("width", [56, 60, 79, 80, 96, 120])
def test_no_width_costs_a_figure_or_a_word(
    monkeypatch: pytest.MonkeyPatch, words: dict[str, object], objectives: list[Objective], width: int
) -> None:
    screen = Console(width=width, highlight=False, file=io.StringIO())
    monkeypatch.setattr("autostudent.cli.shown.out", screen)
    screen.print(front_table([{**ROW, **words}], {"main": TEACHER}, objectives))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    for figure in (
        "98.1 %",
        "80.0 k",
        "8.00 M",
        "312 KiB",
        "1.00 M",
        *(["1.23 ms", "9.1 ms"] if len(objectives) > 3 else []),
    ):
        assert figure in text
    letters = "".join(text.split())
    assert "teacher" in letters
    assert ("12×" in text) == (width >= 96 or (width >= 79 and len(objectives) == 3))


@pytest.mark.parametrize(
    "options",
    [
        ("postgresql://me:secret@host/db", []),
        (None, ["store=postgresql://me:secret@host/db"]),
        (None, ["search.warm_start=postgresql://host/db?user=me&password=secret"]),
    ],
)
def test_what_is_to_be_typed_again_holds_no_password(options: tuple[str | None, list[str]]) -> None:
    assert as_given(None, ["budget.trials=3"]) == ["--set", "budget.trials=3"]
    (*_, given) = as_given(*options)
    assert "secret" not in given
    assert "***" in given


def test_another_study_is_looked_for_in_the_store_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("study: one\n")
    own = located(file, None, None, [])
    other = located(file, None, "two", ["budget.trials=3"])
    assert own == located(file, None, "one", [])
    assert (own.study, own.options) == ("one", [])
    assert (other.url, other.study) == (own.url, "two")
    assert other.options == ["--set", "budget.trials=3", "--set", 'study="two"', "--store", own.url]
