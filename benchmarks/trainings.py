"""Students trained side by side for a comparison: one JSON line a training, appended as it ends, never run twice.

What `benchmarks/methods.py` and `benchmarks/capacity_gap.py` share. Trainings run in processes of one thread each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from autostudent.data import datasets
from autostudent.distill.fit import Diverged
from autostudent.distill.recipe import read_recipe
from autostudent.records import Value, digest
from autostudent.settings import LadderSettings, TrainingSettings, without_places
from autostudent.single import Course, train
from autostudent.space.architecture import Architecture, InputShape
from autostudent.space.cost import costs
from autostudent.teach.ladder import nearest
from autostudent.trial import TrialSetup, TrialWorker

Line = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
TEACHERS = 3  # seed s of a student uses teacher s mod this


@dataclass(frozen=True)
class Data:
    """A data set of the comparison: its entry as in a study, batch size, and the stem's stride of all networks."""

    name: str
    spec: Mapping[str, Any]
    batch_size: int
    stem_stride: int
    device: str = "cpu"

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The pictures, read when first asked for."""
        return datasets.load(self.spec)

    @property
    def shape(self) -> InputShape:
        """What every network must fit."""
        return self.dataset.input

    def student(self, params: int) -> Architecture:
        """The plain ResNet-8 nearest to so many parameters."""
        return nearest(params, 8, self.dataset, self.stem_stride)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "dataset"}


def data_of(name: str, npz: str | None, limit: int | None, device: str = "cpu") -> Data:
    """ "fashion": Fashion-MNIST from an .npz file, 10,000 pictures for training and validation; "digits"."""
    if name == "digits":
        return Data(name, {"name": "digits", **({"limit": limit} if limit else {})}, 32, 1, device)
    if npz is None:
        raise SystemExit("--data fashion needs --npz FILE with x_train, y_train, x_test, y_test")
    return Data(name, {"npz": npz, "limit": limit or 10_000}, 128, 2, device)


@dataclass(frozen=True)
class Task:
    """One training. ``row``: its line of the tables. ``course``: which teachers are at hand (see `Plan.courses`)."""

    stage: str
    row: str
    setting: int
    recipe: Mapping[str, Value]
    student: int
    seed: int
    epochs: int
    course: str

    def key(self, about: str) -> str:
        """What the results file knows it by; ``about`` stands for the courses."""
        return digest([about, dataclasses.asdict(self)])


@dataclass(frozen=True)
class Plan:
    """All that trainings of a comparison have in common. ``courses`` by name."""

    data: Data
    courses: Mapping[str, Course]
    artifacts: str

    @property
    def about(self) -> str:
        """Digest of data and courses, without the folder in which the assets lie."""
        kept = ("data", "teachers", "epochs", "smallest", "ladder", "training")
        parts = {name: {part: getattr(course, part) for part in kept} for name, course in self.courses.items()}
        return digest(json.loads(json.dumps(without_places(parts), default=dataclasses.asdict)))


def course_of(
    data: Data,
    teachers: Mapping[str, Any],
    epochs: int,
    artifacts: str,
    smallest: int,
    assistants: int,
) -> Course:
    """A course; ``assistants`` 0 means no ladder."""
    ladder = LadderSettings(next(iter(teachers)), assistants) if assistants else None
    training = TrainingSettings(batch_size=data.batch_size)
    return Course(data.spec, teachers, epochs, artifacts, smallest, ladder, training, data.device)


def arguments(about: str | None, teacher_epochs: int) -> argparse.ArgumentParser:
    """The options that both comparisons have."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("fashion", "digits"), default="fashion")
    parser.add_argument("--npz", help="Fashion-MNIST as an .npz file")
    parser.add_argument("--limit", type=int, help="pictures for training and validation together")
    parser.add_argument("--teacher-epochs", type=int, default=teacher_epochs)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where networks train")
    parser.add_argument("--artifacts", default="runs/benchmarks/assets", help="where teachers are kept")
    return parser


