"""What people see while a search runs."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from autostudent.cli.shown import proof_table
from autostudent.cli.view import Lines, LiveView, Pace, expectation, view
from autostudent.config import load_settings
from autostudent.driver import Event
from autostudent.records import Candidate, Result, Trial, TrialState
from autostudent.settings import StudySettings

DIGITS = Path(__file__).parents[2] / "studies/digits.yaml"


@pytest.fixture
def settings(tmp_path: Path) -> StudySettings:
    return load_settings(DIGITS, store=f"sqlite:///{tmp_path}/study.db")


def trial(number: int, epoch: int) -> Trial:
    return Trial(number, Candidate({}, number), "f", TrialState.PAUSED, results=(Result(epoch, {"accuracy": 0.5}),))


def test_time_left_follows_the_epochs_trained_in_this_run() -> None:
    pace = Pace(100.0, {0: 20})
    pace.add(Event("proposed", "student 1", trial(0, 20)), 0.0)
    assert pace.left(10.0) == ""
    pace.add(Event("segment", "student 1", trial(1, 20)), 40.0)
    assert pace.left(40.0) == "about 2 min 00 s left"
    pace.add(Event("segment", "student 1", trial(1, 80)), 160.0)
    assert pace.left(160.0) == ""


def test_what_comes_back_first_says_nothing_of_the_time_left() -> None:
    """Where a study is resumed, segments that were out come back without having been proposed."""
    pace = Pace(100.0, {})
    pace.add(Event("segment", "student 0", trial(0, 20)), 5.0)
    assert pace.left(5.0) == ""
    pace.add(Event("segment", "student 1", trial(1, 20)), 25.0)
    assert pace.left(25.0) == "about 1 min 00 s left"


def test_a_new_study_expects_a_third_to_go_on(settings: StudySettings) -> None:
    epochs, before = expectation(settings)
    assert before == {}
    assert 24 * 3 < epochs < 24 * 27


def test_plain_lines_where_there_is_no_terminal(settings: StudySettings) -> None:
    file = StringIO()
    with view(Console(file=file), settings) as shown:
        assert isinstance(shown, Lines)
        shown(Event("prepare", "training main"))
        shown(Event("proposed", "student 0: kd", trial(0, 0), 0, 24))
        shown(Event("segment", "student 0: kd, epoch 3", trial(0, 3), 2, 24))
        shown(Event("segment", "student 0: kd, epoch 9", trial(0, 9), 1, 24))
    lines = file.getvalue().splitlines()
    assert lines[0] == "training main"
    assert lines[1].startswith("[2/24] student 0: kd, epoch 3")
    assert lines[2].startswith("[2/24] student 0: kd, epoch 9")
    assert len(lines) == 3


def test_a_live_view_in_a_terminal(settings: StudySettings) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100, highlight=False)
    with view(console, settings) as shown:
        assert isinstance(shown, LiveView)
        shown(Event("segment", "student 4", trial(4, 3), 5, 24))  # looks at a store that is not there
        shown(Event("failed", "student 3: [diverged]: nan", replace(trial(3, 0), state=TrialState.FAIL), 5, 24))
        console.print(shown.render())
    text = console.file.getvalue()
    assert "5/24" in text
    assert "student 3: [diverged]: nan (1 failed)" in text


ROW = {"kind": "control", "how": "labels only", "accuracy": 0.9791, "accuracy_sd": 0.0041, "seeds": 3, "params": 9_230}
FIGURES = {"agreement": 0.974, "ece": 0.0161, "nll": 0.0664, "latency_ms": 0.448}


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_of_proof_drops_nothing(width: int) -> None:
    row = {**ROW, **FIGURES, "name": "student 15, no teacher, twice the epochs", "diverged": 1}
    shown = Console(file=StringIO(), width=width)
    shown.print(
        proof_table([row, {"name": "logistic regression", "kind": "baseline", "seeds": 1, "accuracy": 0.95}], width)
    )
    text = shown.file.getvalue()

    words = {word.strip(",") for line in text.splitlines() for word in line.split()}
    for part in (row["name"], row["kind"], row["how"], "1 diverged", "logistic regression"):
        assert {word.strip(",") for word in str(part).split()} <= words
    for figure in ("97.9 ± 0.4 %", "3", "9.23 k", "97.4 %", "0.016", "0.066", "0.448", "95.0 %", "–"):
        assert figure in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
