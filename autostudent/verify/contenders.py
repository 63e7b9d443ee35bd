"""Who is trained for a proof: students, controls without a teacher, rivals of like size, fresh graphs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from autostudent.errors import ConfigError, InvalidDraw
from autostudent.records import Candidate, Value, digest
from autostudent.settings import RivalSettings
from autostudent.space.architecture import Architecture, freeze
from autostudent.space.cost import costs
from autostudent.space.space import load_space
from autostudent.trial import TrialSetup
from autostudent.verify.tasks import VerifyTask, run_task

if TYPE_CHECKING:
    from autostudent.study import Study

LABELS = "labels only"
LIKE = 0.7  # a rival has at least this share of the student's parameters, and at most as many
TRIES = 50  # draws for every graph that is wanted

Say = Callable[[str], None]
Map = Callable[[Callable[[VerifyTask], dict[str, Any]], Sequence[VerifyTask]], list[dict[str, Any]]]


@dataclass(frozen=True)
class Contender:
    """One row of the table of proof: what is trained, how, and for how long.

    ``how`` says in words what it learns from. ``graphs`` are architectures as JSON; where there are several, each is
    trained once, else the one is trained with every seed. ``bases`` are the keys that the graphs' seeds derive from.
    """

    name: str
    kind: str
    how: str
    graphs: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Value]
    bases: tuple[str, ...]
    epochs: int

    def tasks(self, seeds: int, test_split: str | None, first: int = 1) -> list[VerifyTask]:
        """Replicates ``first`` to ``first + seeds - 1`` of the one graph, or replicate ``first`` of each of several."""
        pairs = list(zip(self.graphs, self.bases, strict=True))
        runs = [(*pair, first) for pair in pairs] if len(pairs) > 1 else [(*pairs[0], first + n) for n in range(seeds)]
        return [
            VerifyTask(self.name, graph, self.config, base, replicate, self.epochs, test_split)
            for graph, base, replicate in runs
        ]

    @property
    def costs(self) -> dict[str, int]:
        """Exact costs; the mean over the graphs where there are several."""
        found = [costs(Architecture.from_json(graph)).as_dict() for graph in self.graphs]
        return {name: round(sum(each[name] for each in found) / len(found)) for name in found[0]}


def student_of(study: Study, row: Mapping[str, Any]) -> Contender:
    """A front member as a contender."""
    candidate = Candidate.from_json(row["candidate"])
    recipe = {name: value for name, value in candidate.config.items() if name in study.space.recipe}
    graph = json.loads(study.assets.get(row["graph"]))
    how = LABELS if row.get("method") == "none" else str(row.get("method", ""))
    epochs = study.settings.budget.epochs
    return Contender(f"student {row['trial']}", "student", how, (graph,), recipe, (candidate.key,), epochs)


def controls(student: Contender) -> list[Contender]:
    """The same graph without a teacher: at the same length, at twice the epochs, and with label smoothing.

    A student that was found without a teacher is its own control, but for the length.
    """
    if student.config.get("kd.loss", "none") == "none":
        name = f"{student.name}, twice the epochs"
        return [dataclasses.replace(student, name=name, kind="control", epochs=2 * student.epochs)]
    labels = dataclasses.replace(student, kind="control", how=LABELS, config={**optimiser(student), "kd.loss": "none"})
    return [
        dataclasses.replace(labels, name=f"{student.name}, no teacher"),
        dataclasses.replace(labels, name=f"{student.name}, no teacher, twice the epochs", epochs=2 * student.epochs),
        dataclasses.replace(
            labels,
            name=f"{student.name}, no teacher, label smoothing",
            config={**labels.config, "optim.smoothing": 0.1},
        ),
    ]


def optimiser(student: Contender) -> dict[str, Value]:
    """The student's optimiser settings, as its recipe has them."""
    return {name: value for name, value in student.config.items() if name.startswith("optim.")}


def rivals_of(study: Study, student: Contender) -> list[Contender]:
    """Plain ResNets of the student's size in several shapes, each taught by plain distillation from the main teacher.

    They have the student's optimiser settings, and its temperature and weight where its own loss is ``kd``.
    """
    settings = study.settings.rivals or RivalSettings()
    space, limit = load_space(settings.space, None), student.costs["params"]
    rng = np.random.default_rng((study.seed, 13))
    graphs: dict[str, Architecture] = {}
    for _ in range(TRIES * settings.trials):
        config = {**space.sample(rng), "params.target": float(limit)}
        try:
            graph = freeze(Candidate(config, 0), space, study.dataset.input)
        except InvalidDraw:
            continue
        if costs(graph).params >= LIKE * limit:
            graphs.setdefault(graph.fingerprint, graph)
        if len(graphs) == settings.trials:
            break
    if not graphs:
        raise ConfigError("rivals.space", settings.space, f"a space with networks of about {limit:,} parameters")
    tuned = student.config.get("kd.loss") == "kd"
    knobs = {name: student.config[name] for name in ("kd.temperature", "kd.weight") if tuned and name in student.config}
    recipe = {**optimiser(student), "kd.loss": "kd", **knobs}
    how = f"kd, optimised like {student.name}"
    return [
        Contender(f"ResNet {name[:6]}", "rival", how, (graph.to_json(),), recipe, (rival_key(name),), student.epochs)
        for name, graph in graphs.items()
    ]


def rival_key(fingerprint: str) -> str:
    """What the training seeds of a hand-designed network derive from."""
    return digest({"rival": fingerprint})


def rival_of(study: Study, setup: TrialSetup, student: Contender, map_: Map, say: Say) -> Contender:
    """The best of the student's rivals: each is trained once (replicate 0) and compared on the validation split."""
    field = rivals_of(study, student)
    say(f"{len(field)} plain ResNets of at most {student.costs['params']:,} parameters, compared on validation")
    outcomes = map_(partial(run_task, setup), [entry.tasks(1, None, first=0)[0] for entry in field])
    scores = [outcome["validation"]["accuracy"] if "validation" in outcome else -1.0 for outcome in outcomes]
    return dataclasses.replace(field[scores.index(max(scores))], name=f"plain ResNet like {student.name}")


def family_of(study: Study, row: Mapping[str, Any], student: Contender, count: int) -> Contender:
    """``count`` fresh graphs from the generator numbers that the student was drawn from, with its recipe.

    Their spread says how much the numbers decide, and how much the draw (Eyono et al. 2021, arXiv 2111.03555). Graphs
    that break a limit of the study are not among them, as in the search.

    Raises:
        ConfigError: the generator has fewer different graphs within the limits.
    """
    candidate = Candidate.from_json(row["candidate"])
    rng = np.random.default_rng((study.seed, 17, int(row["trial"])))
    found: dict[str, Candidate] = {}
    for _ in range(TRIES * count):
        fresh = Candidate(candidate.config, int(rng.integers(2**31)))
        try:
            described = study.catalogue.describe(fresh)
        except InvalidDraw:
            continue
        if described.feasible and described.fingerprint != row["fingerprint"]:
            found.setdefault(described.fingerprint, fresh)
        if len(found) == count:
            break
    if len(found) < count:
        raise ConfigError("family", count, f"at most {len(found)}: {student.name}'s generator draws no more graphs")
    graphs = tuple(study.catalogue.architecture(fresh).to_json() for fresh in found.values())
    return dataclasses.replace(
        student,
        name=f"fresh graphs like {student.name}",
        kind="family",
        graphs=graphs,
        bases=tuple(fresh.key for fresh in found.values()),
    )
