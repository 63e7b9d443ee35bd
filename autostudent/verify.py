"""Proof for a shortlist: fresh seeds over the full schedule, controls and rivals beside it, the test split read once.

Every training is one task. Its outcome is a keyed asset, so that a run which was killed goes on where it was and no
training runs twice. Training seeds are those of replicates 1, 2, …: the search's replicate 0 is never among them, and
views are drawn from a bank that the search did not see.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from autostudent.assets import Assets, checksum
from autostudent.build.network import build
from autostudent.distill.fit import Fit
from autostudent.distill.job import derive_seed
from autostudent.errors import ConfigError, InvalidDraw
from autostudent.measure.intervals import Interval, gap, interval, pack, paired, unpack, welch
from autostudent.measure.quality import quality
from autostudent.records import Candidate, Value, digest
from autostudent.settings import RivalSettings
from autostudent.space.architecture import Architecture, freeze
from autostudent.space.cost import costs
from autostudent.space.space import load_space
from autostudent.trial import TrialSetup, TrialWorker, answers

if TYPE_CHECKING:
    from autostudent.study import Preparation, Study


SHORTLIST = 3  # students that may be measured on the test split in one verification
CODE = 2  # raised when the outcome of a task would change


@dataclass(frozen=True)
class VerifyTask:
    """One training from scratch. ``graph`` is an architecture's JSON, ``config`` the recipe; ``epochs`` its length.
    ``test_split`` is the checksum of the test split to measure on, None for validation alone.

    ``base`` is the key that training seeds derive from: a student and its controls share it, so their seeds are paired.
    """

    name: str
    kind: str
    graph: Mapping[str, Any]
    config: Mapping[str, Value]
    base: str
    replicate: int
    epochs: int
    test_split: str | None = None

    @property
    def key(self) -> str:
        """The address of the outcome."""
        about = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("name", "kind")}
        return digest({"code": CODE, **about})


def bank_seed(seed: int) -> int:
    """The seed of the view bank that verification trains on."""
    return derive_seed("verify", seed)


def run_task(setup: TrialSetup, task: VerifyTask) -> dict[str, Any]:
    """Trains one network and measures it on validation, and on test where the task says so.

    The outcome holds metrics and, as a hexadecimal string, which test pictures were classified correctly.
    """
    entry = Assets(setup.artifacts).entry("verified", digest([setup_key(setup), task.key]))
    if entry.complete:
        outcome: dict[str, Any] = json.loads(entry.read("outcome.json"))
        return outcome
    worker = worker_of(setup)
    graph = Architecture.from_json(task.graph)
    job = worker.job(graph, Candidate(task.config, 0), task.replicate)
    optim = dataclasses.replace(job.optim, epochs=task.epochs)
    dataset = worker.dataset
    job = dataclasses.replace(
        job,
        optim=optim,
        seed=derive_seed(task.base, task.replicate),
        student=lambda seed: build(graph, seed, dataset.mean, dataset.std),
    )
    fit = Fit(job)
    fit.run(task.epochs)
    student = fit.annealed()
    logits = answers(student, dataset.validation.x, worker.device)
    outcome = {"validation": quality(logits, dataset.validation.y, worker.teacher_logits), "seconds": fit.seconds}
    if task.test_split is not None:
        logits = answers(student, dataset.test.x, worker.device)
        outcome["test"] = quality(logits, dataset.test.y)
        outcome["correct"] = pack(logits.argmax(1) == dataset.test.y)
    entry.commit({"outcome.json": json.dumps(outcome).encode()}, {"name": task.name, "kind": task.kind})
    return outcome


def setup_key(setup: TrialSetup) -> str:
    """Digest of everything about a study that decides how a network trains: data, teachers, views, optimiser."""
    settings = [setup.fingerprint, dict(setup.data), dataclasses.asdict(setup.training), setup.epochs]
    return digest([*settings, dict(setup.teachers), list(setup.ladder), setup.seed, setup.device])


_workers: dict[str, TrialWorker] = {}


def worker_of(setup: TrialSetup) -> TrialWorker:
    """This process's worker for a set-up, made once: data and teachers stay loaded over tasks."""
    key = digest([setup_key(setup), setup.artifacts])
    if key not in _workers:
        _workers.clear()
        _workers[key] = TrialWorker(setup)
    return _workers[key]


@dataclass(frozen=True)
class Contender:
    """One row of the table of proof: what is trained, how, and for how long."""

    name: str
    kind: str
    graph: Mapping[str, Any]
    config: Mapping[str, Value]
    base: str
    epochs: int

    def tasks(self, seeds: int, test_split: str) -> list[VerifyTask]:
        """One task a seed, replicates 1 to ``seeds``."""
        return [VerifyTask(**vars(self), replicate=n, test_split=test_split) for n in range(1, seeds + 1)]


