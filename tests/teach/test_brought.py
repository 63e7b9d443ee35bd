import json
import sys
import textwrap

import pytest
import torch
from safetensors.torch import save_file

from autostudent.assets import Assets
from autostudent.build.network import build
from autostudent.data.vision_import import vision
from autostudent.distill.recipe import read_recipe
from autostudent.errors import ConfigError, TeacherError
from autostudent.measure.predict import predict
from autostudent.settings import roster_of
from autostudent.space.resnet import resnet
from autostudent.teach.catalogue import require_open
from autostudent.teach.foreign import Foreign
from autostudent.teach.making import measured_costs
from autostudent.teach.origin import IMAGENET
from autostudent.teach.teacher import live
from autostudent.teach.teachers import resolve
from autostudent.teach.weights import pack_state


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return vision("models").get_model("resnet18", num_classes=10).eval()


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    torch.save(model.state_dict(), path)
    return path


def by_hand(model, x, side=None):
    """What a user's own script would compute."""
    x = x.float() / 255
    if x.shape[1] == 1:
        x = x.repeat(1, 3, 1, 1)
    if side:
        x = vision("transforms.functional").resize(x, [side, side], antialias=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in IMAGENET)
    with torch.no_grad():
        return model((x - mean) / std)


def test_a_torchvision_state_dict(model, weights, colours, shared):
    made = resolve("main", {"torchvision": "resnet18", "weights": str(weights)}, colours, shared)
    x = colours.validation.x
    torch.testing.assert_close(predict(made.module, x), by_hand(model, x), atol=1e-4, rtol=1e-4)
    assert made.info.params == made.costs["params"] == sum(p.numel() for p in model.parameters())
    assert made.info.taps["stage4"][0] == 512
    assert made.info.width == 512
    assert made.seconds == 0
    assert 0 <= made.metrics["accuracy"] <= 1


def test_grey_pictures_and_resize(model, weights, digits, shared):
    spec = {"torchvision": "resnet18", "weights": str(weights), "resize": 16}
    made = resolve("main", spec, digits, shared)
    x = digits.validation.x[:8]
    torch.testing.assert_close(predict(made.module, x), by_hand(model, x, 16), atol=1e-4, rtol=1e-4)


def test_the_same_weights_in_another_file_are_the_same_teacher(model, weights, colours, shared, tmp_path):
    first = resolve("main", {"torchvision": "resnet18", "weights": str(weights)}, colours, shared)
    save_file({k: v.clone() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "w.pth"
    )
    for name in ("w.safetensors", "w.pth"):
        spec = {"torchvision": "resnet18", "weights": str(tmp_path / name)}
        assert resolve("main", spec, colours, shared).key == first.key
    other = {"torchvision": "resnet18", "weights": str(weights), "normalize": "data"}
    assert resolve("main", other, colours, shared).key != first.key


def test_taps_and_head_agree_with_the_network(weights, colours, shared):
    made = resolve("main", {"torchvision": "resnet18", "weights": str(weights)}, colours, shared).module
    x = torch.rand(4, 3, 8, 8)
    logits, taps = made.features(x, ("stage1", "stage3", "penultimate"))
    assert taps["penultimate"].shape == (4, 512)
    assert taps["stage1"].shape[1] == 64
    assert torch.equal(made.head(taps["penultimate"]), logits)
    assert torch.equal(made(x), logits)
    with pytest.raises(TeacherError, match="no tap 'stage9'"):
        made.features(x, ("stage9",))


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_other_families_get_a_tap_map(name, colours, shared, tmp_path):
    torch.manual_seed(0)
    network = vision("models").get_model(name, num_classes=10).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    made = resolve("main", {"torchvision": name, "weights": str(tmp_path / "w.pt"), "resize": 32}, colours, shared)
    x = torch.rand(2, 3, 8, 8)
    stages = [tap for tap in made.info.taps if tap != "penultimate"]
    assert len(stages) >= 3
    logits, taps = made.module.features(x, list(made.info.taps))
    for tap in stages:
        assert taps[tap].shape[1] == made.info.taps[tap][0]
    if name == "squeezenet1_1":  # ends in a convolution
        with pytest.raises(TeacherError, match="no head"):
            made.module.head(x)
    else:
        torch.testing.assert_close(made.module.head(taps["penultimate"]), logits)


def test_stages_only_shrink():
    """Networks for large pictures enlarge the last map of small ones before their linear layers: no stage."""
    nn = torch.nn
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(4),
        nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 5),
    )  # fmt: skip
    made = Foreign(network, (3, 16, 16), 5, 3, (0.5,), (0.5,))
    assert made.paths == {"stage1": "0", "stage2": "2", "stage3": "3"}
    assert made.taps == {"stage1": (4, 1), "stage2": (6, 2), "stage3": (6, 8), "penultimate": (54, 0)}


