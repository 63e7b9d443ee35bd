"""All frozen teachers of a study: its catalogue, the families of its ladder, and what is derived from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from autostudent.assets import Assets
from autostudent.data.datasets import Dataset
from autostudent.distill.methods.ces_kd import CESKD
from autostudent.distill.recipe import Recipe, layers
from autostudent.distill.types import NetworkInfo, Spec, TeacherCopy, TopOf
from autostudent.errors import ConfigError, unknown_name
from autostudent.settings import LadderSettings, Roster
from autostudent.teach.derived import FACTS, Facts
from autostudent.teach.ensemble import WEIGHTS, EnsembleWeights
from autostudent.teach.hint_points import HintPoints, offered
from autostudent.teach.ladder import ladder as assistants_below
from autostudent.teach.teacher import Teacher
from autostudent.teach.teachers import check_spec, resolve
from autostudent.teach.training import Say, silent

FAMILIES = {"chain": "ta", "flat": "flat", "dense": "dense"}
"""How the names of a family's assistants begin."""


def make_teachers(
    specs: Mapping[str, Mapping[str, Any]],
    ladder: LadderSettings | None,
    smallest: Callable[[], int],
    wanted: Collection[str],
    dataset: Dataset,
    assets: Assets,
    *,
    look: Callable[[Mapping[str, Teacher]], object] = lambda found: None,
    device: str = "cpu",
    seed: int = 0,
    say: Say = silent,
) -> dict[str, Teacher]:
    """Makes or finds the teachers of a catalogue, then the families of assistants that recipes can ask for.

    Args:
        specs: of the catalogue, by name (see `autostudent.teach.teachers.resolve`).
        ladder: the study's; None for no assistants.
        smallest: parameters of the smallest student, asked for when the ladder does not say.
        wanted: names of assistants that recipes can ask for; families are made as far down as these reach.
        dataset: what the teachers learn and are measured on.
        assets: where they are kept.
        look: called with those teachers that need no training, before any is trained; it may raise.
        device: where they are trained and will run.
        seed: of their training.
        say: told what is being done.

    Raises:
        ConfigError: for an entry that is wrong, or a ladder that cannot be made.
        TeacherError: for weights that cannot be read or do not fit.
    """
    kinds = {name: check_spec(name, spec) for name, spec in specs.items()}
    lasts: dict[str, int] = {}
    for family, first in FAMILIES.items() if ladder is not None else ():
        numbers = [int(name.removeprefix(first)) for name in wanted if name.startswith(first) and name not in specs]
        lasts |= {family: max(numbers)} if numbers else {}
    if ladder is not None and ladder.chain == "dp" and lasts.get("chain", 0) > 1 and len(dataset.meta) == 0:
        raise ConfigError("ladder.chain", "dp", "full: the data has no meta split to choose on; see data.meta")
    found: dict[str, Teacher] = {}
    for trained in (False, True):  # what is brought first: it can be looked at before anything is trained
        names = [name for name, kind in kinds.items() if (kind == "resnet") is trained]
        found |= {name: resolve(name, specs[name], dataset, assets, device, seed, say) for name in names}
        if not trained:
            look(found)
    found = {name: found[name] for name in specs}
    if ladder is None or not lasts:
        return found
    size, top = ladder.smallest or smallest(), found[ladder.of]
    for family, last in lasts.items():
        found |= assistants_below(
            top, ladder.assistants, size, dataset, assets, family=family, spacing=ladder.spacing,
            chain=ladder.chain, last=last, device=device, seed=seed, say=say,
        )  # fmt: skip
    return found


def informed(roster: Roster, teachers: Mapping[str, Teacher]) -> Roster:
    """The roster with what is known of its ladder now that teachers were made."""
    made = {name: teachers[name] for name in roster.ladder if name in teachers}
    return replace(roster, figures={name: (t.costs["params"], t.metrics["accuracy"]) for name, t in made.items()})


def make_facts(
    roster: Roster, teachers: Mapping[str, Teacher], dataset: Dataset, assets: Assets, recipes: Iterable[Recipe] = ()
) -> None:
    """Makes or finds the derived facts about the teachers that were made, and the hint points that recipes need."""
    chain = [teachers[name] for name in roster.ladder if name in teachers]
    Facts(assets, dataset, tuple(teacher.key for teacher in chain)).ensure(chain)
    flat = [teachers[name] for name in roster.flat if name in teachers]
    EnsembleWeights(assets, dataset, tuple(teacher.key for teacher in flat)).ensure(flat)
    looked_into = {name for recipe in recipes if recipe.method.needs.of_teachers for name in recipe.teachers}
    for name in sorted(looked_into & teachers.keys()):
        HintPoints(assets, dataset, teachers[name].key).ensure(teachers[name])