# ---- running ---------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Line]:
    """The finished trainings of a results file; a last line that was cut off is dropped."""
    lines = []
    for text in path.read_text().splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def latest(lines: Sequence[Line]) -> list[Line]:
    """The lines of the plan that was worked on last: others have other data, teachers or epochs."""
    return [line for line in lines if line["about"] == lines[-1]["about"]]


def carry_out(plan: Plan, tasks: Sequence[Task], path: Path, workers: int) -> list[Line]:
    """Runs what the file does not hold yet; returns the lines of all ``tasks``."""
    keys = {task.key(plan.about): task for task in tasks}
    done = {line["key"]: line for line in read(path) if line["key"] in keys}
    left = [(key, task) for key, task in keys.items() if key not in done]
    if left:
        path.parent.mkdir(parents=True, exist_ok=True)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=single_thread) as pool:
            graphs = {size: plan.data.student(size) for size in {task.student for _, task in left}}
            rooms = prepared(plan, [task for _, task in left], pool)
            futures = [pool.submit(run, key, task, rooms[task.course][0], graphs[task.student]) for key, task in left]
            for number, future in enumerate(as_completed(futures), 1):
                line = {"about": plan.about, **future.result()}
                line["shared"] = rooms[line["course"]][1].get(json.dumps(line["recipe"]), {})
                with path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                done[line["key"]] = line
                told = f"{100 * line['test']['accuracy']:.1f} %" if "test" in line else line["failed"]
                print(f"{number}/{len(left)} {line['stage']} {line['row']} seed {line['seed']}: {told}", flush=True)
    return [done[key] for key in keys]


def prepared(plan: Plan, tasks: Sequence[Task], pool: ProcessPoolExecutor) -> dict[str, Any]:
    """For every course that is needed: its set-up, and the shared seconds of each recipe by teacher's key.

    Courses of the first kind (the name before the slash) have different teachers and are made side by side; those of
    other kinds find some of them again, and are made one after the other.
    """
    wanted: dict[str, list[Task]] = {}
    for task in tasks:
        wanted.setdefault(task.course, []).append(task)
    first = next(iter(plan.courses)).partition("/")[0]
    alone = [{name: of} for name, of in wanted.items() if name.partition("/")[0] == first]
    rest = {name: of for name, of in wanted.items() if name.partition("/")[0] != first}
    rooms: dict[str, Any] = {}
    for group in (alone, [rest] if rest else []):
        futures = [pool.submit(prepare, plan, courses) for courses in group]
        rooms |= {name: room for future in futures for name, room in future.result().items()}
    return rooms


def prepare(plan: Plan, wanted: Mapping[str, Sequence[Task]]) -> dict[str, Any]:
    """Makes the teachers of some courses, in a worker process."""
    rooms: dict[str, Any] = {}
    for name, tasks in wanted.items():
        course = plan.courses[name]
        recipes = list({json.dumps(dict(task.recipe)): task.recipe for task in tasks}.values())
        told = lambda text, name=name: print(f"{name}: {text}", flush=True)  # noqa: E731
        room = course.prepare(recipes, plan.data.student(tasks[0].student), told)
        shared = {}
        params = costs(plan.data.student(tasks[0].student)).params
        for recipe in recipes:
            spent = room.shared(read_recipe(recipe, room.setup.roster, params))
            shared[json.dumps(dict(recipe))] = {room.teachers[n].key: seconds for n, seconds in spent.items()}
        rooms[name] = (room.setup, shared)
    return rooms


def single_thread() -> None:
    """One torch thread a process."""
    torch.set_num_threads(1)


_workers: dict[str, TrialWorker] = {}