def test_maps_with_channels_last_are_no_stages(colours, shared, tmp_path):
    network = vision("models").get_model("swin_t", num_classes=10).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    spec = {"torchvision": "swin_t", "weights": str(tmp_path / "w.pt"), "resize": 32}
    made = resolve("main", spec, colours, shared)
    _, taps = made.module.features(torch.rand(2, 3, 8, 8), list(made.info.taps))
    for tap, (channels, _) in made.info.taps.items():
        assert taps[tap].shape[1] == channels
        assert channels % 96 == 0


def test_a_teacher_near_chance_is_remarked_on(weights, colours, shared):
    said = []
    resolve("main", {"torchvision": "resnet18", "weights": str(weights)}, colours, shared, say=said.append)
    assert len(said) == 1
    assert "near chance" in said[0]


def test_costs_are_those_that_torchvision_documents(model):
    torch.manual_seed(0)
    full = vision("models").get_model("resnet18").eval()
    figures = measured_costs(full, torch.zeros(1, 3, 224, 224))
    documented = vision("models").ResNet18_Weights.DEFAULT.meta
    assert figures["params"] == documented["num_params"]
    assert figures["macs"] / 1e9 == pytest.approx(documented["_ops"], abs=6e-4)
    assert figures["memory_bytes"] > 4 * figures["params"]


