"""From stored rows to references of the page."""

from __future__ import annotations

import json
from pathlib import Path

from autostudent.assets import Assets
from autostudent.report.contents import Contents, Reference
from autostudent.report.gather import DRAWN, commands, graphs, references_of, standing
from autostudent.store.choose import recommended
from tests.report.synthetic import small_graph

ROW = {
    "name": "student 7", "kind": "student", "how": "takd", "accuracy": 0.9, "accuracy_sd": 0.01, "seeds": 3,
    "validation_accuracy": 0.92, "validation_sd": 0.02, "ece": 0.05, "nll": 0.3, "agreement": 0.8,
}  # fmt: skip


def test_a_verified_row_is_shown_on_the_split_it_was_measured_on() -> None:
    test, validation = references_of("verified: student 7", ROW, {"student 7": {"params": 5_000, "state": "complete"}})

    assert (test.split, test.accuracy, test.sd) == ("test", 0.9, 0.01)
    assert test.figures == {"agreement": 0.8, "ece": 0.05, "nll": 0.3}
    assert test.params == 5_000
    assert (validation.split, validation.accuracy, validation.sd) == ("validation", 0.92, 0.02)
    assert validation.figures == {}


def test_each_student_is_followed_by_what_it_was_compared_with() -> None:
    kinds = {
        "logistic regression": "baseline",
        "student 12, no teacher": "control",
        "student 12": "student",
        "plain ResNet like student 3": "rival",
        "main": "teacher",
        "fresh graphs like student 12": "family",
        "student 3": "student",
    }
    rows = [Reference(name, kind, 0.9, "test") for name, kind in kinds.items()]
    assert [row.name for row in sorted(rows, key=standing)] == [
        "main",
        "student 3",
        "plain ResNet like student 3",
        "student 12",
        "student 12, no teacher",
        "fresh graphs like student 12",
        "logistic regression",
    ]


def test_a_row_without_accuracy_is_not_shown() -> None:
    assert references_of("verified: student 7", {**ROW, "accuracy": None}, {}) == []


def test_a_teacher_of_the_search_stands_on_validation() -> None:
    (teacher,) = references_of("main", {"kind": "teacher", "accuracy": 0.99, "params": 10**6, "macs": 10**8}, {})
    assert (teacher.name, teacher.kind, teacher.split, teacher.params) == ("main", "teacher", "validation", 10**6)


def test_students_are_compared_with_the_first_teacher_of_the_file() -> None:
    rows = [Reference(name, "teacher", 0.9, "validation") for name in ("main", "checkpoint")]
    contents = Contents(
        study={"teacher": "main"}, objectives=(), trials=(), front=(), references=sorted(rows, key=standing)
    )
    assert [row.name for row in contents.references] == ["checkpoint", "main"]
    teacher = contents.teacher()
    assert teacher is not None
    assert teacher.name == "main"
    assert contents.teacher("test") is None


def test_the_commands_repeat_what_was_verified() -> None:
    rows = {f"verified: student {n}": {"seeds": 3} for n in (4, 7)}
    rows["verified: student 4, no teacher"] = {"seeds": 3, "kind": "control"}
    assert commands(["my study.yaml"], [4, 7], rows)[1] == "autostudent verify 'my study.yaml' --trials 4,7 --seeds 3"
    diverged = {"verified: student 4": {"seeds": 2, "diverged": 1}}
    assert commands(["s.yaml"], [4], diverged)[1].endswith("--trials 4 --seeds 3 --alone")
    fresh = {"verified: fresh graphs like student 4": {"kind": "family", "seeds": 4, "diverged": 1}}
    assert commands(["s.yaml"], [4, 7], {**rows, **fresh})[1].endswith("--trials 4,7 --seeds 3 --family 5")
    assert (
        commands(["s.yaml", "--set", "study=other name"], [], {})[0]
        == "autostudent search s.yaml --set 'study=other name'"
    )


def test_of_a_long_front_the_recommended_students_graph_is_drawn_with_the_most_accurate(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    graph = assets.put(json.dumps(small_graph(0).to_json()).encode(), ".json")
    front = [
        {"trial": n, "accuracy": 0.9 + n / 10_000, "params": 1000 + n, "macs": 1, "memory_bytes": 1, "graph": graph}
        for n in range(DRAWN + 10)
    ]
    chosen = recommended(front, images=500)[0]["trial"]
    assert chosen < 10  # within a standard error of the best, and not among the most accurate
    assert list(graphs(front, assets, 500)) == [chosen, *range(DRAWN + 9, 10, -1)]
    assert graphs([], assets, 500) == {}
