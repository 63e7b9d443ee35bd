"""Every distillation method on one student, side by side with controls that have no teacher.

    python benchmarks/methods.py --stage all --npz FASHION.npz [--data fashion|digits] [--seeds 5] [--epochs 12] \
        [--methods kd,dkd] [--workers 2] [--teacher 8x16] [--results FOLDER]

Stages, each of which goes on where it was stopped:

tune    three settings a row on one seed that no table shows, half the epochs; the best on validation goes on
small   an 11k-parameter student, every row, ``--seeds`` seeds; seed s has teacher s mod 3
equal   rows with private cost again, their epochs cut until student + private seconds equal the student's alone
large   a 50k-parameter student: none, kd, dkd, takd and the two best rows of "small" on validation
final   none, kd and the three best rows of "small" on validation, on 8 fresh seeds
report  writes methods.md from what there is; text in methods_notes.md goes below the tables

Accuracy, calibration error and log-loss are those of the test split, which no choice looks at. Teachers are trained
once; every row has the same number of tuned settings. About 100 CPU-minutes with Fashion-MNIST, a third of them for
teachers and for rows with private cost.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import environment
from trainings import (
    TEACHERS,
    Data,
    Line,
    Plan,
    Task,
    arguments,
    by_row,
    carry_out,
    compared,
    course_of,
    data_of,
    latest,
    read,
    spread,
    table,
    values,
)

Recipe = Mapping[str, Any]
SMALL, LARGE = 11_000, 50_000
TUNING_SEED, FRESH_SEED, FRESH = 100, 1000, 8
PRIVATE = 0.1  # share of the student's seconds from which a row counts as having private cost
BATCH = {"fashion": [64, 256], "digits": [16, 64]}  # of the teachers among which a sweet spot is looked for


def kd(**more: Any) -> dict[str, Any]:
    """Plain distillation with further answers."""
    return {"kd.loss": "kd", **{name.replace("__", "."): value for name, value in more.items()}}


def three(base: Recipe, *changes: Recipe) -> list[dict[str, Any]]:
    """The default setting and two more."""
    return [{**base, **change} for change in ({}, *changes)]


HEATS = ({"kd.temperature": 2.0, "kd.weight": 0.7}, {"kd.temperature": 8.0})
ROWS: dict[str, list[dict[str, Any]]] = {
    "none": three({"kd.loss": "none"}, {"optim.lr": 0.05}, {"optim.lr": 0.2}),
    "none (twice the epochs)": three({"kd.loss": "none"}, {"optim.lr": 0.05}, {"optim.lr": 0.2}),
    "label smoothing": three(
        {"kd.loss": "none", "optim.smoothing": 0.1}, {"optim.smoothing": 0.05}, {"optim.smoothing": 0.2}
    ),
    "kd": three(kd(), *HEATS),
    "dkd": three({"kd.loss": "dkd"}, {"dkd.beta": 2.0}, {"dkd.temperature": 2.0}),
    "nkd": three({"kd.loss": "nkd"}, {"nkd.gamma": 1.5, "nkd.temperature": 1.0}, {"nkd.gamma": 1.5}),
    "tf_nkd": three({"kd.loss": "tf_nkd"}, {"tf_nkd.weight": 0.3}, {"tf_nkd.weight": 2.0}),
    "dist": three({"kd.loss": "dist"}, {"dist.temperature": 1.0}, {"dist.weight": 1.0}),
    "ctkd": three(kd(kd__curriculum="ctkd"), {"ctkd.span": 10.0}, {"ctkd.force": 2.0}),
    "continuation_kd": three(
        {"kd.loss": "continuation_kd", "continuation_kd.steps": 10},
        {"continuation_kd.margin": 0.01},
        {"continuation_kd.ramp": 1.0},
    ),
    "annealing_kd": three(
        {
            "kd.loss": "continuation_kd",
            "continuation_kd.steps": 10,
            "continuation_kd.margin": 0.0,
            "continuation_kd.labels": "step",
        },
        {"continuation_kd.ramp": 0.5},
        {"continuation_kd.ramp": 0.9},
    ),
    "bd_kd": three({"kd.loss": "bd_kd"}, {"bd_kd.temperature": 3.0}, {"bd_kd.direction": "reverse_when_sure"}),
    "dml": three({"kd.loss": "dml"}, {"dml.order": "joint"}, {"dml.temperature": 3.0}),
    "sokd": three({"kd.loss": "sokd"}, {"sokd.temperature": 2.0}, {"sokd.bridge_lr": 0.3}),
    "amal": three({"kd.loss": "amal"}, {"amal.meta_lr": 150.0}, {"amal.teacher_weight": 0.5}),
    "self_kd": three({"kd.loss": "self_kd"}, {"self_kd.temperature": 1.0}, {"self_kd.weight": 0.5}),
    "takd": three(kd(teach__scheme="ladder"), {"teach.rung": 2}, {"kd.temperature": 8.0}),
    "dgkd": three({"kd.loss": "dgkd", "dgkd.weight": 0.9}, {"dgkd.weight": 1.0}, {"dgkd.drop": 0}),
    "ta_ensemble": three(
        kd(teach__scheme="ensemble"), {"ta_ensemble.score": "nll"}, {"kd.temperature": 2.0, "kd.weight": 0.7}
    ),
    "ces_kd": three(kd(teach__scheme="experts"), {"ces_kd.score": "ladder_agreement"}, {"ces_kd.locked": "ce_only"}),
    "ces_kd (no curriculum)": three(
        kd(teach__scheme="experts", ces_kd__start=1.0),
        {"ces_kd.score": "ladder_agreement"},
        {"kd.temperature": 2.0, "kd.weight": 0.7},
    ),
    "ca_mkd": three({"kd.loss": "ca_mkd"}, {"ca_mkd.weight": 3.0}, {"ca_mkd.temperature": 2.0}),
    "ca_mkd (maps)": three(
        {"kd.loss": "ca_mkd", "ca_mkd.feature": 50.0}, {"ca_mkd.feature": 10.0}, {"ca_mkd.weight": 3.0}
    ),
    "aver": three(
        {"kd.loss": "ca_mkd", "ca_mkd.weights": "average"}, {"ca_mkd.weight": 3.0}, {"ca_mkd.temperature": 2.0}
    ),
    "ebkd": three(
        {"kd.loss": "ca_mkd", "ca_mkd.weights": "entropy"}, {"ca_mkd.weight": 3.0}, {"ca_mkd.temperature": 2.0}
    ),
    "aekd": three(
        {"kd.loss": "ca_mkd", "ca_mkd.weights": "gradient"}, {"ca_mkd.weight": 3.0}, {"ca_mkd.temperature": 2.0}
    ),
    "fitnets": three({"kd.loss": "fitnets"}, {"fitnets.beta": 10.0}, {"fitnets.weight": 1.0}),
    "at": three({"kd.loss": "at"}, {"at.beta": 100.0}, {"at.beta": 10.0, "at.weight": 1.0}),
    "sp": three({"kd.loss": "sp"}, {"sp.beta": 300.0}, {"sp.weight": 1.0}),
    "rkd": three({"kd.loss": "rkd"}, {"rkd.distance": 2.5, "rkd.angle": 5.0}, {"rkd.weight": 1.0}),
    "pursuhint": three(
        {"kd.loss": "pursuhint"}, {"pursuhint.hint": "at", "pursuhint.beta": 500.0}, {"pursuhint.beta": 5.0}
    ),
    "modality_gram": three(
        {"kd.loss": "modality_gram"}, {"modality_gram.beta": 100.0}, {"modality_gram.weight": 0.0}
    ),
    "eskd": three(kd(kd__stop=0.6), {"kd.stop": 0.4}, {"kd.stop": 0.8}),
    "eskd (early teacher)": three(
        kd(teach__source="compressed"), {"teach.source": "checkpoint"}, {"kd.stop": 0.6}
    ),
    "teacher_sweet_spot": three(
        kd(teach__source="sweet1"), {"teach.source": "sweet2"}, {"kd.temperature": 2.0, "kd.weight": 0.7}
    ),
}  # fmt: skip
SEVERAL = ("ca_mkd", "ca_mkd (maps)", "aver", "ebkd", "aekd")  # taught by three teachers of one size


def plan_of(data: Data, epochs: int, artifacts: str, teacher: str, teacher_epochs: int) -> Plan:
    """A course with ladder and sources, and one of three equal teachers, for each of the three teacher seeds."""
    depth, width = (int(part) for part in teacher.split("x"))
    base = {
        "resnet": {"depth": depth, "width": width, "stem_stride": data.stem_stride},
        "epochs": teacher_epochs,
        "batch_size": data.batch_size,
    }
    long = max(2, teacher_epochs)
    courses = {}
    for number in range(TEACHERS):
        main = {**base, "seed": number}
        grid = {"batch_sizes": BATCH[data.name], "epochs": sorted({max(1, long // 4), long // 2, long})}
        sources = {
            "main": main,
            "compressed": {**main, "early_stopped": {"share": 0.25}},
            "checkpoint": {**main, "early_stopped": {"share": 0.5, "schedule": "checkpoint"}},
            "sweet1": {**main, "sweet_spot": {**grid, "rank": 1}},
            "sweet2": {**main, "sweet_spot": {**grid, "rank": 2}},
        }
        equal = {f"t{n}": {**base, "seed": (number + n) % TEACHERS} for n in range(TEACHERS)}
        courses[f"ladder/{number}"] = course_of(data, sources, epochs, artifacts, SMALL, 2)
        courses[f"equal/{number}"] = course_of(data, equal, epochs, artifacts, SMALL, 0)
    return Plan(data, courses, artifacts)


def task(
    stage: str, row: str, setting: int, seed: int, epochs: int, student: int = SMALL, cut: int | None = None
) -> Task:
    """One training of a row; ``cut``: other epochs than the row's own."""
    recipe = ROWS[row][setting]
    own = epochs * 2 if row == "none (twice the epochs)" else epochs
    if recipe["kd.loss"] == "self_kd":  # every generation as long as a student
        own = epochs * (1 + recipe.get("self_kd.generations", 1))
    kind = "equal" if row in SEVERAL else "ladder"
    return Task(stage, row, setting, recipe, student, seed, cut or own, f"{kind}/{seed % TEACHERS}")


