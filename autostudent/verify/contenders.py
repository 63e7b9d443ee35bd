"""Who is trained for a proof: students, controls without a teacher, fresh graphs; rivals are in a file of their own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autostudent.errors import ConfigError, InvalidDraw
from autostudent.records import Candidate, Value
from autostudent.verify.networks import costs_of
from autostudent.verify.tasks import VerifyTask

if TYPE_CHECKING:
    from autostudent.study import Study

LABELS = "labels only"
TRIES = 50  # draws for every graph that is wanted


@dataclass(frozen=True)
class Contender:
    """One row of the table of proof: what is trained, how, and for how long.

    ``how`` says in words what it learns from. ``graphs`` are as `autostudent.verify.networks` takes them; where there
    are several, each is trained once, else the one is trained with every seed. ``bases`` are the keys that the graphs'
    seeds derive from.
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

    @cached_property
    def costs(self) -> dict[str, int]:
        """Exact costs; the mean over the graphs where there are several."""
        found = [costs_of(graph) for graph in self.graphs]
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