def controls(student: Contender) -> list[Contender]:
    """The same graph without a teacher: at the same length, at twice the epochs, and with label smoothing.

    A student that was found without a teacher is its own control, but for the length.
    """
    if student.config.get("kd.loss") == "none":
        return [
            dataclasses.replace(
                student, name=f"{student.name}, twice the epochs", kind="control", epochs=2 * student.epochs
            )
        ]
    plain = {name: value for name, value in student.config.items() if name.startswith("optim.")}
    labels = dataclasses.replace(student, kind="control", config={**plain, "kd.loss": "none"})
    return [
        dataclasses.replace(labels, name=f"{student.name}, no teacher"),
        dataclasses.replace(labels, name=f"{student.name}, no teacher, twice the epochs", epochs=2 * student.epochs),
        dataclasses.replace(
            labels,
            name=f"{student.name}, no teacher, label smoothing",
            config={**labels.config, "optim.smoothing": 0.1},
        ),
    ]


@dataclass(frozen=True)
class Measured:
    """A contender with its outcomes, one a seed."""

    contender: Contender
    outcomes: tuple[Mapping[str, Any], ...]
    params: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    def accuracies(self, split: str = "test") -> list[float]:
        """Accuracy of each seed."""
        return [outcome[split]["accuracy"] for outcome in self.outcomes]

    def row(self) -> dict[str, Any]:
        """A flat row for tables: means over seeds, the sd and interval of accuracy."""
        accuracy = interval(self.accuracies())
        tests = [outcome["test"] for outcome in self.outcomes]
        means = {name: sum(test[name] for test in tests) / len(tests) for name in tests[0]}
        return {
            "name": self.contender.name,
            "kind": self.contender.kind,
            "params": self.params,
            "seeds": accuracy.n,
            **means,
            "accuracy_sd": accuracy.sd,
            "accuracy_low": accuracy.low,
            "accuracy_high": accuracy.high,
            **self.extra,
        }


@dataclass(frozen=True)
class Proof:
    """What `verify` found: ``rows`` of the table, and the ``claims``, differences with their intervals."""

    rows: list[dict[str, Any]]
    claims: list[dict[str, Any]]


Say = Callable[[str], None]
Map = Callable[[Callable[[VerifyTask], dict[str, Any]], Sequence[VerifyTask]], list[dict[str, Any]]]


def verify(
    study: Study,
    trials: Sequence[int] | None = None,
    seeds: int = 5,
    say: Say = lambda text: None,
    compare: bool = True,
) -> Proof:
    """Re-trains a shortlist with fresh seeds and measures it, its controls and its rivals on the test split.

    Args:
        trials: front members, at most `SHORTLIST`; by default the smallest within one standard error of the best.
        seeds: trainings of each contender.
        say: told what is being done.
        compare: also train controls and a rival for each student; without them no gain can be claimed.

    Raises:
        ConfigError: for trials that are not on the front, or too many of them.
    """
    from autostudent.store.choose import best

    rows = {row["trial"]: row for row in study.rows()}
    if trials is None:
        trials = [best(list(rows.values()), rule="smallest_within_1se")[0]["trial"]]
    check_shortlist(trials, rows)
    with study.runner() as runner, study.open_store() as store:
        prepared = study.prepare(runner, lambda event: say(event.text))
        setup = dataclasses.replace(prepared.setup, seed=bank_seed(study.shared_seed))
        study.prepare_knowledge(prepared.teachers, setup.seed, runner, lambda event: say(event.text))
        students = [student_of(study, rows[number]) for number in trials]
        field_: list[Contender] = []
        for student in students:
            field_.append(student)
            if compare:
                field_ += [*controls(student), rival_of(study, setup, student, runner.map, say)]
        test = study.dataset.test
        split = checksum(test.x.numpy().tobytes() + test.y.numpy().tobytes())
        tasks = [task for contender in field_ for task in contender.tasks(seeds, split)]
        say(f"{len(tasks)} trainings, {seeds} seeds each")
        outcomes = runner.map(partial(run_task, setup), tasks)
        measured = [
            Measured(contender, tuple(outcomes[n * seeds : (n + 1) * seeds]), params_of(contender))
            for n, contender in enumerate(field_)
        ]
        teacher, right = teacher_row(study, prepared)
        proof = Proof(
            [teacher, *(entry.row() for entry in measured), logistic_row(study)], claims_of(measured, teacher, right)
        )
        for row in proof.rows:
            store.set_reference(f"verified: {row['name']}", row)
        store.describe({"claims": proof.claims})
    return proof


