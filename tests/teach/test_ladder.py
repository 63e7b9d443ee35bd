from functools import partial

import pytest
import torch

from autostudent.assets import Assets
from autostudent.data import datasets
from autostudent.data.vision_import import vision
from autostudent.distill.methods import METHODS
from autostudent.distill.optim import Optim
from autostudent.errors import ConfigError
from autostudent.settings import LadderSettings
from autostudent.space.cost import costs
from autostudent.teach.catalogue import make_teachers, rests_on
from autostudent.teach.ladder import assistant, held_out, ladder, recipe, sizes, stride_like
from autostudent.teach.making import asked, trained
from autostudent.teach.teachers import resolve


def test_sizes_fall_geometrically_or_linearly():
    assert sizes(1_000, 100, 2, "linear") == [700, 400]
    assert sizes(1_000_000, 1_000, 2) == [100_000, 10_000]
    assert sizes(1_000_000, 10_000, 1) == [100_000]
    assert sizes(1_000, 10, 0) == []
    for smallest in (0, 1_000, 2_000):
        with pytest.raises(ConfigError, match="smallest"):
            sizes(1_000, smallest, 1)


@pytest.mark.parametrize("target", [10_000, 50_000, 200_000, 1_000_000])
def test_assistants_come_near_their_size(digits, target):
    found = costs(assistant(target, digits, 1)).params
    assert abs(found - target) / target < 0.25
    assert costs(assistant(2 * target, digits, 1)).params > found


def test_each_assistant_is_taught_by_the_next_larger(digits, tmp_path):
    assets = Assets(tmp_path)
    top = resolve("main", {"resnet": {"depth": 8, "width": 8}, "epochs": 2}, digits, assets)
    said = []
    made = ladder(top, 2, 1_000, digits, assets, say=said.append)
    assert list(made) == ["ta1", "ta2"]
    assert [t.name for t in made.values()] == ["ta1", "ta2"]
    assert top.costs["params"] > made["ta1"].costs["params"] > made["ta2"].costs["params"] > 1_000
    assert made["ta1"].about["parents"] == [top.key]
    assert made["ta2"].about["parents"] == [made["ta1"].key]
    assert made["ta1"].about["optim"]["epochs"] == 2  # as long as the teacher
    assert len([line for line in said if line.startswith("training")]) == 2
    said.clear()
    again = ladder(top, 2, 1_000, digits, assets, say=said.append)
    assert said == []
    assert [t.key for t in again.values()] == [t.key for t in made.values()]


def test_the_best_way_down_is_the_one_best_on_held_out_data(digits, tmp_path):
    assets = Assets(tmp_path)
    top = resolve("main", {"resnet": {"depth": 8, "width": 8}, "epochs": 2}, digits, assets)
    made = ladder(top, 2, 1_000, digits, assets, chain="dp")
    plain = recipe()
    ways = [
        trained(
            "ta2", assistant(int(made["ta2"].costs["params"]), digits, 1), digits, assets, Optim(epochs=2),
            method=plain, parents=(parent,), held_out=True,
        )
        for parent in (top, made["ta1"])
    ]  # fmt: skip
    assert made["ta1"].about["parents"] == [top.key]
    assert len({way.key for way in ways}) == 2
    assert len(list((tmp_path / "teachers").iterdir())) == 4  # the two ways to the second are all that was added
    assert made["ta2"].key == max(ways, key=lambda way: held_out(way, digits)).key
    assert made["ta2"].seconds == pytest.approx(sum(way.seconds for way in ways))
    assert rests_on(made["ta2"]) == [top.key, made["ta1"].key]
    assert rests_on(made["ta1"]) == [top.key]


def test_a_choice_without_held_out_data_is_refused_before_any_training(tmp_path):
    data = datasets.load({"name": "digits", "limit": 300, "meta": 0})
    specs, assets = {"main": {"resnet": {"depth": 8, "width": 8}, "epochs": 1}}, Assets(tmp_path)
    ladder_of = LadderSettings("main", 2, chain="dp")
    make = partial(make_teachers, specs, ladder_of, lambda: 1_000, dataset=data, assets=assets)
    with pytest.raises(ConfigError, match="no meta split"):
        make(wanted={"ta2"})
    assert not list(tmp_path.glob("teachers/*"))
    assert list(make(wanted={"ta1", "dense2"})) == ["main", "ta1", "dense2"]  # nothing to choose there


def test_what_is_brought_can_be_looked_at_before_anything_is_trained(digits, tmp_path):
    own = resolve("main", {"resnet": {"depth": 8, "width": 4}, "epochs": 1}, digits, Assets(tmp_path / "before"))
    torch.save(own.module.state_dict(), tmp_path / "w.pt")
    specs = {
        "helper": {"resnet": {"depth": 8, "width": 8}, "epochs": 1},
        "main": {"checkpoint": str(tmp_path / "w.pt"), "resnet": {"depth": 8, "width": 4}},
    }
    said = []

    def look(found):
        assert list(found) == ["main"]
        assert not any(line.startswith("training") for line in said)
        raise ConfigError("teachers.main", "closed", "an open one")

    with pytest.raises(ConfigError, match="an open one"):
        make_teachers(specs, None, lambda: 0, (), digits, Assets(tmp_path), look=look, say=said.append)
    assert list(make_teachers(specs, None, lambda: 0, (), digits, Assets(tmp_path))) == ["helper", "main"]


def test_keys_of_assistants_are_older_than_the_choice_of_their_divergence(digits):
    def told(method):
        return asked(assistant(2_000, digits, 1), digits, Optim(epochs=1), method, (), 0, False)["method"]

    assert told(recipe()) == "KD(temperature=4.0, weight=0.9)"
    assert "elementmean" in told(METHODS["kd"](temperature=4.0, weight=0.9, kl_reduction="elementmean"))


def test_a_ladder_is_made_as_far_down_as_asked(digits, tmp_path):
    assets = Assets(tmp_path)
    top = resolve("main", {"resnet": {"depth": 8, "width": 8}, "epochs": 1}, digits, assets)
    first = ladder(top, 2, 1_000, digits, assets, last=1)
    assert list(first) == ["ta1"]
    assert ladder(top, 2, 1_000, digits, assets)["ta1"].key == first["ta1"].key


def test_assistants_halve_pictures_like_their_teacher(digits, tmp_path):
    assets = Assets(tmp_path)
    top = resolve("main", {"resnet": {"depth": 8, "width": 8, "stem_stride": 2}, "epochs": 1}, digits, assets)
    made = ladder(top, 1, 1_000, digits, assets)["ta1"]
    assert made.costs["macs"] < top.costs["macs"]
    assert made.info.taps["stage1"][1] == 2


def test_a_brought_teacher_gets_a_ladder(colours, tmp_path):
    torch.manual_seed(0)
    torch.save(vision("models").get_model("resnet18", num_classes=10).state_dict(), tmp_path / "w.pt")
    spec = {"torchvision": "resnet18", "weights": str(tmp_path / "w.pt")}
    top = resolve("main", spec, colours, Assets(tmp_path))
    assert top.info.taps["stage1"][1] == 4
    assert stride_like(top, 8) == 2
    found = assistant(20_000, colours, stride_like(top, 8))
    assert costs(found).macs < top.costs["macs"]


def test_a_ladder_without_room_is_refused(digits, teacher, tmp_path):
    with pytest.raises(ConfigError, match="fewer steps"):
        ladder(teacher, 8, int(teacher.costs["params"]) - 20, digits, Assets(tmp_path))
