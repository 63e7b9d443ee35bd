import pytest
import torch

from autostudent.assets import Assets
from autostudent.data import datasets
from autostudent.data.vision_import import vision
from autostudent.distill.optim import Optim
from autostudent.errors import ConfigError
from autostudent.space.cost import costs
from autostudent.teach.ladder import assistant, held_out, ladder, recipe, sizes, stride_like
from autostudent.teach.making import trained
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
    with pytest.raises(ConfigError, match="no meta split"):
        ladder(top, 2, 1_000, datasets.load({"name": "digits", "limit": 300, "meta": 0}), assets, chain="dp")


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
