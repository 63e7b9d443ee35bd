"""The comparison of methods: what is trained, what the tables say of it, and a run at toy size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def methods() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import methods as module
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture(scope="module")
def trainings(methods: ModuleType) -> ModuleType:
    return sys.modules["trainings"]


def line(row: str, seed: int, accuracy: float, stage: str = "small", **more: object) -> dict:
    measured = {"accuracy": accuracy, "ece": 0.05, "nll": 0.4}
    spent = {"student": 10.0, "private": 5.0 if row == "dml" else 0.0}
    shared = {} if row in ("none", "dml") else {"k1": 60.0}
    plain = {"about": "a", "stage": stage, "row": row, "seed": seed, "epochs": 12, "recipe": {"kd.loss": row}}
    return {**plain, "validation": measured, "test": measured, "seconds": spent, "shared": shared, **more}


def some() -> list[dict]:
    means = {"none": 0.876, "kd": 0.886, "dml": 0.877, "amal": 0.85}
    return [line(row, seed, mean + 0.001 * (seed - 2)) for row, mean in means.items() for seed in range(5)]


def test_rows_are_recipes_that_a_course_can_teach(methods: ModuleType, tmp_path: Path) -> None:
    from autostudent.distill.methods import METHODS
    from autostudent.distill.recipe import layers, method_id, read_recipe

    data = methods.data_of("digits", None, None)
    plan = methods.plan_of(data, 12, str(tmp_path), "14x16", 18)
    found = set()
    for row, settings in methods.ROWS.items():
        assert len(settings) == 3, row
        for number in range(3):
            task = methods.task("small", row, number, 4, 12)
            recipe = read_recipe(task.recipe, plan.courses[task.course].roster)
            found |= {method_id(method) for method in layers(recipe.method)}
    assert found == set(METHODS)
    assert methods.task("small", "self_kd", 0, 4, 12).epochs == 24
    assert methods.task("equal", "self_kd", 0, 4, 12, cut=12).epochs == 12
    assert methods.task("small", "kd", 0, 5, 12).course == "ladder/2"
    assert methods.task("small", "aver", 0, 3, 12).course == "equal/0"


def test_courses_of_three_equal_teachers_find_those_of_the_ladders_again(methods: ModuleType, tmp_path: Path) -> None:
    plan = methods.plan_of(methods.data_of("digits", None, None), 12, str(tmp_path), "14x16", 18)
    mains = [plan.courses[f"ladder/{n}"].teachers["main"] for n in range(3)]

    for n in range(3):
        assert sorted(plan.courses[f"equal/{n}"].teachers.values(), key=str) == sorted(mains, key=str)


def test_differences_within_the_intervals_are_ties(trainings: ModuleType) -> None:
    rows = {row: trainings.values(lines) for row, lines in trainings.by_row(some()).items()}
    found = trainings.dunnett(rows, "none")

    assert {row: text.split(", ")[-1] for row, text in found.items()} == {"kd": "better", "dml": "tie", "amal": "worse"}
    assert found["kd"].startswith("+1.0 (+0.")
    assert trainings.dunnett({"none": [0.5], "kd": [0.6, 0.7]}, "none") == {}


def test_the_table_has_quality_intervals_and_three_columns_of_cost(trainings: ModuleType) -> None:
    text = trainings.compared(some(), some(), ("none", "kd"))
    kd = next(row for row in text.splitlines() if row.startswith("| kd "))

    assert text.splitlines()[2].startswith("| kd | 12 | 88.6 ± 0.2 | 5.0 ± 0.0 | 0.400 ± 0.000 |")
    assert kd.endswith("| – | 10.0 | 0.0 | 60 (6.0) |")  # ten trainings share one teacher
    assert "against none, points (95 %)" in text


def test_a_report_names_what_is_far_below_the_control(methods: ModuleType, tmp_path: Path) -> None:
    equal = [line("dml", seed, 0.87, stage="equal", epochs=8) for seed in range(5)]
    old = line("kd", 0, 0.1, about="another plan")
    lines = [old, *some(), *equal]
    (tmp_path / "methods-digits.jsonl").write_text("\n".join(json.dumps(one) for one in lines) + '\n{"cut off')
    (tmp_path / "methods_notes.md").write_text("Why amal is low.")
    text = methods.write_report(tmp_path).read_text()

    assert "More than one point below `none`: amal." in text
    assert "equal student + private compute" in text
    assert "| dml | 8 | 87.0 ± 0.0 |" in text
    assert text.rstrip().endswith("Why amal is low.")
    assert "10.0" not in text.split("| kd |")[1].split("|")[1]


@pytest.mark.slow
def test_a_toy_comparison_runs_and_goes_on(tmp_path: Path) -> None:
    toy = ["--data", "digits", "--limit", "200", "--epochs", "1", "--teacher", "8x4", "--teacher-epochs", "1"]
    command = [sys.executable, str(BENCHMARKS / "methods.py"), "--stage", "tune", "--methods", "kd", "--workers", "1"]
    command += [*toy, "--seeds", "2", "--results", str(tmp_path), "--artifacts", str(tmp_path / "assets")]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [json.loads(text) for text in (tmp_path / "methods-digits.jsonl").read_text().splitlines()]

    assert "6/6 tune" in first
    assert "tune" not in again
    assert [entry["row"] for entry in lines].count("kd") == 3
    assert all(entry["shared"] for entry in lines if entry["row"] == "kd")
