"""From flat configurations to methods: names, teachers, hyperparameters, and what is refused with which reason."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from autostudent.distill.methods.ces_kd import CESKD
from autostudent.distill.methods.ctkd import CTKD
from autostudent.distill.methods.eskd import ESKD
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.takd import TAKD
from autostudent.distill.recipe import read_recipe, recipe_config
from autostudent.errors import ConfigError
from autostudent.records import Value
from autostudent.settings import LadderSettings, Roster, roster_of
from autostudent.space.files import read_file
from autostudent.space.params import Param

LADDER = ("main", "ta1", "ta2")
FLAT = ("flat1", "flat2")
DENSE = ("main", "ta1", "dense2")
FULL = roster_of(
    {
        "main": {"resnet": {}},
        "early": {"resnet": {}, "early_stopped": {}},
        "sweet": {"resnet": {}, "sweet_spot": {}},
        "other": {"resnet": {}},
    },
    LadderSettings("main", 2),
)
ALONE = roster_of({"main": {"resnet": {}}}, None)
NOBODY = Roster()


@pytest.mark.parametrize(
    ("config", "name", "teachers"),
    [
        ({}, "none", ()),
        ({"kd.loss": "none"}, "none", ()),
        ({"kd.loss": "kd"}, "kd", ("main",)),
        ({"kd.loss": "kd", "teach.scheme": "single"}, "kd", ("main",)),
        ({"kd.loss": "kd", "teach.scheme": "ladder", "teach.rung": 2}, "takd", ("ta2",)),
        ({"kd.loss": "dkd", "teach.scheme": "ladder", "teach.rung": 1}, "takd(dkd)", ("ta1",)),
        ({"kd.loss": "kd", "teach.scheme": "experts"}, "ces_kd", LADDER),
        ({"kd.loss": "kd", "kd.curriculum": "ctkd"}, "ctkd(kd)", ("main",)),
        ({"kd.loss": "nkd", "teach.scheme": "experts", "kd.curriculum": "ctkd"}, "ctkd(ces_kd(nkd))", LADDER),
        ({"kd.loss": "dist", "kd.curriculum": "ctkd", "kd.temperature": 2.0}, "ctkd(dist)", ("main",)),  # its factor
        ({"kd.loss": "kd", "kd.stop": 0.5}, "eskd(kd)", ("main",)),
        ({"kd.loss": "kd", "kd.stop": 1.0}, "kd", ("main",)),
        ({"kd.loss": "kd", "teach.scheme": "ensemble"}, "ta_ensemble", FLAT),
        ({"kd.loss": "dkd", "teach.scheme": "ensemble", "ta_ensemble.mix": "logits"}, "ta_ensemble(dkd)", FLAT),
        ({"kd.loss": "kd", "teach.source": "full"}, "kd", ("main",)),
        ({"kd.loss": "kd", "teach.source": "other"}, "kd", ("other",)),
        ({"kd.loss": "kd", "teach.source": "sweet"}, "teacher_sweet_spot", ("sweet",)),
        ({"kd.loss": "nkd", "teach.source": "sweet", "kd.stop": 0.5}, "eskd(teacher_sweet_spot(nkd))", ("sweet",)),
        ({"kd.loss": "kd", "teach.source": "early"}, "eskd(kd)", ("early",)),
        ({"kd.loss": "dml", "kd.stop": 0.5}, "eskd(dml)", ()),
        ({"kd.loss": "dgkd"}, "dgkd", DENSE),
        ({"kd.loss": "ca_mkd"}, "ca_mkd", LADDER),
        ({"kd.loss": "dml"}, "dml", ()),
        ({"kd.loss": "self_kd", "self_kd.generations": 2}, "self_kd", ()),
        ({"kd.loss": "amal"}, "amal", ("main",)),
        ({"kd.loss": "amal", "teach.scheme": "all"}, "amal", LADDER),
    ],
)
def test_parts_are_put_together_and_named(config: dict[str, Value], name: str, teachers: tuple[str, ...]) -> None:
    recipe = read_recipe(config, FULL)

    assert (recipe.name, recipe.teachers) == (name, teachers)


def test_hyperparameters_come_from_the_method_then_from_what_methods_share_then_from_defaults() -> None:
    config: dict[str, Value] = {"kd.loss": "kd", "kd.temperature": 3.0, "kd.weight": 0.5}
    shared = read_recipe(config, FULL)
    own = read_recipe({**config, "teach.scheme": "experts", "ces_kd.start": 1.0, "kd.stop": 0.4}, FULL)

    assert shared.method == KD(temperature=3.0, weight=0.5)
    assert own.method == ESKD(stop=0.4, inner=CESKD(start=1.0, inner=KD(temperature=3.0, weight=0.5)))
    assert read_recipe({"kd.loss": "kd", "kd.curriculum": "ctkd"}, FULL).method == CTKD(inner=KD())
    assert read_recipe({"kd.loss": "kd", "teach.scheme": "ladder"}, FULL).method == TAKD(inner=KD())


def test_optimiser_settings_and_papers_travel_with_the_recipe() -> None:
    recipe = read_recipe(
        {"kd.loss": "none", "optim.lr": 0.05, "optim.weight_decay": 1e-4, "optim.smoothing": 0.1}, NOBODY
    )
    cited = [paper.arxiv for paper in read_recipe({"kd.loss": "kd", "kd.curriculum": "ctkd"}, FULL).papers]

    assert (recipe.lr, recipe.weight_decay, recipe.smoothing) == (0.05, 1e-4, 0.1)
    assert cited == ["2211.16231", "1503.02531"]


def test_whole_numbers_written_as_floats_stay_whole() -> None:
    recipe = read_recipe({"kd.loss": "self_kd", "self_kd.generations": 2.0}, NOBODY)

    assert len(recipe.method.plan(None).stages) == 3  # type: ignore[arg-type]


def test_entries_of_the_student_are_left_alone() -> None:
    assert read_recipe({"kd.loss": "kd", "top.p": 0.5, "params.target": 1e4}, FULL).name == "kd"


@pytest.mark.parametrize(
    ("config", "roster", "message"),
    [
        ({"kd.loss": "kdd"}, FULL, "did you mean 'kd'"),
        ({"kd.loss": "takd"}, FULL, "teach.scheme"),
        ({"kd.loss": "kd", "kd.temperatur": 2.0}, FULL, "did you mean 'kd.temperature'"),
        ({"kd.loss": "kd", "ces_kd.start": 1.0}, FULL, "ces_kd.start"),
        ({"kd.loss": "kd", "kd.weight": 1.5}, FULL, "0.0 to 1.0"),
        ({"kd.loss": "kd", "teach.scheme": "ladders"}, FULL, "did you mean 'ladder'"),
        ({"kd.loss": "kd", "teach.scheme": "ladder", "teach.rung": 3}, FULL, "1 to 2"),
        ({"kd.loss": "kd", "teach.scheme": "ladder", "teach.rung": 1.5}, FULL, "1 to 2"),
        ({"kd.loss": "kd", "teach.scheme": "ladder", "teach.rung": "top"}, FULL, "1 to 2"),
        ({"kd.loss": "dml", "teach.rung": 1}, FULL, "no frozen teacher"),
        ({"kd.loss": "dgkd", "dgkd.drop": 1.5}, FULL, "a whole number from 0 to 4"),
        ({"kd.loss": "self_kd", "self_kd.generations": 1.5}, FULL, "a whole number from 1 to 5"),
        ({"kd.loss": "kd", "kd.stop": 1.5}, FULL, r"kd\.stop: got 1\.5; expected a number from 0\.0 to 1\.0"),
        ({"kd.loss": "kd", "kd.stop": "late"}, FULL, "a number from"),
        ({"kd.loss": "kd", "kd.stop": 0.5, "eskd.stop": 0.4}, FULL, r"kd\.stop'\?\)"),
        ({"kd.loss": "kd", "optim.lr": "fast"}, FULL, r"optim\.lr: got 'fast'; expected a number"),
        ({"kd.loss": "kd", "optim.lr": -0.1}, FULL, r"optim\.lr: got -0\.1; expected a number"),
        ({"kd.loss": "kd", "optim.weight_decay": -1e-4}, FULL, "a number from"),
        ({"kd.loss": "none", "optim.smoothing": 2.0}, FULL, "a number from"),
        ({"kd.loss": "kd", "teach.scheme": "ladder"}, ALONE, "no assistants"),
        ({"kd.loss": "kd", "teach.scheme": "experts"}, ALONE, "no assistants"),
        ({"kd.loss": "kd"}, NOBODY, "the study has none"),
        ({"kd.loss": "none", "teach.scheme": "single"}, FULL, "no frozen teacher"),
        ({"kd.loss": "tf_nkd", "kd.curriculum": "ctkd"}, FULL, "temperature"),
        ({"kd.loss": "ca_mkd"}, ALONE, "at least 2"),
        ({"kd.loss": "dgkd"}, ALONE, "at least 2"),
        ({"kd.loss": "ca_mkd", "teach.scheme": "single"}, FULL, "at least 2"),
        ({"kd.loss": "ca_mkd", "teach.scheme": "experts"}, FULL, "at least 2"),
        ({"kd.loss": "kd", "teach.scheme": "all"}, FULL, "exactly 1"),
        ({"kd.loss": "sokd", "teach.scheme": "experts"}, FULL, "logits of one frozen teacher"),
        ({"kd.loss": "kd", "kd.curriculum": "cosine"}, FULL, "fixed"),
        ({"kd.loss": "kd", "teach.scheme": "ensemble"}, ALONE, "no assistants"),
        ({"kd.loss": "kd", "teach.scheme": "ensemble"}, roster_of({"main": {}}, LadderSettings("main", 1)), "1 assist"),
        ({"kd.loss": "kd", "teach.scheme": "ensemble", "teach.source": "sweet"}, FULL, "single teacher"),
        ({"kd.loss": "kd", "teach.source": "late"}, FULL, "full, early, sweet, other"),
        ({"kd.loss": "kd", "teach.rung": 1}, FULL, "rung of the ladder"),
        ({"kd.loss": "none", "kd.stop": 0.5}, FULL, "no frozen teacher"),
        ({"kd.loss": "sokd", "teach.scheme": "ensemble"}, FULL, "logits of one frozen teacher"),
        ({"kd.loss": "kd", "teach.rule": "full_chain"}, FULL, "rung of the ladder"),
        ({"kd.loss": "kd", "teach.scheme": "ladder", "teach.rule": "best"}, FULL, "geometric_params"),
        ({"kd.loss": "kd", "teach.scheme": "ladder", "teach.rule": "full_chain", "teach.rung": 1}, FULL, "full_chain"),
        ({"kd.loss": "kd", "teach.scheme": "ladder", "teach.rule": "full_chain"}, ALONE, "no assistants"),
        ({"kd.loss": "kd", "kd.curriculum": "ctkd", "kd.temperature": 2.0}, FULL, "it is learned"),
        ({"kd.loss": "dkd", "kd.curriculum": "ctkd", "dkd.temperature": 2.0}, FULL, "it is learned"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_reason(
    config: Mapping[str, Value], roster: Roster, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(config, roster)


MADE = dataclasses.replace(
    roster_of({"main": {"resnet": {}}}, LadderSettings("main", 3)),
    figures={"main": (1e6, 0.95), "ta1": (1e5, 0.85), "ta2": (1e4, 0.75), "ta3": (1e3, 0.65)},
)


@pytest.mark.parametrize(
    ("rule", "params", "teachers"),
    [
        ("full_chain", 1e4, ("ta3",)),
        ("full_chain", None, ("ta3",)),
        ("geometric_params", 1e4, ("ta1",)),  # sqrt(1e6 * 1e4) = 1e5
        ("geometric_params", 1e2, ("ta2",)),
        ("geometric_params", 1e-1, ("ta3",)),
        ("acc_midpoint", 1e4, ("ta1",)),  # a tenth of the parameters costs .1 here: (.95 + .75) / 2
        ("acc_midpoint", 1e2, ("ta2",)),
        ("geometric_params", None, ("ta1", "ta2", "ta3")),
        ("acc_midpoint", None, ("ta1", "ta2", "ta3")),
    ],
)
def test_rules_choose_the_rung(rule: str, params: float | None, teachers: tuple[str, ...]) -> None:
    config = {"kd.loss": "kd", "teach.scheme": "ladder", "teach.rule": rule}

    assert read_recipe(config, MADE, params).teachers == teachers


def test_the_midpoint_goes_by_accuracy_and_not_by_size() -> None:
    uneven = {"main": (1e6, 0.95), "ta1": (1e5, 0.94), "ta2": (1e4, 0.93), "ta3": (1e3, 0.5)}
    roster = dataclasses.replace(MADE, figures=uneven)
    config: dict[str, Value] = {"kd.loss": "kd", "teach.scheme": "ladder", "teach.rule": "acc_midpoint"}
    # least squares over the four: .83 + .136 (log10 n - 4.5); at 1e2 that is .49, halfway to .95 is .72
    assert read_recipe(config, roster, 1e2).teachers == ("ta2",)
    assert read_recipe({**config, "teach.rule": "geometric_params"}, roster, 1e2).teachers == ("ta2",)
    # at 1e3 .626 and .788; sqrt(1e6 * 1e3) is as far from ta1 as from ta2
    assert read_recipe(config, roster, 1e3).teachers == ("ta2",)
    assert read_recipe({**config, "teach.rule": "geometric_params"}, roster, 1.1e3).teachers == ("ta1",)


def test_an_unmade_ladder_leaves_the_rung_open() -> None:
    config: dict[str, Value] = {"kd.loss": "kd", "teach.scheme": "ladder", "teach.rule": "geometric_params"}

    assert read_recipe(config, FULL, 1e4).teachers == ("ta1", "ta2")


def draw(params: tuple[Param, ...], rng: np.random.Generator) -> dict[str, Value]:
    config: dict[str, Value] = {}
    for param in params:
        if param.applies(config):
            config[param.name] = param.domain.sample(rng)
    return config


@pytest.mark.parametrize(
    ("file", "names"), [("kd_basic", {"none", "kd", "takd", "ces_kd"}), ("kd_single", {"none", "kd"})]
)
def test_random_draws_of_a_shipped_space_spread_evenly_over_its_recipes(file: str, names: set[str]) -> None:
    rng = np.random.default_rng(0)
    params = read_file(file, "recipe").params
    roster = FULL if file == "kd_basic" else ALONE
    found = Counter(read_recipe(draw(params, rng), roster).name for _ in range(1000))

    assert set(found) == names
    assert min(found.values()) > 0.8 * 1000 / len(names)


NAMES = [
    *("none", "kd", "dgkd", "dml", "takd", "ces_kd", "teacher_sweet_spot", "ta_ensemble(dkd)", "ctkd(kd)"),
    *("eskd(self_kd)", "eskd(ctkd(ces_kd(nkd)))"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_derived_name_leads_back_to_its_configuration(name: str) -> None:
    assert read_recipe(recipe_config(name, FULL), FULL).name == name


def test_ids_of_wrappers_stand_for_them_over_plain_distillation() -> None:
    assert {n: read_recipe(recipe_config(n, FULL), FULL).name for n in ("ctkd", "eskd", "takd")} == {
        "ctkd": "ctkd(kd)",
        "eskd": "eskd(kd)",
        "takd": "takd",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dkdd", "did you mean 'dkd'"),
        ("ces_kd(ctkd(kd))", r"ctkd\(ces_kd\), the order"),
        ("dkd(kd)", "dkd is a loss"),
        ("ces_kd(dml)", "no frozen teacher"),
    ],
)
def test_names_that_no_recipe_has_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_config(name, FULL)