def validation(lines: Sequence[Line]) -> float:
    """Mean accuracy on the validation split; failures count as nothing."""
    return statistics.fmean(line["validation"]["accuracy"] if "failed" not in line else 0.0 for line in lines)


class Comparison:
    """The stages in order; each takes what the ones before have found."""

    def __init__(self, plan: Plan, path: Path, workers: int, epochs: int, seeds: int, rows: Sequence[str]) -> None:
        self.plan, self.path, self.workers = plan, path, workers
        self.epochs, self.seeds, self.rows = epochs, seeds, rows

    def run(self, tasks: Sequence[Task]) -> list[Line]:
        return carry_out(self.plan, tasks, self.path, self.workers)

    def tune(self) -> dict[str, int]:
        """The setting of each row that is best on validation."""
        tried = [(row, n) for row in self.rows for n in range(len(ROWS[row]))]
        lines = self.run([task("tune", row, n, TUNING_SEED, max(1, self.epochs // 2)) for row, n in tried])
        best: dict[str, tuple[float, int]] = {}
        for (row, n), line in zip(tried, lines, strict=True):
            best[row] = max(best.get(row, (-1.0, 0)), (validation([line]), -n))
        return {row: -n for row, (_, n) in best.items()}

    def small(self) -> list[Line]:
        """Every row on the small student."""
        chosen = self.tune()
        return self.run(
            [task("small", row, chosen[row], seed, self.epochs) for row in self.rows for seed in range(self.seeds)]
        )

    def equal(self) -> list[Line]:
        """Rows with private cost, cut to the student's compute."""
        chosen, tasks = self.tune(), []
        for row, lines in by_row(self.small()).items():
            spent = [statistics.median(line["seconds"][column] for line in lines) for column in ("student", "private")]
            if spent[1] > PRIVATE * spent[0]:
                share = self.epochs if row == "self_kd" else self.epochs * spent[0] / sum(spent)
                cut = max(1, round(share))
                tasks += [task("equal", row, chosen[row], seed, self.epochs, cut=cut) for seed in range(self.seeds)]
        return self.run(tasks)

    def best(self, count: int, fixed: Sequence[str]) -> list[str]:
        """``fixed`` and the ``count`` best other methods on the small student, by validation."""
        rows = {row: validation(lines) for row, lines in by_row(self.small()).items()}
        others = [row for row in rows if row not in fixed and ROWS[row][0]["kd.loss"] != "none"]
        return [*(row for row in fixed if row in rows), *sorted(others, key=lambda row: -rows[row])[:count]]

    def large(self) -> list[Line]:
        """The larger student."""
        chosen, rows = self.tune(), self.best(2, ("none", "kd", "dkd", "takd"))
        return self.run(
            [task("large", row, chosen[row], seed, self.epochs, LARGE) for row in rows for seed in range(self.seeds)]
        )

    def final(self) -> list[Line]:
        """Fresh seeds for the best."""
        chosen, rows = self.tune(), self.best(3, ("none", "kd"))
        seeds = range(FRESH_SEED, FRESH_SEED + max(2, FRESH * self.seeds // 5))
        return self.run([task("final", row, chosen[row], seed, self.epochs) for row in rows for seed in seeds])


# ---- the report ------------------------------------------------------------------------------------------------------

HEADS = {
    "small": "A student of 11,000 parameters, equal student epochs",
    "large": "A student of 50,000 parameters, equal student epochs",
    "final": "The best on fresh seeds",
}


def section(name: str, lines: Sequence[Line]) -> str:
    """The tables of one data set."""
    parts = [f"## {name.capitalize()}"]
    stages: dict[str, list[Line]] = {}
    for line in lines:
        stages.setdefault(line["stage"], []).append(line)
    if "small" in stages:
        parts += [f"### {HEADS['small']}", compared(stages["small"], lines, ("none", "kd"))]
        replaced = {line["row"] for line in stages.get("equal", ())}
        kept = [line for line in stages["small"] if line["row"] not in replaced | {"none (twice the epochs)"}]
        if replaced:
            parts += ["### The same student, equal student + private compute"]
            parts += ["Rows with private cost have fewer epochs here; all others stand as above."]
            parts += [compared([*kept, *stages["equal"]], lines, ("none", "kd"))]
    for stage in ("large", "final"):
        if stage in stages:
            parts += [f"### {HEADS[stage]}", compared(stages[stage], lines, ("none", "kd"))]
    if "small" in stages:
        rows = by_row(stages["small"])
        if "none" in rows:
            floor = statistics.fmean(values(rows["none"])) - 0.01
            low = [row for row, found in rows.items() if statistics.fmean(values(found)) < floor]
            parts += ["More than one point below `none`: " + (", ".join(low) or "no row") + "."]
        failed = sorted({line["row"] for line in lines if "failed" in line})
        parts += [f"Trainings that diverged: {', '.join(failed)}."] if failed else []
        settings = [
            [row, shown(found[0]["recipe"]), spread(values(found, split="validation"), 100)]
            for row, found in rows.items()
        ]
        parts += ["### Settings", "The best of three on one tuning seed, by validation.", ""]
        parts += [table(["", "recipe", "validation accuracy, %"], settings)]
    return "\n\n".join(part for part in parts if part)


def shown(recipe: Recipe) -> str:
    """A recipe's entries in one cell."""
    return ", ".join(f"{name} {value}" for name, value in recipe.items())


def write_report(folder: Path) -> Path:
    """methods.md from every results file in ``folder``."""
    found = {path.stem.removeprefix("methods-"): latest(read(path)) for path in sorted(folder.glob("methods-*.jsonl"))}
    notes = folder / "methods_notes.md"
    text = [
        "# Distillation methods side by side",
        environment(),
        "Mean ± standard deviation over seeds, on the test split. Differences are in points of accuracy with Dunnett's "
        "simultaneous 95 % intervals; those that hold zero are ties. ECE: 15 equal bins. Shared seconds were paid once "
        "for all trainings that use the same teachers; in brackets the share of one user of this benchmark. How to run "
        "it again: `python benchmarks/methods.py --help`.",
        *(section(name, lines) for name, lines in sorted(found.items(), reverse=True)),
        *([notes.read_text().strip()] if notes.is_file() else []),
    ]
    target = folder / "methods.md"
    target.write_text("\n\n".join(text) + "\n")
    return target


STAGES = ("tune", "small", "equal", "large", "final")


def main() -> None:
    parser = arguments(__doc__, teacher_epochs=18)
    parser.add_argument("--stage", choices=(*STAGES, "all", "report"), default="all")
    parser.add_argument("--methods", help="rows, separated by commas; none is always among them")
    parser.add_argument("--teacher", default="8x16", metavar="DEPTHxWIDTH")
    given = parser.parse_args()
    rows = given.methods.split(",") if given.methods else [*ROWS]
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        parser.error(f"--methods: {unknown[0]!r} is none of: {', '.join(ROWS)}")
    if given.stage != "report":
        data = data_of(given.data, given.npz, given.limit, given.device)
        plan = plan_of(data, given.epochs, given.artifacts, given.teacher, given.teacher_epochs)
        path = given.results / f"methods-{data.name}.jsonl"
        wanted = list(dict.fromkeys(["none", *rows]))
        comparison = Comparison(plan, path, given.workers, given.epochs, given.seeds, wanted)
        for stage in STAGES if given.stage == "all" else (given.stage,):
            getattr(comparison, stage)()
    print(f"Wrote {write_report(given.results)}")


if __name__ == "__main__":
    main()
