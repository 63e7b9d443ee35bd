"""`Study`: the one object that a Python user holds. It prepares, searches, resumes and answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch

from autostudent.assets import Assets
from autostudent.data import datasets
from autostudent.distill.recipe import Recipe, read_recipe, require_entries
from autostudent.driver import Event, StudyDriver, require_same_teachers, silent, timed_elsewhere
from autostudent.measure.latency import device_model, latency_of, require_attainable
from autostudent.problem import Catalogue, above_chance, make_problem, require_feasible, structural, with_references
from autostudent.propose import make as make_proposer
from autostudent.records import LATENCY, Candidate, Description, Objective, Problem, digest
from autostudent.report.cite import papers
from autostudent.report.ledger import ledger
from autostudent.run.base import Runner
from autostudent.settings import StudySettings, epochs_of
from autostudent.shares import Share, given, gpus, needed, require_gpus, share_of
from autostudent.space.space import Space, load_space
from autostudent.store.store import Store
from autostudent.teach.catalogue import informed, make_facts, make_teachers, require_data, require_open, shared_costs
from autostudent.teach.forms import Form
from autostudent.teach.knowledge import Knowledge
from autostudent.teach.teacher import Teacher, leave_gpu
from autostudent.trial import TrialSetup, TrialWorker, bank_of, epoch_seconds, one_thread, warm_up
from autostudent.warm_start import options_of, require_earlier

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[Event], None]
STARTUP_S, OVERHEAD = 10.0, 1.3
TIMED = 5  # draws whose latency is measured before a search
RECIPES = 1000  # random recipes that are looked at before anything is trained


@dataclass(frozen=True)
class Preparation:
    """What is made once before a search: data, teachers by falling capacity, their knowledge, the filled-in problem.

    ``looks``: seconds that each teacher took to look at the view bank.
    """

    dataset: datasets.Dataset
    teachers: Mapping[str, Teacher]
    objectives: tuple[Objective, ...]
    problem: Problem
    catalogue: Catalogue
    setup: TrialSetup
    looks: Mapping[str, float]


@dataclass(frozen=True)
class CheckReport:
    """What `Study.check` found. ``sizes``: least, median and largest of each exact cost over probed draws. ``gpu``: how
    a GPU is shared (`autostudent.shares.Share`), None on processors."""

    data: Mapping[str, Any]
    teachers: Sequence[Mapping[str, Any]]
    sizes: Mapping[str, tuple[float, float, float]]
    feasible: float
    seconds: float
    objectives: Sequence[Mapping[str, Any]]
    gpu: Mapping[str, Any] | None = None


class Study:
    """A search study built from settings (see `autostudent.load_study` for study files)."""

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.assets = Assets(settings.artifacts)

    @cached_property
    def space(self) -> Space:
        """Students and recipes, one space."""
        return load_space(self.settings.space.students, self.settings.space.recipe)

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The study's data, split."""
        return datasets.load(self.settings.data)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Descriptions of the space's candidates for this data."""
        return Catalogue(self.space, self.dataset.input, self.settings.objectives)

    @cached_property
    def drawn(self) -> list[tuple[Candidate, Description]]:
        """Random draws from which sizes, limits and times are judged."""
        return self.catalogue.probe(self.shared_seed)

    @property
    def probes(self) -> list[Description]:
        """What is known of the random draws."""
        return [description for _, description in self.drawn]

    @property
    def smallest(self) -> int:
        """Parameters of the smallest student that was drawn within the limits: where a ladder leads to."""
        return int(min(probe.costs["params"] for probe in self.probes if probe.feasible))

    def latencies(self) -> tuple[float, float, float]:
        """Milliseconds of a few draws from the cheapest to the dearest: least, median, most."""
        ranked = sorted((d.costs["macs"], c.key, c) for c, d in self.drawn if d.feasible)
        graphs = [self.catalogue.architecture(ranked[len(ranked) * n // TIMED][2]) for n in range(TIMED)]
        found = sorted(latency_of(graph, self.assets, self.device).median_ms for graph in graphs)
        require_attainable(self.settings.objectives, found[0])
        return found[0], found[TIMED // 2], found[-1]

    def runner(self) -> Runner:
        """Where this study's work runs: Ray Tune."""
        from autostudent.run.ray_tune import RayRunner

        run = self.settings.run
        shares = run.cpus_per_trial, self.share.gpus
        return RayRunner(run.workers, *shares, address=run.address, timeout_s=run.timeout_s)

    @cached_property
    def share(self) -> Share:
        """Which part of a GPU a segment gets; to size it, the teachers are needed."""
        run = self.settings.run
        if not isinstance(run.gpus_per_trial, str):
            return given(run.gpus_per_trial)
        self.require_sound()
        teachers = list(self.teachers().values())
        graphs = [self.catalogue.architecture(candidate) for candidate, known in self.drawn if known.feasible]
        batch = self.settings.training.batch_size
        views = self.settings.training.views or self.settings.budget.epochs
        need = needed(graphs, batch, self.recipes, teachers, self.dataset, views, run.cuda_graphs)
        return share_of(need, gpus(), run.workers)

    @property
    def device_of_workers(self) -> str:
        """Where students train."""
        return "cuda" if self.settings.run.gpus_per_trial != 0 else "cpu"

    @property
    def device(self) -> str:
        """Where this process trains and measures teachers: on a GPU where the study asks for one and there is one."""
        return self.device_of_workers if torch.cuda.is_available() else "cpu"

    # ---- preparation ------------------------------------------------------------------------------------------------

    def teachers(self, progress: Progress = silent) -> dict[str, Teacher]:
        """The frozen teachers: the catalogue's, then the ladder's assistants as far as recipes can ask for them."""
        ladder = self.settings.ladder
        wanted = {name for recipe in self.recipes for name in recipe.teachers} | {*self.settings.roster.ladder}
        taps = self.catalogue.architecture(self.drawn[0][0]).taps
        teachers = make_teachers(
            self.settings.teachers,
            ladder,
            lambda: self.smallest,
            wanted,
            self.dataset,
            self.assets,
            look=lambda found: require_open(self.recipes, found, taps),
            device=self.device,
            seed=self.shared_seed,
            say=lambda text: progress(Event("prepare", text)),
        )
        require_open(self.recipes, teachers, taps)
        return teachers

    @property
    def seed(self) -> int:
        """The root of the search's random numbers: what is proposed, and with it how it is trained."""
        return self.settings.search.seed

    @property
    def shared_seed(self) -> int:
        """The root of what studies share whatever their search seed: splits, teachers, views (``data.seed``)."""
        return int(self.dataset.spec["seed"])

    @one_thread()
    def prepare(self, runner: Runner, progress: Progress = silent) -> Preparation:
        """Makes or finds everything that the search reads. Raises for whatever cannot work, before any training."""
        settings = self.settings
        self.require_sound()
        if self.device != self.device_of_workers:
            progress(Event("prepare", "no GPU here: teachers that are not there yet are trained on one processor"))
        teachers = self.teachers(progress)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what their training took here is the workers' now
        training = settings.training
        looks = self.prepare_knowledge(teachers, self.shared_seed, runner, progress)
        make_facts(settings.roster, teachers, self.dataset, self.assets, self.recipes)
        main = teachers[settings.teacher]
        slowest = 2 * self.latencies()[-1] if settings.timed else None
        objectives = with_references(settings.objectives, self.probes, main.metrics, len(self.dataset.classes), slowest)
        problem = make_problem(
            self.catalogue,
            objectives,
            settings.budget.rungs,
            settings.budget.trials,
            self.seed,
            structural(self.space),
        )
        setup = TrialSetup(
            data=self.dataset.spec,
            fingerprint=self.dataset.fingerprint,
            training=training,
            epochs=settings.budget.epochs,
            rungs=settings.budget.rungs,
            space=self.space,
            teachers={name: teacher.key for name, teacher in teachers.items()},
            roster=informed(settings.roster, teachers),
            artifacts=str(self.assets.root),
            seed=self.shared_seed,
            owner=digest([settings.store, settings.study]),
            device=self.device_of_workers,
            measured=tuple(o.name for o in objectives if not o.exact),
            cuda_graphs=settings.run.cuda_graphs,
        )
        return Preparation(self.dataset, teachers, objectives, problem, self.catalogue, setup, looks)

    def prepare_knowledge(
        self, teachers: Mapping[str, Teacher], seed: int, runner: Runner, progress: Progress
    ) -> dict[str, float]:
        """Makes or finds what every teacher says of a view bank; the seconds that each took for it."""
        bank = bank_of(self.dataset, self.settings.training.views or self.settings.budget.epochs, seed)
        seconds, form = {}, Form(top=self.settings.training.top_k)
        for name, teacher in teachers.items():
            progress(Event("prepare", f"what {name} says of {bank.views} views"))
            seconds[name] = Knowledge.ensure(
                self.assets, teacher, bank, map=runner.map, form=form, device=self.device_of_workers
            ).seconds
        return seconds

    def require_sound(self) -> None:
        """Raises for what can be known to be wrong before any training: GPUs, limits, recipes."""
        require_gpus(self.settings.run)
        require_feasible(self.settings.objectives, self.probes)
        require_data(self.recipes, self.dataset, self.settings.budget.epochs)

    @cached_property
    def recipes(self) -> list[Recipe]:
        """The kinds of recipe that random draws give. Raises `ConfigError` for one that cannot be put together."""
        import numpy as np

        require_entries(self.space.recipe)
        rng = np.random.default_rng((self.seed, 11))
        found = [read_recipe(self.space.sample(rng), self.settings.roster) for _ in range(RECIPES)]
        return list({(recipe.name, recipe.teachers, recipe.method.needs): recipe for recipe in found}.values())

    # ---- the search -------------------------------------------------------------------------------------------------

    def run(self, progress: Progress = silent) -> Study:
        """Searches until the budget is spent; called again after a crash, it goes on where it was."""
        require_earlier(self.settings, self.space.to_json())
        if isinstance(self.settings.run.gpus_per_trial, str):
            self.require_sound()
            self.teachers(progress)  # before any worker, whose share they decide
        with self.runner() as runner:
            load = partial(warm_up, dict(self.settings.data))
            runner.warm(load)  # workers take seconds to start, in which the store is opened and teachers are found
            with self.open_store() as store:
                for line in store.repaired:
                    progress(Event("resume", line))
                options = options_of(self.settings, self.space.to_json(), store, self.assets)
                prepared = self.prepare(runner, progress)
                leave_gpu(prepared.teachers.values())
                runner.warm(load)  # again, where they were lost over the knowledge
                driver, setup = self.driver(store, prepared, options, progress), prepared.setup
                runner.run(driver, lambda: TrialWorker(setup))
                driver.end()
        return self

    def driver(self, store: Store, prepared: Preparation, options: dict[str, Any], progress: Progress) -> StudyDriver:
        """Who asks, hands out and remembers; what was prepared is written beside the students first."""
        require_same_teachers(store, {name: teacher.key for name, teacher in prepared.teachers.items()})
        if self.settings.timed:
            for line in timed_elsewhere(store, device_model(torch.device(self.device))):
                progress(Event("resume", line))
        store.describe(self.provenance(prepared))
        self.remember_teachers(store, prepared)
        return StudyDriver(
            problem=prepared.problem,
            proposer=make_proposer(self.settings.search.proposer, **options),
            store=store,
            assets=self.assets,
            catalogue=prepared.catalogue,
            label=lambda c: prepared.setup.label(c, prepared.catalogue.describe(c).costs["params"]),
            retention=self.settings.retention,
            progress=progress,
            workers=self.settings.run.workers,
        )

    def open_store(self) -> Store:
        """The study's store as its one driver."""
        settings = self.settings
        return Store.create_or_open(
            settings.store,
            settings.study,
            self.resolved(),
            above_chance(settings.objectives, len(self.dataset.classes)),
            self.assets,
            rungs=settings.budget.rungs,
            domains={name: param.domain for name, param in self.space.params.items()},
        )

    def resolved(self) -> dict[str, Any]:
        """Everything that decides what the study finds: settings, the spaces themselves, the data's fingerprint."""
        return {
            **self.settings.resolved(),
            "spaces": self.space.to_json(),
            "data_fingerprint": self.dataset.fingerprint,
        }

    def provenance(self, prepared: Preparation) -> dict[str, Any]:
        """What was made for this study, what it cost, and what it rests on, to be stored with it."""
        return {
            "teachers": {name: teacher.key for name, teacher in prepared.teachers.items()},
            "objectives": [objective.to_json() for objective in prepared.objectives],
            "validation_images": len(self.dataset.validation.y),
            "shared": shared_costs(prepared.teachers, prepared.looks),
            "papers": papers(recipe.name for recipe in self.recipes),
        }

    def remember_teachers(self, store: Store, prepared: Preparation) -> None:
        """Writes the teachers as reference rows beside the front."""
        for name, teacher in prepared.teachers.items():
            kind = "teacher" if name in self.settings.teachers else "assistant"
            store.set_reference(name, {"kind": kind, "method": kind, **teacher.costs, **teacher.metrics})

    def ledger(self) -> dict[str, list[dict[str, Any]]]:
        """Seconds of every student in three columns, and the users of every teacher (see `report.ledger`)."""
        with Store.read(self.settings.store, self.settings.study, self.assets) as store:
            return ledger(store.rows(), store.described().get("shared", {}))

    # ---- answers ----------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """The Pareto front as plain rows, read from the store while or after the study runs."""
        with Store.read(self.settings.store, self.settings.study, self.assets) as store:
            return store.front()

    def front(self) -> pd.DataFrame:
        """The Pareto front as a data frame, one student a row."""
        from autostudent.report.frames import front_frame

        return front_frame(self.rows())

    @one_thread()
    def check(self, progress: Progress = silent) -> CheckReport:
        """Looks at data, teachers, space and budget, and estimates the time, without writing to the store."""
        settings = self.settings
        self.require_sound()
        require_earlier(settings, self.space.to_json())
        teachers = self.teachers(progress)
        sizes = {}
        for name in ("params", "macs", "memory_bytes"):
            values = sorted(probe.costs[name] for probe in self.probes if probe.feasible)
            sizes[name] = (values[0], values[len(values) // 2], values[-1])
        sizes |= {LATENCY: self.latencies()} if settings.timed else {}
        data = {
            "name": self.dataset.name,
            "classes": len(self.dataset.classes),
            "shape": self.dataset.shape,
            "train": len(self.dataset.train.y),
            "validation": len(self.dataset.validation.y),
        }
        rows = [{"name": name, **teacher.metrics, **teacher.costs} for name, teacher in teachers.items()]
        objectives = [objective.to_json() for objective in settings.objectives]
        share = sum(probe.feasible for probe in self.probes) / len(self.probes)
        gpu = asdict(self.share) if settings.run.gpus_per_trial != 0 else None
        return CheckReport(data, rows, sizes, share, self.estimate(), objectives, gpu)

    def estimate(self) -> float:
        """Seconds that the search will take, from a few timed steps of a median student on this machine.

        Workers need `STARTUP_S` before the first segment; distilling and scoring take `OVERHEAD` times plain training.
        """
        budget, workers = self.settings.budget, self.settings.run.workers
        feasible = sorted((d.costs["macs"], c.key, c) for c, d in self.drawn if d.feasible)
        graph = self.catalogue.architecture(feasible[len(feasible) // 2][2])
        epoch = epoch_seconds(graph, self.dataset, self.settings.training.batch_size, self.device, self.seed)
        return STARTUP_S + OVERHEAD * epoch * epochs_of(budget.rungs, budget.trials) / workers