def require_data(recipes: Iterable[Recipe], dataset: Dataset, epochs: int) -> None:
    """Raises `ConfigError` when the data, or a training of ``epochs``, does not have what a recipe needs.

    That is a meta split, to learn from or to be weighed on, pictures that are not mixed with others, or an epoch for
    every generation. Likewise for a fact about the data that is not among those that are derived.
    """
    for recipe in recipes:
        needs = recipe.method.needs
        for fact in needs.derived:
            if fact not in (*FACTS, *WEIGHTS):
                raise unknown_name(f"method {recipe.name}: needs.derived", fact, (*FACTS, *WEIGHTS))
        if needs.meta_split and len(dataset.meta) == 0:
            raise ConfigError("data.meta", 0, f"a share above 0: {recipe.name} needs a meta split")
        if needs.one_label and dataset.augment.mixup:
            allowed = f"0: {recipe.name} needs pictures of one class"
            raise ConfigError("data.augment.mixup", dataset.augment.mixup, allowed)
        if epochs < needs.epochs:
            allowed = f"at least {needs.epochs}: {recipe.name} trains that many networks one after another"
            raise ConfigError("budget.epochs", epochs, allowed)


def require_open(recipes: Iterable[Recipe], teachers: Mapping[str, Teacher], student: Collection[str]) -> None:
    """Raises `ConfigError` when a recipe looks deeper into a teacher, or a student, than it lets anyone look.

    Likewise when its experts do not fall in size. Teachers that are not among ``teachers`` are not made yet.
    ``student``: the taps that every student promises.
    """
    for recipe in recipes:
        sizes = [teachers[name].costs["params"] for name in recipe.teachers if name in teachers]
        experts = any(isinstance(layer, CESKD) for layer in layers(recipe.method))
        if experts and sizes != sorted(sizes, reverse=True):
            allowed = "the largest first: among experts the last, taken for the smallest, teaches the easy pictures"
            raise ConfigError("teachers", ", ".join(recipe.teachers), allowed)
        needs = recipe.method.needs
        for tap in needs.taps:
            if tap not in student:
                raise ConfigError("space.students", f"no {tap}", f"students that let {recipe.name} look there")
        if needs.access not in ("taps", "heads"):
            continue
        known = [name for name in recipe.teachers if name in teachers]
        for name in known:
            info = teachers[name].info
            shown = offered(teachers[name])
            missing = [tap for tap in needs.teacher_taps if tap not in shown]
            headless = "penultimate" not in shown and (needs.access == "heads" or not needs.taps)
            if headless or missing:
                lacks = ", ".join(missing) or "linear head"
                raise ConfigError(f"teachers.{name}", f"no {lacks}", f"a teacher that lets {recipe.name} look inside")
            unfit = [tap for tap in needs.taps if needs.access == "heads" and info.taps[tap][0] != info.width]
            if unfit:
                given = f"{info.taps[unfit[0]][0]} channels at {unfit[0]}"
                raise ConfigError(
                    f"teachers.{name}",
                    given,
                    f"{info.width}, what its head takes: {recipe.name} applies the head there",
                )

        if len(known) == len(recipe.teachers):
            require_cuts(recipe, [teachers[name] for name in known], student)


def require_cuts(recipe: Recipe, teachers: Sequence[Teacher], student: Collection[str]) -> None:
    """Raises `ConfigError` when the recipe trains the upper layers of a teacher that cannot be cut there."""
    infos = tuple(teacher.info for teacher in teachers)
    classes = infos[0].classes
    own = NetworkInfo("student", classes, 0, 0, dict.fromkeys(student, (0, 0)))
    stages = recipe.method.plan(Spec(own, infos, classes, 0, 0)).stages
    for model in (role.model for stage in stages for role in stage.roles):
        if isinstance(model, TeacherCopy) and not teachers[model.teacher].known:
            wanted = f"a teacher whose architecture is known: {recipe.name} trains it anew"
            raise ConfigError(f"teachers.{teachers[model.teacher].name}", "a plug-in", wanted)
        if isinstance(model, TopOf):
            teacher = teachers[model.teacher]
            try:
                with torch.random.fork_rng(devices=[]):
                    teacher.module.top(model.tap)  # type: ignore[operator]
            except (AttributeError, ConfigError):
                wanted = f"a network of this package that can be cut there: {recipe.name} copies the layers above"
                raise ConfigError(f"teachers.{teacher.name}", f"no cut at {model.tap}", wanted) from None


def rests_on(teacher: Teacher) -> Sequence[str]:
    """Keys of the teachers without which there would not be this one."""
    keys: Sequence[str] = teacher.about.get("rests_on", teacher.about.get("parents", ()))
    return keys


def shared_costs(teachers: Mapping[str, Teacher], looks: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Of every teacher its ``seconds``, training and ``looks`` at the view bank, and whom it was ``taught_by``."""
    names = {teacher.key: name for name, teacher in teachers.items()}
    return {
        name: {
            "seconds": teacher.seconds + looks.get(name, 0.0),
            "taught_by": [names[key] for key in rests_on(teacher) if key in names],
        }
        for name, teacher in teachers.items()
    }
