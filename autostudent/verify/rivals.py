"""Rivals: hand-designed networks that are taught plainly, for a searched student to beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from autostudent.errors import ConfigError, InvalidDraw, TeacherError
from autostudent.measure.latency import alone, measure_latency
from autostudent.records import LATENCY, Candidate, Objective, Value, digest
from autostudent.report.words import AXES, cost
from autostudent.settings import RivalSettings
from autostudent.space.architecture import Architecture, freeze
from autostudent.space.cost import costs
from autostudent.space.space import load_space
from autostudent.teach.origin import blank, torchvision_origin
from autostudent.verify.contenders import TRIES, Contender, optimiser
from autostudent.verify.networks import costs_of
from autostudent.verify.tasks import VerifyTask

if TYPE_CHECKING:
    from autostudent.study import Study

LIKE = 0.7  # a rival has at least this share of the student's parameters, and at most as many
AUXILIARY = ("googlenet", "inception_v3")  # with heads that serve training alone, and that nothing here trains
SMALL = ("shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5", "mobilenet_v3_small")  # torchvision's smallest

Say = Callable[[str], None]
Train = Callable[[Sequence[VerifyTask]], list[dict[str, Any]]]


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
    recipe, how = plainly(student)
    return [
        Contender(f"ResNet {name[:6]}", "rival", how, (graph.to_json(),), recipe, (rival_key(name),), student.epochs)
        for name, graph in graphs.items()
    ]


def plainly(student: Contender) -> tuple[dict[str, Value], str]:
    """Plain distillation from the main teacher with the student's optimiser, as a recipe and in words."""
    tuned = student.config.get("kd.loss") == "kd"
    own = ("kd.temperature", "kd.weight", "kd.kl_reduction")
    knobs = {name: student.config[name] for name in own if tuned and name in student.config}
    return {**optimiser(student), "kd.loss": "kd", **knobs}, f"kd, optimised like {student.name}"


def rival_key(fingerprint: str) -> str:
    """What the training seeds of a hand-designed network derive from."""
    return digest({"rival": fingerprint})


def rival_of(study: Study, student: Contender, train: Train, say: Say) -> Contender:
    """The best of the student's rivals: each is trained once (replicate 0) and compared on the validation split."""
    field = rivals_of(study, student)
    say(f"{len(field)} plain ResNets of at most {student.costs['params']:,} parameters, compared on validation")
    outcomes = train([entry.tasks(1, None, first=0)[0] for entry in field])
    scores = [outcome["validation"]["accuracy"] if "validation" in outcome else -1.0 for outcome in outcomes]
    return dataclasses.replace(field[scores.index(max(scores))], name=f"plain ResNet like {student.name}")


def torchvision_models(study: Study, say: Say) -> dict[str, dict[str, Any]]:
    """Origins, by name, of the study's torchvision models that respect its limits; `SMALL` where it names none.

    ``say`` hears of each that is left out, and why: it cannot read pictures of this size, or costs too much.

    Raises:
        ConfigError: torchvision has no classifier of that name.
    """
    settings = study.settings.rivals or RivalSettings()
    found = {}
    for name in SMALL if settings.torchvision is None else settings.torchvision:
        origin = torchvision_origin({"torchvision": name, "normalize": "data"}, study.dataset, "rivals")
        if name in AUXILIARY:
            origin["auxiliary"] = False
        try:
            why = over(origin, study.settings.objectives, torch.device(study.device))
        except TeacherError as error:
            why = str(error)
        if why:
            say(f"{name} is no rival here: {why}")
        else:
            found[name] = origin
    return found


def over(origin: Mapping[str, Any], objectives: Sequence[Objective], device: torch.device) -> str:
    """The first limit that a foreign network breaks, in words; "" for none. Latency is measured where it is limited."""
    prices: dict[str, float] = dict(costs_of(origin))
    if any(objective.name == LATENCY and objective.limit is not None for objective in objectives):
        with alone(device):
            x = torch.zeros(1, *origin["shape"], device=device)
            prices[LATENCY] = measure_latency(blank(origin, 0).to(device), x).median_ms
    for objective in objectives:
        price = prices.get(objective.name)
        if price is not None and not objective.admits(price):
            limit = cost(objective.name, objective.limit)
            return f"{cost(objective.name, price)} {AXES[objective.name]}, more than {limit}"
    return ""


def torchvision_rivals(models: Mapping[str, Mapping[str, Any]], student: Contender) -> list[Contender]:
    """The models (`torchvision_models`) as contenders: trained from scratch, taught like the plain ResNets."""
    recipe, how = plainly(student)
    return [
        Contender(f"{name} beside {student.name}", "rival", how, (origin,), recipe, (rival_key(name),), student.epochs)
        for name, origin in models.items()
    ]
