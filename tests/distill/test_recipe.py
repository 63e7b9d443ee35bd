"""From flat configurations to methods: names, teachers, hyperparameters, and what is refused with which reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from autostudent.distill.methods.ces_kd import CESKD
from autostudent.distill.methods.ctkd import CTKD
from autostudent.distill.methods.eskd import ESKD
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.takd import TAKD
from autostudent.distill.recipe import read_recipe
from autostudent.errors import ConfigError
from autostudent.records import Value
from autostudent.space.files import read_file
from autostudent.space.params import Param

LADDER = ("main", "ta1", "ta2")


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
        ({"kd.loss": "kd", "kd.stop": 0.5}, "eskd(kd)", ("main",)),
        ({"kd.loss": "kd", "kd.stop": 1.0}, "kd", ("main",)),
        ({"kd.loss": "dgkd"}, "dgkd", LADDER),
        ({"kd.loss": "ca_mkd"}, "ca_mkd", LADDER),
        ({"kd.loss": "dml"}, "dml", ()),
        ({"kd.loss": "self_kd", "self_kd.generations": 2}, "self_kd", ()),
        ({"kd.loss": "amal"}, "amal", ("main",)),
        ({"kd.loss": "amal", "teach.scheme": "all"}, "amal", LADDER),
    ],
)
def test_parts_are_put_together_and_named(config: dict[str, Value], name: str, teachers: tuple[str, ...]) -> None:
    recipe = read_recipe(config, LADDER)

    assert (recipe.name, recipe.teachers) == (name, teachers)


def test_hyperparameters_come_from_the_method_then_from_what_methods_share_then_from_defaults() -> None:
    config: dict[str, Value] = {"kd.loss": "kd", "kd.temperature": 3.0, "kd.weight": 0.5}
    shared = read_recipe(config, LADDER)
    own = read_recipe({**config, "teach.scheme": "experts", "ces_kd.start": 1.0, "kd.stop": 0.4}, LADDER)

    assert shared.method == KD(temperature=3.0, weight=0.5)
    assert own.method == ESKD(stop=0.4, inner=CESKD(start=1.0, inner=KD(temperature=3.0, weight=0.5)))
    assert read_recipe({"kd.loss": "kd", "kd.curriculum": "ctkd"}, LADDER).method == CTKD(inner=KD())
    assert read_recipe({"kd.loss": "kd", "teach.scheme": "ladder"}, LADDER).method == TAKD(inner=KD())


def test_optimiser_settings_and_papers_travel_with_the_recipe() -> None:
    recipe = read_recipe({"kd.loss": "none", "optim.lr": 0.05, "optim.weight_decay": 1e-4, "optim.smoothing": 0.1}, ())
    cited = [paper.arxiv for paper in read_recipe({"kd.loss": "kd", "kd.curriculum": "ctkd"}, LADDER).papers]

    assert (recipe.lr, recipe.weight_decay, recipe.smoothing) == (0.05, 1e-4, 0.1)
    assert cited == ["2211.16231", "1503.02531"]


def test_whole_numbers_written_as_floats_stay_whole() -> None:
    recipe = read_recipe({"kd.loss": "self_kd", "self_kd.generations": 2.0}, ())

    assert len(recipe.method.plan(None).stages) == 3  # type: ignore[arg-type]


def test_entries_of_the_student_are_left_alone() -> None:
    assert read_recipe({"kd.loss": "kd", "top.p": 0.5, "params.target": 1e4}, LADDER).name == "kd"


@pytest.mark.parametrize(
    ("config", "ladder", "message"),
    [
        ({"kd.loss": "kdd"}, LADDER, "did you mean 'kd'"),
        ({"kd.loss": "takd"}, LADDER, "teach.scheme"),
        ({"kd.loss": "kd", "kd.temperatur": 2.0}, LADDER, "did you mean 'kd.temperature'"),
        ({"kd.loss": "kd", "ces_kd.start": 1.0}, LADDER, "ces_kd.start"),
        ({"kd.loss": "kd", "kd.weight": 1.5}, LADDER, "0.0 to 1.0"),
        ({"kd.loss": "kd", "teach.scheme": "ladders"}, LADDER, "did you mean 'ladder'"),
        ({"kd.loss": "kd", "teach.scheme": "ladder", "teach.rung": 3}, LADDER, "1 to 2"),
        ({"kd.loss": "kd", "teach.scheme": "ladder"}, ("main",), "no assistants"),
        ({"kd.loss": "kd", "teach.scheme": "experts"}, ("main",), "no assistants"),
        ({"kd.loss": "kd"}, (), "the study has none"),
        ({"kd.loss": "none", "teach.scheme": "single"}, LADDER, "no frozen teacher"),
        ({"kd.loss": "tf_nkd", "kd.curriculum": "ctkd"}, LADDER, "temperature"),
        ({"kd.loss": "ca_mkd"}, ("main",), "at least 2"),
        ({"kd.loss": "dgkd"}, ("main",), "at least 2"),
        ({"kd.loss": "ca_mkd", "teach.scheme": "single"}, LADDER, "at least 2"),
        ({"kd.loss": "ca_mkd", "teach.scheme": "experts"}, LADDER, "at least 2"),
        ({"kd.loss": "kd", "teach.scheme": "all"}, LADDER, "exactly 1"),
        ({"kd.loss": "sokd", "teach.scheme": "experts"}, LADDER, "logits of one frozen teacher"),
        ({"kd.loss": "kd", "kd.curriculum": "cosine"}, LADDER, "fixed"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_reason(
    config: Mapping[str, Value], ladder: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(config, ladder)


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
    ladder = LADDER if file == "kd_basic" else ("main",)
    found = Counter(read_recipe(draw(params, rng), ladder).name for _ in range(1000))

    assert set(found) == names
    assert min(found.values()) > 0.8 * 1000 / len(names)
