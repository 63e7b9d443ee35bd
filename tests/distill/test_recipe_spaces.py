"""The recipe spaces that ship: every draw is a recipe, every method can be drawn, every knob lies in its range."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from autostudent.config import load_study
from autostudent.distill.method import knobs
from autostudent.distill.methods import METHODS
from autostudent.distill.recipe import OPTIM, QUESTIONS, Recipe, layers, method_id, read_recipe
from autostudent.problem import make_problem, structural
from autostudent.propose import make
from autostudent.records import Value
from autostudent.settings import LadderSettings, Roster, roster_of
from autostudent.space.domains import Choice
from autostudent.space.files import extremes
from autostudent.space.space import Space, load_space

TEACHERS = {
    "main": {"resnet": {}},
    "compressed": {"resnet": {}, "early_stopped": {"share": 0.25}},
    "checkpoint": {"resnet": {}, "early_stopped": {"share": 0.5, "schedule": "checkpoint"}},
    "sweet1": {"resnet": {}, "sweet_spot": {}},
    "sweet2": {"resnet": {}, "sweet_spot": {}},
}
ALL = roster_of(TEACHERS, LadderSettings("main", 2))
ALONE = roster_of({"main": {"resnet": {}}}, None)
LADDER = roster_of({"main": {"resnet": {}}}, LadderSettings("main", 2))
SPACES = {
    "kd_all": ALL,
    "kd_logit": ALONE,
    "kd_teachers": LADDER,
    "kd_basic": LADDER,
    "kd_single": ALONE,
    "kd_features": ALONE,
    "kd_black_box": ALONE,
}
FEATURES = {"fitnets", "at", "sp", "rkd", "pursuhint", "modality_gram"}  # in a space of their own
WHOLE = ("kd_all", "kd_features")  # that together search everything

LEFT_OUT = {
    "teacher_sweet_spot.permute": "the paper's control: it destroys what the teacher knows",
    "continuation_kd.class_reduction": "the unit of the margin, which is searched",
    "kd.kl_reduction": "a factor of the weight, which is searched",
    "dgkd.kl_reduction": "a factor of the weight, which is searched",
    **dict.fromkeys((f"{name}.labels" for name in FEATURES), "one factor of all terms, which the learning rate is too"),
    "modality_gram.width": "the sketch of a cosine: wide enough",
    "ctkd.lowest": "1 wherever the method was used; the span moves the temperature",
}

SHARING = ("kd", "dkd", "nkd")  # losses whose temperature is one variable


@pytest.fixture(params=SPACES)
def case(request: pytest.FixtureRequest) -> tuple[Space, Roster]:
    return load_space("hnag_tiny", request.param), SPACES[request.param]


def draws(space: Space, count: int, seed: int = 0) -> Iterator[dict[str, Value]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield space.sample(rng)


def ids(recipe: Recipe) -> set[str]:
    return {method_id(method) for method in layers(recipe.method)}


def test_every_draw_is_a_recipe_and_reaches_the_proposer_whole(case: tuple[Space, Roster]) -> None:
    space, roster = case
    for config in draws(space, 200):
        space.check(config)
        read_recipe(config, roster)
        row = space.encode(config)
        assert row.shape == (len(space.names),)
        assert [name for name, x in zip(space.names, row, strict=True) if not np.isnan(x)] == list(config)
        again = space.decode(row)
        assert again.keys() == config.keys()
        assert read_recipe(again, roster).name == read_recipe(config, roster).name


def test_every_neighbour_of_a_recipe_is_one(case: tuple[Space, Roster]) -> None:
    space, roster = case
    rng = np.random.default_rng(1)
    config = space.sample(rng)
    for _ in range(200):
        config = space.mutate(config, rng, space.recipe)
        space.check(config)
        read_recipe(config, roster)


def test_every_method_can_be_drawn() -> None:
    for name, expected in (("kd_all", set(METHODS) - FEATURES), ("kd_features", FEATURES | {"none", "kd", "eskd"})):
        space = load_space("hnag_tiny", name)
        found = set().union(*(ids(read_recipe(config, ALL)) for config in draws(space, 1500)))

        assert found == expected


def test_every_teacher_can_be_drawn() -> None:
    space = load_space("hnag_tiny", "kd_all")
    found = {name for config in draws(space, 1500) for name in read_recipe(config, ALL).teachers}

    assert found == {*TEACHERS, "ta1", "ta2", "flat1", "flat2", "dense2"}


def test_ranges_stay_within_those_of_the_methods(case: tuple[Space, Roster]) -> None:
    space, _ = case
    for name in set(space.recipe) - {*QUESTIONS, *OPTIM}:
        room, knob = name.split(".")
        methods = [METHODS[id] for id in ({"temperature": SHARING}.get(knob, ("kd",)) if room == "kd" else (room,))]
        for value in extremes(space.params[name]):
            for method in methods:
                allowed = dict_of(method)[knob]
                if allowed["choices"]:
                    assert value in allowed["choices"], name
                else:
                    assert allowed["low"] <= float(value) <= allowed["high"], name


def test_every_knob_is_searched_or_left_out_for_a_reason() -> None:
    searched = {knob for name in WHOLE for knob in load_space("hnag_tiny", name).recipe}
    shared = {f"{name}.temperature" for name in SHARING} | {"eskd.stop"}
    missing = {
        f"{name}.{knob}" for name, method in METHODS.items() for knob, _, _ in knobs(method) if knob != "inner"
    } - searched

    assert missing - shared == {*LEFT_OUT}
    assert searched >= {"kd.temperature", "kd.stop"}


def dict_of(method: type) -> dict[str, dict]:
    return {name: allowed for name, _, allowed in knobs(method)}


@pytest.mark.parametrize("part", ["kd_logit", "kd_teachers"])
def test_smaller_spaces_are_parts_of_the_whole(part: str) -> None:
    whole, small = load_space("hnag_tiny", "kd_all"), load_space("hnag_tiny", part)
    for name in small.recipe:
        mine, theirs = small.params[name].domain, whole.params[name].domain
        if isinstance(mine, Choice) and isinstance(theirs, Choice):
            assert set(mine.values) <= set(theirs.values), name
        else:
            assert mine == theirs, name


def test_the_study_over_all_methods_tries_each_of_them() -> None:
    study = load_study(Path(__file__).parents[2] / "studies/digits_all_methods.yaml")
    budget, seed = study.settings.budget, study.settings.search.seed
    cover = structural(study.space)
    problem = make_problem(study.catalogue, study.settings.objectives, budget.rungs, budget.trials, seed, cover)
    asked = make(study.settings.search.proposer).ask(problem, [], budget.trials)
    recipes = [read_recipe(proposal.candidate.config, study.settings.roster) for proposal in asked]

    assert len(recipes) == 40
    assert set().union(*map(ids, recipes)) == set(METHODS) - FEATURES, (
        "the draws changed: give the study another search.seed"
    )
    assert {name for recipe in recipes for name in recipe.teachers} >= {*study.settings.teachers, "ta2", "flat2"}
    assert budget.rungs == (budget.epochs,)  # nobody is pruned
