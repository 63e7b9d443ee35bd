"""Three columns of cost: a student's own seconds, those of what trained beside it, those that are shared."""

from autostudent.report.ledger import ledger
from autostudent.settings import rests_on

SHARED = {
    "main": {"seconds": 60.0, "taught_by": []},
    "ta1": {"seconds": 30.0, "taught_by": ["main"]},
    "ta2": {"seconds": 10.0, "taught_by": ["ta1"]},
}
ROWS = [
    {"trial": 0, "method": "kd", "teachers": ["main"], "seconds": {"student": 5.0, "private": 0.0, "rung": 9.0}},
    {"trial": 1, "method": "takd", "teachers": ["ta2"], "seconds": {"student": 4.0}},
    {"trial": 2, "method": "dml", "teachers": [], "seconds": {"student": 5.0, "private": 6.0}},
]


def test_a_teacher_counts_with_those_that_taught_it():
    assert rests_on(["ta2"], SHARED) == ["ta2", "ta1", "main"]
    assert rests_on(["gone"], SHARED) == []


def test_shared_seconds_are_divided_among_their_users():
    found = ledger(ROWS, SHARED)

    assert found["students"] == [
        {"trial": 0, "method": "kd", "student": 5.0, "private": 0.0, "shared": 60.0, "share": 30.0},
        {"trial": 1, "method": "takd", "student": 4.0, "private": 0.0, "shared": 100.0, "share": 70.0},
        {"trial": 2, "method": "dml", "student": 5.0, "private": 6.0, "shared": 0.0, "share": 0.0},
    ]
    assert {row["name"]: row["users"] for row in found["teachers"]} == {"main": 2, "ta1": 1, "ta2": 1}
    assert sum(row["share"] for row in found["students"]) == sum(row["seconds"] for row in found["teachers"])