def run(key: str, task: Task, setup: TrialSetup, graph: Architecture) -> Line:
    """One training, in a worker process; data and teachers stay loaded while the course stays the same."""
    if task.course not in _workers:
        _workers.clear()
        _workers[task.course] = TrialWorker(setup)
    line: Line = {"key": key, **dataclasses.asdict(task), "when": datetime.now(UTC).isoformat(timespec="seconds")}
    line["recipe"] = dict(task.recipe)
    try:
        outcome = train(_workers[task.course], graph, task.recipe, task.seed, epochs=task.epochs, test=True)[1]
    except Diverged as error:
        return {**line, "failed": str(error)}
    return {
        **line,
        **{name: outcome[name] for name in ("method", "teachers", "validation", "test", "costs", "seconds")},
    }


# ---- tables ----------------------------------------------------------------------------------------------------------


def by_row(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Lines of each row that did not fail, in the order of the rows."""
    rows: dict[str, list[Line]] = {}
    for line in lines:
        if "failed" not in line:
            rows.setdefault(line["row"], []).append(line)
    return rows


def values(lines: Sequence[Line], name: str = "accuracy", split: str = "test") -> list[float]:
    """A figure of every line."""
    return [line[split][name] for line in lines]


def spread(numbers: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """Mean ± standard deviation."""
    mean = statistics.fmean(numbers) * scale
    sd = statistics.stdev(numbers) * scale if len(numbers) > 1 else float("nan")
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def dunnett(rows: Mapping[str, Sequence[float]], control: str) -> dict[str, str]:
    """Differences from ``control`` in points with Dunnett's simultaneous 95 % intervals; those that hold 0 are ties.

    Dunnett 1955; `scipy.stats.dunnett`. Rows with fewer than two values have none.
    """
    others = {name: row for name, row in rows.items() if name != control and len(row) > 1}
    if len(rows.get(control, ())) < 2 or not others:
        return {}
    found = stats.dunnett(*others.values(), control=list(rows[control]), random_state=0)
    between = found.confidence_interval(0.95)
    told = {}
    for (name, row), low, high in zip(others.items(), between.low, between.high, strict=True):
        mean = 100 * (statistics.fmean(row) - statistics.fmean(rows[control]))
        verdict = "tie" if low <= 0 <= high else "better" if low > 0 else "worse"
        told[name] = f"{mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}), {verdict}"
    return told


def users(lines: Iterable[Line]) -> Counter[str]:
    """How many trainings use each teacher, by its key."""
    return Counter(key for line in lines for key in line.get("shared", {}))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first to the right."""
    head = [f"| {' | '.join(titles)} |", f"|{'|'.join(['---', *['---:'] * (len(titles) - 1)])}|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def compared(lines: Sequence[Line], everything: Sequence[Line], controls: Sequence[str]) -> str:
    """The table of one stage: quality on the test split, differences from the controls, costs in three columns."""
    rows = by_row(lines)
    accuracies = {name: values(found) for name, found in rows.items()}
    gaps = {control: dunnett(accuracies, control) for control in controls if control in rows}
    shares = users(everything)
    out = []
    for name in sorted(rows, key=lambda row: -statistics.fmean(accuracies[row])):
        found = rows[name]
        shared = [sum(line["shared"].values()) for line in found]
        each = [sum(s / shares[key] for key, s in line["shared"].items()) for line in found]
        out.append(
            [
                name,
                str(found[0]["epochs"]),
                spread(accuracies[name], 100),
                spread(values(found, "ece"), 100),
                spread(values(found, "nll"), 1, 3),
                *(gap.get(name, "–") for gap in gaps.values()),
                f"{statistics.fmean(line['seconds']['student'] for line in found):.1f}",
                f"{statistics.fmean(line['seconds']['private'] for line in found):.1f}",
                f"{statistics.fmean(shared):.0f} ({statistics.fmean(each):.1f})",
            ]
        )
    titles = ["", "epochs", "accuracy, %", "ECE, %", "NLL", *(f"against {c}, points (95 %)" for c in gaps)]
    return table([*titles, "student, s", "private, s", "shared, s (a user's share)"], out)
