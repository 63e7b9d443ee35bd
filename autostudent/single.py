"""One student with one recipe, without a search: a paper's setting as it stands, and the trainings of benchmarks.

A `Course` is everything but the student and its recipe. `Course.prepare` makes teachers, assistants, derived facts and
knowledge, which later trainings find again; `train` is one training from scratch with its three columns of cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from autostudent.assets import Assets
from autostudent.build.network import build
from autostudent.data import datasets
from autostudent.distill.compiled import Make, as_it_is, compiled
from autostudent.distill.fit import Fit
from autostudent.distill.job import derive_seed
from autostudent.distill.recipe import Recipe, read_recipe
from autostudent.errors import ConfigError
from autostudent.measure.latency import by_turns
from autostudent.measure.quality import quality
from autostudent.records import Candidate, Value, digest
from autostudent.settings import LadderSettings, Roster, TrainingSettings, rests_on, roster_of
from autostudent.space.architecture import Architecture
from autostudent.space.cost import costs
from autostudent.space.space import load_space
from autostudent.teach.catalogue import (
    informed,
    make_facts,
    make_teachers,
    require_data,
    require_open,
    shared_costs,
)
from autostudent.teach.forms import Form
from autostudent.teach.knowledge import Knowledge
from autostudent.teach.teacher import Teacher
from autostudent.teach.training import Say, silent
from autostudent.trial import TrialSetup, TrialWorker, answers, bank_of

Config = Mapping[str, Value]


def device_here(gpu: bool) -> str:
    """Where this process trains: on a GPU where one is wanted and there."""
    return "cuda" if gpu and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Course:
    """What students are taught with: the entries of a study that have to do with training.

    ``data``, ``teachers``, ``ladder`` and ``training`` are those of `autostudent.settings.StudySettings`; ``epochs`` is
    a student's full training, ``smallest`` the parameters to which the ladder leads where it does not say.
    """

    data: Mapping[str, Any]
    teachers: Mapping[str, Mapping[str, Any]]
    epochs: int
    artifacts: str
    smallest: int = 1000
    ladder: LadderSettings | None = None
    training: TrainingSettings = field(default_factory=TrainingSettings)
    device: str = "cpu"

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The data, split."""
        return datasets.load(self.data)

    @property
    def roster(self) -> Roster:
        """The frozen teachers that recipes choose from."""
        return roster_of(self.teachers, self.ladder)

    def prepare(self, recipes: Sequence[Config], student: Architecture, say: Say = silent) -> Classroom:
        """Makes or finds all that these recipes read, and no teacher that none of them asks for.

        Raises:
            ConfigError: for a recipe that cannot be put together, or asks for what the course does not have.
        """
        read = [read_recipe(config, self.roster) for config in recipes]
        require_data(read, self.dataset, self.epochs)
        seed, assets = int(self.dataset.spec["seed"]), Assets(self.artifacts)
        wanted = {name for recipe in read for name in recipe.teachers}
        tops = {self.ladder.of} if self.ladder and wanted - set(self.teachers) else set()
        specs = {name: spec for name, spec in self.teachers.items() if name in wanted | tops}
        teachers = make_teachers(
            specs,
            self.ladder,
            lambda: self.smallest,
            wanted,
            self.dataset,
            assets,
            look=lambda found: require_open(read, found, student.taps),
            device=self.device,
            seed=seed,
            say=say,
        )
        require_open(read, teachers, student.taps)
        make_facts(self.roster, teachers, self.dataset, assets, read)
        setup = TrialSetup(
            data=self.dataset.spec,
            fingerprint=self.dataset.fingerprint,
            training=self.training,
            epochs=self.epochs,
            rungs=(self.epochs,),
            space=load_space("resnet_family", None),
            teachers={name: teacher.key for name, teacher in teachers.items()},
            roster=informed(self.roster, teachers),
            artifacts=str(assets.root),
            seed=seed,
            owner=digest(["single", self.dataset.fingerprint]),
            device=self.device,
        )
        bank = bank_of(self.dataset, self.training.views or self.epochs, seed)
        known = {}
        for name in sorted(wanted):
            say(f"what {name} says of {bank.views} views")
            known[name] = Knowledge.ensure(assets, teachers[name], bank, form=Form(top=self.training.top_k)).seconds
        return Classroom(setup, teachers, known)


@dataclass(frozen=True)
class Classroom:
    """What `Course.prepare` made. ``known``: seconds that each teacher took to look at the view bank."""

    setup: TrialSetup
    teachers: Mapping[str, Teacher]
    known: Mapping[str, float]

    def shared(self, recipe: Recipe) -> dict[str, float]:
        """Seconds paid once for what a recipe rests on: its teachers, those that taught them, their knowledge."""
        costs = shared_costs(self.teachers, self.known)
        return {name: costs[name]["seconds"] for name in rests_on(recipe.teachers, costs)}


def train(
    worker: TrialWorker,
    graph: Architecture,
    config: Config,
    seed: int,
    *,
    epochs: int | None = None,
    test: bool = False,
) -> tuple[nn.Module, dict[str, Any]]:
    """Trains one network from scratch and measures it.

    Args:
        worker: of a classroom's set-up.
        graph: of the student.
        config: the recipe.
        seed: of initial weights, order and draws.
        epochs: another length than the course's; only without frozen teachers, or shorter.
        test: also measure on the test split.

    Returns:
        (the student in eval mode, {"method", "teachers", "recipe", "epochs", "seed", "validation", "test" or None,
        "costs", "seconds": {"student", "private"}}).

    Raises:
        Diverged: when the loss or the network's answers are not finite.
    """
    setup, dataset = worker.setup, worker.dataset
    recipe = read_recipe(config, setup.roster, costs(graph).params)
    student_of: Make = lambda s: build(graph, s, dataset.mean, dataset.std)  # noqa: E731
    if setup.training.compile:
        student_of = compiled(student_of, worker.device)
    job = worker.job(student_of, costs(graph).params, Candidate(config, 0), 0)
    epochs = epochs or setup.epochs
    if epochs > setup.epochs:
        if job.sources:
            raise ConfigError(
                "epochs", epochs, f"at most {setup.epochs}, as many as there are views teachers have seen"
            )
        job = dataclasses.replace(job, bank=bank_of(dataset, epochs, setup.seed))
    fit = Fit(
        dataclasses.replace(
            job,
            optim=dataclasses.replace(job.optim, epochs=epochs),
            seed=derive_seed("single", seed),
        )
    )
    with by_turns(worker.device) as pause:
        fit.run(epochs, lambda epoch: pause())
    student = fit.annealed()

    def measured(part: datasets.Part) -> dict[str, float]:
        with as_it_is(setup.training.compile):
            return quality(answers(student, part.x, worker.device), part.y)

    outcome = {
        "method": recipe.name,
        "teachers": list(recipe.teachers),
        "recipe": dict(config),
        "epochs": epochs,
        "seed": seed,
        "validation": measured(dataset.validation),
        "test": measured(dataset.test) if test else None,
        "costs": {name: float(value) for name, value in costs(graph).as_dict().items()},
        "seconds": {column: fit.seconds[column] for column in ("student", "private")},
    }
    return student, outcome
