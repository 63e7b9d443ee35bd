"""Recipes that a study cannot teach are refused in one line, before anything is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from autostudent.assets import Assets
from autostudent.data.datasets import load
from autostudent.distill.fit import Fit
from autostudent.distill.methods.kd import KD
from autostudent.distill.recipe import read_recipe
from autostudent.distill.types import Needs
from autostudent.errors import ConfigError
from autostudent.settings import SpaceSettings, roster_of
from autostudent.teach.catalogue import require_data, require_open
from autostudent.teach.teachers import resolve
from autostudent.testing.studies import InlineStudy, small_settings
from autostudent.testing.toys import toy_job

CA_MKD = "kd.loss: {choice: [ca_mkd]}"
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "ca_mkd with one teacher": (CA_MKD, {"ladder": None}, "ca_mkd at least 2 teachers, not 1"),
    "amal without a meta split": ("kd.loss: {choice: [amal]}", {"meta": 0}, "data.meta: got 0.*amal needs a meta"),
    "an ensemble without a meta split": (
        "kd.loss: {choice: [kd]}, teach.scheme: {choice: [ensemble]}",
        {"meta": 0},
        "ta_ensemble needs a meta split",
    ),
    "an unknown knob": ("kd.loss: {choice: [kd]}, kd.temprature: {float: [1, 4]}", {}, "mean 'kd.temperature'"),
    "a knob of another loss": ("kd.loss: {choice: [kd]}, dkd.beta: {float: [1, 4]}", {}, "got 'dkd.beta'"),
    "a knob of no method": (
        "kd.loss: {choice: [kd]}, dkdd.beta: {float: [1, 4]}",
        {},
        r"dkdd\.beta: got 'dkdd'.*did you mean 'dkd'",
    ),
    "a range beyond the method's": ("kd.loss: {choice: [kd]}, kd.weight: {float: [1.5, 2]}", {}, "0.0 to 1.0"),
    "a source that is not there": (
        "kd.loss: {choice: [kd]}, teach.source: {choice: [sweet1]}",
        {},
        "teach.source: got 'sweet1'.*add sweet1 to the study's teachers",
    ),
    "a curriculum without temperature": (
        "kd.loss: {choice: [continuation_kd]}, kd.curriculum: {choice: [ctkd]}",
        {},
        "a loss that has a temperature",
    ),
    "an expert for peers": ("kd.loss: {choice: [dml]}, teach.scheme: {choice: [experts]}", {}, "no frozen teacher"),
}


@pytest.mark.parametrize("case", CASES)
def test_check_refuses(case: str, tmp_path: Path) -> None:
    params, changes, message = CASES[case]
    (tmp_path / "recipe.yaml").write_text(f"params: {{{params}}}")
    data = {"name": "digits", "limit": 300, **({"meta": changes.pop("meta")} if "meta" in changes else {})}
    settings = small_settings(
        tmp_path, data=data, space=SpaceSettings("hnag_tiny", str(tmp_path / "recipe.yaml")), **changes
    )
    with pytest.raises(ConfigError, match=message) as caught:
        InlineStudy(settings).check()

    assert "\n" not in str(caught.value)
    assert not list(Path(settings.artifacts).glob("teachers/*"))


def test_methods_that_look_inside_are_refused_where_a_teacher_or_a_student_is_closed(tmp_path: Path) -> None:
    data, spec = load({"name": "digits", "limit": 300}), {"resnet": {"depth": 8, "width": 4}, "epochs": 1}
    open_one = resolve("main", spec, data, Assets(tmp_path))
    roster = roster_of({"main": spec, "other": spec}, None)
    maps = read_recipe({"kd.loss": "ca_mkd", "ca_mkd.feature": 50.0}, roster)
    plain = read_recipe({"kd.loss": "ca_mkd"}, roster)
    bridge = read_recipe({"kd.loss": "sokd"}, roster)
    hints = read_recipe({"kd.loss": "at"}, roster)
    relations = read_recipe({"kd.loss": "rkd"}, roster)
    headless = {name: tap for name, tap in open_one.info.taps.items() if name != "penultimate"}
    endless = dataclasses.replace(open_one, info=dataclasses.replace(open_one.info, taps=headless))
    closed = dataclasses.replace(open_one, info=dataclasses.replace(open_one.info, taps={}))
    narrow = dataclasses.replace(open_one, info=dataclasses.replace(open_one.info, width=7))
    foreign = dataclasses.replace(open_one, module=torch.nn.Flatten())  # taps and a head, but no layers to copy
    blocks = {"penultimate": open_one.info.taps["penultimate"]}
    flat = dataclasses.replace(open_one, info=dataclasses.replace(open_one.info, taps=blocks))
    stages = ["stage1", "stage2", "stage3", "penultimate"]

    require_open([maps, bridge], {"main": open_one, "other": open_one}, stages)
    require_open([plain], {"main": closed, "other": closed}, stages)
    require_open([hints, relations], {"main": open_one}, stages)
    require_open([hints], {"main": endless}, stages)
    for recipe, teachers, taps, message in (
        (maps, {"main": open_one, "other": closed}, stages, r"teachers\.other: got 'no stage3'.*ca_mkd look inside"),
        (bridge, {"main": closed}, stages, r"teachers\.main: got 'no linear head'.*sokd look inside"),
        (bridge, {"main": foreign}, stages, r"teachers\.main: got 'no cut at stage2'.*sokd copies"),
        (bridge, {"main": flat}, stages, r"teachers\.main: got 'no stages'.*sokd can copy"),
        (maps, {"main": open_one, "other": narrow}, stages, "16 channels at stage3.*expected 7"),
        (maps, {"main": open_one, "other": open_one}, stages[:2], "no stage3.*students that let ca_mkd"),
        (hints, {"main": flat}, stages, r"teachers\.main: got 'no stage1, stage2, stage3'.*at look inside"),
        (hints, {"main": open_one}, stages[:2], "no stage3.*students that let at look there"),
        (relations, {"main": endless}, stages, r"teachers\.main: got 'no penultimate'.*rkd look inside"),
    ):
        with pytest.raises(ConfigError, match=message):
            require_open([recipe], teachers, taps)


def test_mixed_pictures_are_refused_where_one_label_is_needed() -> None:
    main = {"resnet": {"depth": 8, "width": 4}}
    roster = roster_of({"main": main, "sweet1": {**main, "sweet_spot": {"batch_sizes": [32], "epochs": [2]}}}, None)
    config = {"kd.loss": "kd", "teach.source": "sweet1"}
    shuffling = read_recipe({**config, "teacher_sweet_spot.permute": True}, roster)
    data = {"name": "digits", "limit": 300}
    mixed = load({**data, "augment": {"mixup": 0.3}})
    with pytest.raises(ConfigError, match=r"data.augment.mixup: got 0.3; expected 0: teacher_sweet_spot.* one class"):
        require_data([shuffling], mixed, 3)
    require_data([shuffling], load(data), 3)
    require_data([read_recipe(config, roster)], mixed, 3)


def test_more_generations_than_epochs_are_refused() -> None:
    recipe = read_recipe({"kd.loss": "self_kd", "self_kd.generations": 3}, roster_of({}, None))
    data = load({"name": "digits", "limit": 300})
    with pytest.raises(ConfigError, match=r"budget.epochs: got 3; expected at least 4: self_kd"):
        require_data([recipe], data, 3)
    require_data([recipe], data, 4)
    with pytest.raises(ConfigError, match="3 epochs'; expected at least 4 epochs"):
        Fit(toy_job(recipe.method, 0, epochs=3))


def test_a_fact_that_nobody_derives_is_refused_before_anything_is_made() -> None:
    class Needy(KD):
        @property
        def needs(self) -> Needs:
            return Needs(teachers=(1, 1), derived=("difficulti",))

    recipe = dataclasses.replace(read_recipe({"kd.loss": "kd"}, roster_of({"main": {}}, None)), method=Needy())
    with pytest.raises(ConfigError, match=r"needs\.derived: got 'difficulti'.*did you mean 'difficulty'"):
        require_data([recipe], load({"name": "digits", "limit": 300}), 3)
