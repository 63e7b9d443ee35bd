"""Does a larger teacher teach worse, and does an assistant help? Shown or refuted on one student.

    python benchmarks/capacity_gap.py --npz FASHION.npz [--data fashion|digits] [--seeds 5] [--epochs 12] \
        [--teachers 8x9,8x16,14x16,14x24] [--workers 2] [--results FOLDER] [--report]

An 11k-parameter student under four sizes of teacher: directly (kd), and by what is meant against the gap: takd, dgkd,
an ensemble of assistants, ces_kd with and without its curriculum, eskd. Seed s uses teacher s mod ``--teacher-seeds``.
Settings are the methods' defaults, the same under every teacher. It goes on where it was stopped and writes
capacity_gap.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import environment
from trainings import (
    Data,
    Line,
    Plan,
    Task,
    arguments,
    by_row,
    carry_out,
    course_of,
    data_of,
    dunnett,
    latest,
    read,
    spread,
    table,
    values,
)

from autostudent.space.cost import costs
from autostudent.space.resnet import resnet

STUDENT = 11_000
ROWS: dict[str, dict[str, Any]] = {
    "kd": {"kd.loss": "kd"},
    "takd": {"kd.loss": "kd", "teach.scheme": "ladder", "teach.rung": 2},
    "dgkd": {"kd.loss": "dgkd", "dgkd.weight": 0.9},
    "ta_ensemble": {"kd.loss": "kd", "teach.scheme": "ensemble"},
    "ces_kd": {"kd.loss": "kd", "teach.scheme": "experts"},
    "ces_kd (no curriculum)": {"kd.loss": "kd", "teach.scheme": "experts", "ces_kd.start": 1.0},
    "eskd": {"kd.loss": "kd", "kd.stop": 0.6},
}
ALONE = "none"


def plan_of(data: Data, teachers: Sequence[str], seeds: int, epochs: int, teacher_epochs: int, artifacts: str) -> Plan:
    """A course for every size of teacher and every seed of its training."""
    courses = {}
    for size in teachers:
        depth, width = (int(part) for part in size.split("x"))
        for number in range(seeds):
            main = {
                "resnet": {"depth": depth, "width": width, "stem_stride": data.stem_stride},
                "epochs": teacher_epochs,
                "batch_size": data.batch_size,
                "seed": number,
            }
            courses[f"ladder/{size}-{number}"] = course_of(data, {"main": main}, epochs, artifacts, STUDENT, 2)
    return Plan(data, courses, artifacts)


def tasks_of(teachers: Sequence[str], teacher_seeds: int, seeds: int, epochs: int) -> list[Task]:
    """Every row under every teacher, and the student without one."""
    found = []
    for seed in range(seeds):
        number = seed % teacher_seeds
        first = f"ladder/{teachers[0]}-{number}"
        found.append(Task(ALONE, ALONE, 0, {"kd.loss": "none"}, STUDENT, seed, epochs, first))
        for size in teachers:
            course = f"ladder/{size}-{number}"
            found += [Task(size, row, 0, recipe, STUDENT, seed, epochs, course) for row, recipe in ROWS.items()]
    return found


def params_of(size: str, line: Line, data: Data) -> str:
    """A teacher's parameters, and how many times the student's that is."""
    depth, width = (int(part) for part in size.split("x"))
    params = costs(resnet(depth, width, data.shape, stem_stride=data.stem_stride)).params
    return f"{params:,} ({params / line['costs']['params']:.0f}×)"


def report(lines: Sequence[Line], teachers: Sequence[str], data: Data, folder: Path) -> Path:
    """capacity_gap.md: accuracy by teacher and row, each teacher's rows against kd, all against the student alone."""
    stages = {stage: [line for line in lines if line["stage"] == stage] for stage in (ALONE, *teachers)}
    alone = values(stages[ALONE])
    sizes = {size: by_row(stages[size]) for size in teachers}
    head = ["", *(f"{size}: {params_of(size, lines[0], data)}" for size in teachers)]
    accuracy = [[row, *(spread(values(sizes[size][row]), 100) for size in teachers)] for row in ROWS]
    accuracy.append([ALONE, *[spread(alone, 100)] * len(teachers)])
    against = []
    gaps = {size: dunnett({row: values(found) for row, found in sizes[size].items()}, "kd") for size in teachers}
    for row in ROWS:
        if row != "kd":
            against.append([row, *(gaps[size].get(row, "–") for size in teachers)])
    direct = {f"kd, {size}": values(sizes[size]["kd"]) for size in teachers}
    smallest = f"kd, {teachers[0]}"
    larger = dunnett(direct, smallest)
    help_ = dunnett({**direct, ALONE: alone}, ALONE)
    text = [
        "# Capacity gap",
        environment(),
        f"{data.name}: a student of {lines[0]['costs']['params']:,.0f} parameters, mean ± standard deviation of test "
        f"accuracy in % over {len(alone)} seeds. Differences in points with Dunnett's simultaneous 95 % intervals.",
        "## Accuracy by teacher",
        table(head, accuracy),
        "## Against kd from the same teacher",
        table(["", *teachers], against),
        "## Does a larger teacher teach worse?",
        table(
            ["plain kd from", "against the smallest teacher", "against no teacher"],
            [[size, larger.get(f"kd, {size}", "–"), help_.get(f"kd, {size}", "–")] for size in teachers],
        ),
        verdict(larger, gaps, teachers),
    ]
    target = folder / "capacity_gap.md"
    target.write_text("\n\n".join(text) + "\n")
    return target


def verdict(larger: dict[str, str], gaps: dict[str, dict[str, str]], teachers: Sequence[str]) -> str:
    """What the intervals say, in a sentence each."""
    worse = [name for name, text in larger.items() if text.endswith("worse")]
    gap = f"shown under {', '.join(worse)}" if worse else "not shown: no larger teacher is worse beyond its interval"
    helped = [f"{row} under {size}" for size in teachers for row, text in gaps[size].items() if text.endswith("better")]
    better = ", ".join(helped) or "none beyond its interval"
    return f"The capacity gap is {gap}. Rows better than kd from the same teacher: {better}."


def main() -> None:
    parser = arguments(__doc__, teacher_epochs=15)
    parser.add_argument("--teachers", default="8x9,8x16,14x16,14x24", help="DEPTHxWIDTH, by rising size")
    parser.add_argument("--teacher-seeds", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="only write capacity_gap.md from what there is")
    given = parser.parse_args()
    data, teachers = data_of(given.data, given.npz, given.limit, given.device), given.teachers.split(",")
    path = given.results / f"capacity_gap-{data.name}.jsonl"
    plan = plan_of(data, teachers, given.teacher_seeds, given.epochs, given.teacher_epochs, given.artifacts)
    if given.report:
        lines = latest(read(path))
    else:
        lines = carry_out(plan, tasks_of(teachers, given.teacher_seeds, given.seeds, given.epochs), path, given.workers)
    print(f"Wrote {report(lines, teachers, data, given.results)}")


if __name__ == "__main__":
    main()