def check_shortlist(trials: Sequence[int], rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Raises `ConfigError` unless the trials are few and on the front."""
    if len(trials) > SHORTLIST:
        raise ConfigError("trials", list(trials), f"at most {SHORTLIST} students: the test split is not for choosing")
    for number in trials:
        if number not in rows:
            raise ConfigError("trials", number, f"students of the front: {', '.join(map(str, sorted(rows)))}")


def student_of(study: Study, row: Mapping[str, Any]) -> Contender:
    """A front member as a contender."""
    candidate = Candidate.from_json(row["candidate"])
    recipe = {name: value for name, value in candidate.config.items() if name in study.space.recipe}
    graph = json.loads(study.assets.get(row["graph"]))
    return Contender(f"student {row['trial']}", "student", graph, recipe, candidate.key, study.settings.budget.epochs)


def rival_of(study: Study, setup: TrialSetup, student: Contender, map_: Map, say: Say) -> Contender:
    """The best plain ResNet of the student's size, taught by plain distillation from the main teacher.

    Several shapes of like size are trained once (replicate 0) and compared on the validation split; the best is taken.
    """
    settings = study.settings.rivals or RivalSettings()
    space = load_space(settings.space, None)
    limit = params_of(student)
    rng = np.random.default_rng((study.seed, 13))
    graphs: dict[str, Architecture] = {}
    for _ in range(50 * settings.trials):
        config = {**space.sample(rng), "params.target": float(limit)}
        try:
            graph = freeze(Candidate(config, 0), space, study.dataset.input)
        except InvalidDraw:
            continue
        if costs(graph).params >= 0.7 * limit:
            graphs.setdefault(graph.fingerprint, graph)
        if len(graphs) == settings.trials:
            break
    if not graphs:
        raise ConfigError("rivals.space", settings.space, f"a space with networks of about {limit:,} parameters")
    recipe = {"kd.loss": "kd"}  # its hyperparameters and the optimiser's stay at their defaults
    field_ = [
        Contender(f"ResNet {name[:6]}", "rival", graph.to_json(), recipe, digest({"rival": name}), student.epochs)
        for name, graph in graphs.items()
    ]
    say(f"{len(field_)} plain ResNets of at most {limit:,} parameters, compared on the validation split")
    tasks = [VerifyTask(**vars(entry), replicate=0) for entry in field_]
    outcomes = map_(partial(run_task, setup), tasks)
    best = max(range(len(field_)), key=lambda n: outcomes[n]["validation"]["accuracy"])
    return dataclasses.replace(field_[best], name=f"plain ResNet like {student.name}")


def params_of(contender: Contender) -> int:
    """Exact parameter count of a contender's graph."""
    return costs(Architecture.from_json(contender.graph)).params


def teacher_row(study: Study, prepared: Preparation) -> tuple[dict[str, Any], Tensor]:
    """The main teacher on the test split, and which of its pictures it classified correctly, boolean ``(n,)``."""
    teacher = prepared.teachers[study.settings.teacher]
    test = study.dataset.test
    logits = answers(teacher.module, test.x, torch.device(study.device))
    measured = quality(logits, test.y)
    row = {"name": study.settings.teacher, "kind": "teacher", "seeds": 1, **teacher.costs, **measured}
    return row, logits.argmax(1) == test.y


def logistic_row(study: Study) -> dict[str, Any]:
    """Logistic regression on raw pixels, the floor that any network should clear."""
    from sklearn.linear_model import LogisticRegression

    train, test = study.dataset.train, study.dataset.test
    model = LogisticRegression(max_iter=300)
    model.fit(train.x.flatten(1).numpy() / 255.0, train.y.numpy())
    accuracy = float(model.score(test.x.flatten(1).numpy() / 255.0, test.y.numpy()))
    params = int(model.coef_.size + model.intercept_.size)
    return {"name": "logistic regression", "kind": "baseline", "params": params, "seeds": 1, "accuracy": accuracy}


def claims_of(measured: Sequence[Measured], teacher: Mapping[str, Any], teacher_right: Tensor) -> list[dict[str, Any]]:
    """Differences that matter, each with its 95 % interval; one that holds zero is called a tie."""
    claims: list[dict[str, Any]] = []
    student: Measured | None = None
    for entry in measured:
        if entry.contender.kind == "student":
            student = entry
            right = [unpack(outcome["correct"], len(teacher_right)) for outcome in entry.outcomes]
            found = gap(teacher_right, right)
            claims.append(claim(f"{teacher['name']} - {entry.contender.name}", found))
            claims[-1]["params_ratio"] = teacher["params"] / entry.params
        elif student is not None:
            if entry.contender.kind == "control":
                found = paired(student.accuracies(), entry.accuracies())
            else:
                found = welch(student.accuracies(), entry.accuracies())
            claims.append(claim(f"{student.contender.name} - {entry.contender.name}", found))
    return claims


def claim(what: str, found: Interval) -> dict[str, Any]:
    """A difference in accuracy as plain data, in points (hundredths)."""
    low, high = 100 * found.low, 100 * found.high
    verdict = "tie" if low <= 0 <= high else "higher" if low > 0 else "lower"
    return {
        "difference": what,
        "points": 100 * found.mean,
        "low": low,
        "high": high,
        "seeds": found.n,
        "verdict": verdict,
    }