def test_a_checkpoint_of_a_known_architecture(digits, teacher, shared, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(pack_state(teacher.module))
    spec = {"checkpoint": str(tmp_path / "w.safetensors"), "resnet": {"depth": 8, "width": 4}}
    made = resolve("main", spec, digits, shared)
    x = digits.validation.x
    assert torch.equal(predict(made.module, x), predict(teacher.module, x))
    assert made.costs == teacher.costs
    (tmp_path / "graph.json").write_text(json.dumps(resnet(8, 4, digits.input).to_json()))
    spec = {"checkpoint": str(tmp_path / "w.safetensors"), "architecture": str(tmp_path / "graph.json")}
    assert resolve("main", spec, digits, shared).key == made.key
    other = resolve("main", {**spec, "normalize": {"mean": [0.5], "std": [0.5]}}, digits, shared)
    assert not torch.equal(predict(other.module, x), predict(teacher.module, x))


class Opens:
    """Runs code when it is unpickled by an unsafe loader."""

    def __reduce__(self):
        return print, ("this must never be printed",)


def refused(spec, digits, tmp_path, message, error=TeacherError):
    with pytest.raises(error, match=message) as caught:
        resolve("main", spec, digits, Assets(tmp_path / "assets"))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("teachers.main")


def test_files_that_are_not_weights_are_refused(digits, tmp_path, capfd):
    small = {"resnet": {"depth": 8, "width": 4}}
    path = tmp_path / "w.pt"
    spec = {"checkpoint": str(path), **small}
    refused(spec, digits, tmp_path, "there is no weights file")
    torch.save(build(resnet(8, 4, digits.input), 0), path)
    refused(spec, digits, tmp_path, "holds more than weights")
    torch.save({"state_dict": Opens()}, path)
    refused(spec, digits, tmp_path, "holds more than weights")
    torch.save({"epoch": 3}, path)
    refused(spec, digits, tmp_path, "holds no state dict")
    path.write_bytes(b"rubbish")
    refused(spec, digits, tmp_path, "w.pt")
    (tmp_path / "w.safetensors").write_bytes(b"rubbish")
    refused({"checkpoint": str(tmp_path / "w.safetensors"), **small}, digits, tmp_path, "not a readable weights file")
    assert "never be printed" not in capfd.readouterr().out


def test_weights_that_do_not_fit_are_refused(digits, colours, weights, tmp_path):
    state = build(resnet(8, 4, digits.input), 0, digits.mean, digits.std).state_dict()
    path = tmp_path / "w.pt"
    torch.save(state, path)
    refused({"checkpoint": str(path), "resnet": {"depth": 8, "width": 5}}, digits, tmp_path, "has shape")
    refused({"checkpoint": str(path), "resnet": {"depth": 14, "width": 4}}, digits, tmp_path, "lacks")
    refused({"checkpoint": str(path), "resnet": {"depth": 8, "width": 4}}, colours, tmp_path, "has shape")
    refused({"torchvision": "resnet34", "weights": str(weights)}, colours, tmp_path, "lacks")
    torch.save(vision("models").get_model("resnet18", num_classes=7).state_dict(), path)
    refused(
        {"torchvision": "resnet18", "weights": str(path)}, colours, tmp_path, "7 classes apart, but the data has 10"
    )
    refused(
        {"torchvision": "resnet18", "weights": str(weights), "taps": {"stage1": "layer9"}}, colours, tmp_path, "layer9"
    )


def test_architecture_files_that_do_not_fit_are_refused(digits, colours, tmp_path):
    spec = {"checkpoint": "w.pt", "architecture": str(tmp_path / "graph.json")}
    refused(spec, digits, tmp_path, "there is no architecture file")
    (tmp_path / "graph.json").write_text("{}")
    refused(spec, digits, tmp_path, "not an architecture file .*format")
    (tmp_path / "graph.json").write_text("no json")
    refused(spec, digits, tmp_path, "not an architecture file")
    (tmp_path / "graph.json").write_text(json.dumps(resnet(8, 4, digits.input).to_json()))
    refused(spec, colours, tmp_path, "is made for")
    few = digits.input._replace(classes=7)
    (tmp_path / "graph.json").write_text(json.dumps(resnet(8, 4, few).to_json()))
    refused(spec, digits, tmp_path, "7 classes apart, but the data has 10")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution with a teacher plug-in, as pip would install it."""
    site = tmp_path / "site"
    info = site / "plug_in-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-in\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[autostudent.teachers]\nlinear = plug_in_teacher:linear\nnothing = plug_in_teacher:nothing\n"
    )
    code = """
    import torch
    from torch import nn

    class Answer:
        def __init__(self, logits):
            self.logits = logits

    class Linear(nn.Module):
        def __init__(self, pixels, classes, scale):
            super().__init__()
            self.fc, self.scale = nn.Linear(pixels, classes), scale

        def forward(self, x):
            return Answer(self.fc(x.flatten(1) * self.scale))

    def linear(classes, shape, scale=1.0, extra=0):
        torch.manual_seed(1)
        return Linear(shape[0] * shape[1] * shape[2], classes + extra, scale)

    def nothing(classes, shape):
        return None
    """
    (site / "plug_in_teacher.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("plug_in_teacher", None)


@pytest.mark.usefixtures("installed")
def test_a_plugin_by_its_entry_point(digits, tmp_path):
    assets = Assets(tmp_path / "assets")
    made = resolve("main", {"plugin": "linear", "scale": 2.0}, digits, assets)
    assert made.info.params == 64 * 10 + 10
    assert made.info.width == 64
    x = digits.validation.x
    expected = torch.nn.functional.linear(x.flatten(1) / 255 * 2, *made.module.network.fc.parameters())
    torch.testing.assert_close(predict(made.module, x), expected)
    assert resolve("main", {"plugin": "linear", "scale": 3.0}, digits, assets).key != made.key
    assert live(made).fresh is None
    roster = roster_of({"main": {"plugin": "linear"}}, None)
    recipe = read_recipe({"kd.loss": "bd_kd"}, roster)
    with pytest.raises(ConfigError, match=r"teachers\.main: got 'a plug-in'; expected a teacher whose architecture is"):
        require_open([recipe], {"main": made}, ("stage1", "penultimate"))
    refused({"plugin": "linear", "extra": 2}, digits, tmp_path, "12")
    refused({"plugin": "linear", "speed": 2}, digits, tmp_path, "unexpected keyword")
    refused({"plugin": "nothing"}, digits, tmp_path, "expected a torch.nn.Module")
    refused({"plugin": "lineer"}, digits, tmp_path, "did you mean 'linear'", ConfigError)
