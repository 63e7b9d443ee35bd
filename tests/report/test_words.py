"""Figures as people read them."""

import importlib
from types import SimpleNamespace

import pytest

from autostudent.distill.method import Paper
from autostudent.distill.methods import METHODS
from autostudent.records import Objective, TrialState
from autostudent.report.cite import citations, papers
from autostudent.report.tables import points
from autostudent.report.words import count, duration, effort, empty_front, percent, saving, size, taught_by, times


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (999.6, "1.00 k"), (12_345, "12.3 k"), (1_234_567, "1.23 M"), (None, "–")],
)
def test_count(number: float | None, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(("number", "text"), [(512, "512 B"), (393_216, "384 KiB"), (1024**2, "1.00 MiB"), (None, "–")])
def test_size(number: float | None, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.6, "42 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_percent_and_times() -> None:
    assert percent(0.981) == "98.1 %"
    assert percent(None) == "–"
    assert times(100, 50) == "2.0×"
    assert times(1_080_000, 50_100) == "22×"
    assert [times(1, n) for n in (2, 11, 30, 900)] == ["0.5×", "0.09×", "0.03×", "<0.01×"]


def test_a_student_larger_than_its_teacher_is_not_called_smaller() -> None:
    assert saving("params", 1_080_000, 50_100) == ("22×", "fewer parameters")
    assert saving("params", 20_000, 50_000) == ("2.5×", "as many parameters")
    assert saving("memory_bytes", 1024, 1024) == ("1.0×", "as much memory")


def test_taught_by() -> None:
    assert taught_by({"teachers": ["main", "ta1"]}) == "main, ta1"
    assert taught_by({"teachers": []}) == "–"
    assert taught_by({}) == "–"


def test_effort_is_told_as_shares() -> None:
    seconds = {"wall": 200.0, "workers": 400.0, "segments": 380.0, "training": 360.0, "driver": 30.0}
    assert effort(seconds) == (
        "Searching took 3 min 20 s; workers were busy 95 % of it and training 90 %, "
        "the driver used 15 % of one processor."
    )
    assert effort({}) == ""
    assert effort(seconds, segments=381.0).startswith("Searching took")
    assert effort(seconds, segments=500.0).startswith("Runs that were not cut off took 3 min 20 s")


def test_why_a_front_is_empty() -> None:
    objectives = [Objective("accuracy", "maximize", reference=0.19), Objective("params", "minimize", limit=5e4)]
    states = [TrialState.FAIL, TrialState.FAIL, TrialState.PRUNED]
    ended = [SimpleNamespace(state=state) for state in states]
    assert empty_front([], objectives) == "No student has finished its training yet."
    going = [*ended, SimpleNamespace(state=TrialState.PAUSED)]
    assert empty_front(going, objectives) == "No student has finished its training yet."
    assert empty_front(ended, objectives) == "No student was trained to the end; 2 of 3 failed."
    poor = [*ended, SimpleNamespace(state=TrialState.COMPLETE)]
    assert "none with all that counts: accuracy at least 19.0 %, parameters at most" in empty_front(poor, objectives)


def test_a_difference_that_rounds_to_nothing_has_no_minus() -> None:
    assert [points(value) for value in (-0.0004, 0.0004, -0.006, 0.012)] == ["+0.0", "+0.0", "−0.6", "+1.2"]


@pytest.mark.parametrize(
    ("label", "papers"),
    [
        ("takd", {"1902.03393", "1503.02531"}),
        ("takd(dkd)", {"1902.03393", "2203.08679"}),
        ("ctkd(ces_kd)", {"2211.16231", "2209.07606", "1503.02531"}),
        ("none", set()),
    ],
)
def test_a_label_cites_its_parts_and_the_loss_that_it_does_not_say(label: str, papers: set[str]) -> None:
    found = citations([label])

    assert len(found) == len(papers)
    assert all(any(f"arXiv {paper}" in text for text in found) for paper in papers)


def test_papers_found_when_the_study_began_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    known = papers(["takd", "ctkd(dkd)", "none"])
    assert known.keys() == {"takd", "kd", "ctkd", "dkd"}
    expected = citations(["takd", "dkd"])
    monkeypatch.setattr("autostudent.report.cite.papers", lambda labels: pytest.fail("looked up again"))
    assert citations(["takd", "dkd"], known) == expected
    assert citations(["takd", "none"], known) == citations(["takd"], known)


def test_a_method_missing_among_the_known_papers_is_looked_up() -> None:
    assert set(citations(["takd", "dkd"], {"takd": "old words"})) == {"old words", *citations(["kd", "dkd"])}


def test_a_method_from_a_plug_in_is_cited(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(METHODS["kd"]):  # type: ignore[misc]
        paper = Paper("My Loss", "Me", 2026)

    point = SimpleNamespace(name="my-loss", value="mine:Mine", load=lambda: Mine, dist=None)
    monkeypatch.setattr("autostudent.distill.methods.entry_points", lambda group: [point])
    assert papers(["ctkd(my-loss)"]).keys() == {"ctkd", "my-loss"}
    assert citations(["my-loss"]) == ["Me (2026). My Loss."]

    Mine.paper = "my paper"  # type: ignore[assignment]
    assert citations(["my-loss", "dkd"]) == citations(["dkd"])
    point.load = lambda: importlib.import_module("no_such_module")
    assert citations(["my-loss", "dkd"]) == citations(["dkd"])


def test_a_method_that_is_not_installed_cites_nothing() -> None:
    assert papers(["my-loss"]) == {"my-loss": ""}
    assert citations(["unknown"]) == []
    assert citations(["ctkd(my-loss)"]) == citations(["ctkd"])
    assert citations(["my-loss"], {"my-loss": "Mine (2026)."}) == ["Mine (2026)."]
