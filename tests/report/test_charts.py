"""What the charts hold, against figures computed another way."""

from __future__ import annotations

import numpy as np
import pytest

from autostudent.records import TrialState
from autostudent.report import charts
from autostudent.report.tables import equal_size
from tests.report.synthetic import study


def test_the_front_line_falls_nowhere_and_holds_only_front_members() -> None:
    contents = study(200)
    for axis in contents.axes:
        line = charts.front_line(contents, axis)
        assert line["x"] == sorted(line["x"])
        assert line["y"] == sorted(line["y"])
        assert set(line["y"]) <= {row["accuracy"] for row in contents.front}


def test_every_finished_student_is_on_the_front_chart_once() -> None:
    contents = study(60)
    chart = charts.front_chart(contents, None)
    drawn = [number for trace in chart["traces"] for number in trace.get("customdata", ())]
    assert sorted(drawn) == [t.number for t in contents.trials if t.state is TrialState.COMPLETE]


def test_hypervolume_rises_to_one() -> None:
    chart = charts.volume_chart(study(300))
    assert chart is not None
    shares = chart["traces"][0]["y"]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(shares) <= charts.STEPS


def test_curves_of_the_front_end_at_the_last_rung() -> None:
    contents = study()
    lines = charts.curve_chart(contents)["traces"][1:]
    assert len(lines) == len(contents.front)
    assert all(line["x"] == [3, 9, 27] for line in lines)


def test_equal_size_removes_what_size_explains() -> None:
    trials = [t for t in study(400).trials if t.state is TrialState.COMPLETE]
    beyond = equal_size(trials)
    logs = np.log([t.costs["params"] for t in trials])
    assert abs(np.corrcoef(logs, beyond)[0, 1]) < 1e-6
    assert abs(beyond.mean()) < 1e-12


def test_outliers_do_not_squeeze_the_axis() -> None:
    assert charts.floor_of([0.1, *[0.95] * 20, 0.97], None) == pytest.approx(0.95, abs=0.01)
