"""Fronts as data frames."""

from autostudent.report.frames import front_frame

ROW = {
    "nll": 0.1,
    "trial": 3,
    "accuracy": 0.9,
    "params": 1000,
    "macs": 5000,
    "memory_bytes": 4096,
    "method": "ces_kd",
    "teachers": ["main", "ta1"],
    "seconds": {"student": 2.5},
    "assets": {"weights": "a"},
    "candidate": {"config": {"top.p": 0.5}, "seed": 1, "edits": []},
    "failure": None,
}


def test_one_student_a_row_with_objectives_first() -> None:
    frame = front_frame([ROW, {**ROW, "trial": 4, "accuracy": 0.8}])
    assert list(frame.index) == [3, 4]
    assert list(frame.columns[:6]) == ["accuracy", "params", "macs", "memory_bytes", "method", "teachers"]
    assert frame.loc[3, "teachers"] == "main, ta1"
    assert frame.loc[4, "config.top.p"] == 0.5
    assert frame.loc[3, "seconds.student"] == 2.5
    assert "assets" not in frame.columns


def test_an_empty_front_has_the_columns() -> None:
    frame = front_frame([])
    assert len(frame) == 0
    assert "accuracy" in frame.columns


def test_a_failure_is_a_column_in_words() -> None:
    rows = [
        {"trial": 0, "accuracy": 0.9, "failure": None},
        {"trial": 1, "failure": {"cause": "timeout", "message": "took longer than 3 s"}},
    ]
    assert front_frame(rows)["failure"].tolist()[1] == "timeout: took longer than 3 s"
    assert "failure" not in front_frame(rows[:1]).columns
