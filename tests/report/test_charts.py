"""What the charts hold, against figures computed another way."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats

from autostudent.records import TrialState
from autostudent.report import charts
from autostudent.report.effects import by_method, equal_size, explained, levels_of, searched
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


def test_hypervolume_counts_no_student_that_may_not_be_on_the_front() -> None:
    whole = study(60)
    complete = [t for t in whole.trials if t.state is TrialState.COMPLETE]
    late = sorted(complete, key=lambda t: t.results[-1].order)[len(complete) // 2 :]
    limit = min(t.costs["params"] for t in late)
    tight = tuple(replace(o, limit=limit) if o.name == "params" else o for o in whole.objectives)
    within = [t.costs["params"] <= limit for t in sorted(complete, key=lambda t: t.results[-1].order)]
    chart = charts.volume_chart(replace(whole, objectives=tight))
    assert chart is not None
    shares = [0.0, *chart["traces"][0]["y"]]
    assert all(within[n] for n, (before, after) in enumerate(pairwise(shares)) if after > before)
    none = tuple(replace(o, limit=1.0) if o.name == "params" else o for o in whole.objectives)
    assert charts.volume_chart(replace(whole, objectives=none)) is None


def test_hypervolume_over_time_counts_what_all_students_took() -> None:
    contents = study(60)
    chart = charts.volume_chart(contents)
    assert chart is not None
    xs = chart["traces"][0]["xs"]
    assert len(xs["hours"]) == len(xs["students"])
    assert xs["hours"] == sorted(xs["hours"])
    last = max(t.results[-1].order for t in contents.trials if t.state is TrialState.COMPLETE)
    paid = sum(sum(r.seconds.values()) for t in contents.trials for r in t.results if r.order <= last)
    assert xs["hours"][-1] == pytest.approx(paid / 3600)


def test_the_method_that_was_made_better_wins_and_its_interval_holds_the_gain() -> None:
    asked = by_method(study(2000))
    assert asked is not None
    found = {effect.level: effect for effect in asked.levels}
    assert [effect.level for effect in asked.levels] == ["takd", "kd", "ces_kd", "none"]
    for better, worse, gain in (("takd", "none", 1.0), ("kd", "ces_kd", 0.2)):
        between = found[better].points - found[worse].points
        assert found[better].half is not None
        assert found[worse].half is not None
        assert between == pytest.approx(gain, abs=1.5 * (found[better].half + found[worse].half))
    assert 0.3 < asked.share < 0.7  # the gains' variance over theirs and the noise's


def test_the_interval_of_an_effect_is_students_t() -> None:
    contents = study(60)
    asked = by_method(contents)
    assert asked is not None
    complete = [t for t in contents.trials if t.state is TrialState.COMPLETE]
    beyond = 100 * equal_size(complete)
    for effect in asked.levels:
        mine = [beyond[n] for n, t in enumerate(complete) if contents.method(t) == effect.level]
        assert effect.students == len(mine)
        low, high = scipy.stats.t.interval(0.95, len(mine) - 1, np.mean(mine), scipy.stats.sem(mine))
        assert effect.half == pytest.approx((high - low) / 2)


def test_the_share_explained_is_less_what_chance_gives() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0])
    assert explained(values, [[0, 1], [2, 3]], values) == pytest.approx(1 - (1 / 2) / (5 / 3))
    assert explained(values, [[0, 3], [1, 2]], values) == 0.0


def test_a_variable_without_effect_explains_nothing() -> None:
    asked = {question.name: question for question in searched(study(2000))}
    assert asked["noise"].share < 0.01
    assert asked["kd.loss"].share > 0.2
    assert "params.target" not in asked
    assert "top.nodes" not in asked  # one value only


def test_numbers_with_many_values_are_cut_into_ranges_that_hold_as_many_each() -> None:
    levels = levels_of({n: float(n) for n in range(90)})
    assert sorted(levels.values()).count(levels[0]) == 30
    assert len(set(levels.values())) == 3
    assert levels_of({0: 2, 1: 4, 2: 2}) == {0: "2", 1: "4", 2: "2"}


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


def test_too_few_sizes_are_not_called_equal() -> None:
    whole = study(60)
    few, many = by_method(replace(whole, trials=whole.trials[:5])), by_method(whole)
    assert few is not None
    assert many is not None
    assert (few.heading, many.heading) == ("Beyond the mean, points", "At equal size, points")
    assert "too few different sizes" in few.note
    assert "At equal size" in many.note


def test_ranges_that_differ_are_called_differently() -> None:
    close = levels_of({n: 1000.0 + n / 100 for n in range(30)})
    assert sorted(set(close.values())) == ["1000 to 1000.1", "1000.1 to 1000.2", "1000.2 to 1000.3"]
