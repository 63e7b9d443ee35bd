"""Picking one student: limits, ties, rules, and what an impossible wish is told."""

from __future__ import annotations

import pytest

from autostudent.errors import ConfigError
from autostudent.store.choose import best, recommended, shortlist

FRONT = [
    {"trial": n, "accuracy": accuracy, "params": params, "macs": 10 * params, "memory_bytes": memory}
    for n, accuracy, params, memory in [
        (0, 0.80, 1_000, 9_000),
        (1, 0.93, 2_000, 9_500),
        (2, 0.945, 8_000, 40_000),
        (3, 0.95, 32_000, 90_000),
    ]
]


def chosen(**options):
    return best(FRONT, **options)[0]["trial"]


def test_the_best_within_limits():
    assert chosen() == 3
    assert chosen(max_params=8_000) == 2
    assert chosen(max_params=7_999) == 1
    assert chosen(max_memory=9_000) == 0
    assert chosen(max_macs=20_000, min_accuracy=0.9) == 1
    assert best(FRONT)[1] == "the best accuracy of 4 students"
    assert best(FRONT, max_params=8_000)[1] == "the best accuracy of 3 students within the limits"


def test_equal_accuracy_takes_the_smaller():
    twins = [{**FRONT[3], "trial": 8, "params": 31_000}, FRONT[3]]
    assert best(twins)[0]["trial"] == 8
    sizes = [{**FRONT[1], "accuracy": accuracy, "trial": n} for n, accuracy in enumerate([0.93, 0.94])]
    assert best([*sizes, FRONT[3]], within=0.03)[0]["trial"] == 1  # and of equal size the better


def test_the_smallest_within_a_tolerance():
    assert chosen(within=0.0) == 3
    assert chosen(within=0.006) == 2
    row, reason = best(FRONT, within=0.02)
    assert row["trial"] == 1
    assert "within 0.0200 of the best (0.9500, student 3 with 32,000 parameters)" in reason
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match=r"within: got .* at least 0"):
            chosen(within=wrong)


def test_the_smallest_within_one_standard_error():
    assert chosen(rule="smallest_within_1se", images=100) == 1  # sqrt(.95 * .05 / 100) = .0218
    assert chosen(rule="smallest_within_1se", images=10_000) == 3  # .0022
    measured = [{**row, "accuracy_se": 0.006} for row in FRONT]
    assert best(measured, rule="smallest_within_1se")[0]["trial"] == 2
    assert best(measured, rule="smallest_within_1se", images=10_000)[0]["trial"] == 2  # as measured, not binomial
    assert recommended(measured)[0]["trial"] == 2
    assert chosen(rule="smallest_within_1se", within=0.02, images=10_000) == 1  # what is asked for goes first
    with pytest.raises(ConfigError, match="standard error is not known"):
        chosen(rule="smallest_within_1se")


def test_the_knee_is_where_accuracy_begins_to_cost():
    assert chosen(rule="knee") == 1
    assert best(FRONT[:1], rule="knee")[0]["trial"] == 0
    row, reason = best([FRONT[0], FRONT[2]], rule="knee")
    assert row["trial"] == 2
    assert reason.endswith("so no knee")
    assert best([FRONT[3], {**FRONT[0], "accuracy": 0.95}], rule="knee")[0]["accuracy"] == 0.95


def test_a_limit_on_latency_is_for_studies_that_measured_it():
    timed = [{**row, "latency_ms": 0.1 * (1 + row["trial"])} for row in FRONT]
    assert best(timed, max_latency=0.25)[0]["trial"] == 1
    with pytest.raises(ConfigError, match=r"the nearest is student 0 with 0\.1 ms"):
        best(timed, max_latency=0.01)
    with pytest.raises(ConfigError, match="latency is not among the study's objectives"):
        best(FRONT, max_latency=1.0)


def test_an_impossible_limit_names_the_nearest():
    with pytest.raises(ConfigError) as error:
        chosen(max_params=900)
    assert str(error.value) == (
        "max_params: got 900; expected limits that a student of the front respects; "
        "the nearest is student 0 with 1,000 parameters"
    )
    with pytest.raises(ConfigError, match=r"student 2 with 8,000 parameters, accuracy 0.9450"):
        chosen(max_params=7_900, min_accuracy=0.949)
    with pytest.raises(ConfigError, match="empty front"):
        best([])
    with pytest.raises(ConfigError, match="one of: accuracy, knee"):
        chosen(rule="largest")


def test_the_recommended_one_is_the_smallest_as_good_as_the_best():
    assert recommended(FRONT, images=100) == best(FRONT, rule="smallest_within_1se", images=100)
    assert recommended(FRONT)[0]["trial"] == 3  # no standard error is known: the best


def test_a_shortlist_has_the_smallest_as_good_the_best_and_one_between():
    wide = [*FRONT, {**FRONT[3], "trial": 4, "params": 100_000, "accuracy": 0.951}]
    assert [row["trial"] for row, _ in shortlist(wide, 3, images=1_000)] == [2, 4, 1]  # the knee is the front's
    assert [row["trial"] for row, _ in shortlist(wide, 2, images=1_000)] == [2, 4]
    assert [row["trial"] for row, _ in shortlist(wide, 1, images=1_000)] == [2]
    assert [row["trial"] for row, _ in shortlist(wide, 3, images=100)] == [1, 4, 2]  # the knee is taken: one between
    assert [row["trial"] for row, _ in shortlist(FRONT[:1], 3, images=100)] == [0]
    reasons = [reason for _, reason in shortlist(wide, 3, images=1_000)]
    assert "within" in reasons[0]
    assert reasons[1].startswith("the best accuracy")
    assert "knee" in reasons[2]


def test_percentages_that_are_no_fractions_of_pictures_still_match():
    rows = [{**FRONT[0], "accuracy": 566 / 1000}]
    assert best(rows, min_accuracy=56.6 / 100)[0]["trial"] == 0
    pair = [{**FRONT[0], "accuracy": 2478 / 5000}, {**FRONT[1], "accuracy": 2503 / 5000}]
    assert best(pair, within=0.5 / 100)[0]["trial"] == 0
    with pytest.raises(ConfigError, match="the nearest is student 0"):
        best(rows, min_accuracy=0.5661)


def test_the_knee_of_equals_is_the_smallest_and_its_reason_holds_figures():
    equals = [{**FRONT[1], "trial": 2}, {**FRONT[1], "trial": 3, "params": 100}]
    assert best(equals, rule="knee")[0]["trial"] == 3
    row, reason = best(FRONT, rule="knee")
    assert row["trial"] == 1
    assert "the smallest (student 0, -0.1300) to the best (student 3, +0.0200)" in reason
