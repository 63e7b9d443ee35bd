import pickle
import time
from types import SimpleNamespace

import pytest
import torch

from autostudent.assets import Assets
from autostudent.data.datasets import load
from autostudent.data.views import Augment, ViewBank
from autostudent.distill.fit import Fit
from autostudent.distill.job import Job
from autostudent.distill.methods import METHODS
from autostudent.distill.optim import Optim
from autostudent.errors import AssetError, ConfigError
from autostudent.measure.predict import predict
from autostudent.measure.quality import accuracy
from autostudent.space.cost import costs
from autostudent.space.resnet import resnet
from autostudent.teach import training
from autostudent.teach.teacher import Teacher, live
from autostudent.teach.teachers import resolve

SMALL = {"resnet": {"depth": 8, "width": 4}, "epochs": 2}


def test_a_trained_teacher_is_frozen_measured_and_costed(digits, teacher):
    assert not teacher.module.training
    assert not any(parameter.requires_grad for parameter in teacher.module.parameters())
    logits = predict(teacher.module, digits.validation.x)
    assert teacher.metrics["accuracy"] == pytest.approx(accuracy(logits, digits.validation.y))
    assert dict(teacher.costs) == costs(resnet(8, 4, digits.input)).as_dict()
    assert teacher.info.params == teacher.costs["params"]
    assert set(teacher.info.taps) == {"stage1", "stage2", "stage3", "penultimate"}
    assert teacher.seconds > 0


def test_it_is_made_once(digits, shared, teacher):
    said = []
    again = resolve("other", SMALL, load({"name": "digits", "limit": 300}), shared, say=said.append)
    assert said == []
    assert again.key == teacher.key
    assert again.seconds == teacher.seconds
    assert torch.equal(predict(again.module, digits.validation.x), predict(teacher.module, digits.validation.x))


def test_another_recipe_seed_or_data_is_another_teacher(digits, shared, teacher, tmp_path):
    assets = Assets(tmp_path)
    keys = {
        teacher.key,
        resolve("main", SMALL, digits, assets, seed=1).key,
        resolve("main", {**SMALL, "lr": 0.05}, digits, assets).key,
        resolve("main", {**SMALL, "resnet": {"depth": 8, "width": 5}}, digits, assets).key,
        resolve("main", SMALL, load({"name": "digits", "limit": 310}), assets).key,
        resolve("main", SMALL, load({"name": "digits", "limit": 300, "augment": {"flip": True}}), assets).key,
    }
    assert len(keys) == 6
    mixed = load({"name": "digits", "limit": 300, "augment": {"mixup": 0.4}})
    assert resolve("main", SMALL, mixed, shared).key == teacher.key  # teachers learn from unmixed views


def test_it_travels_by_its_key(digits, shared, teacher):
    loaded = Teacher.load("main", teacher.key, shared)
    pickled = pickle.loads(pickle.dumps(teacher))
    expected = predict(teacher.module, digits.validation.x)
    for other in (loaded, pickled):
        assert torch.equal(predict(other.module, digits.validation.x), expected)
        assert other.metrics == teacher.metrics
    assert len(pickle.dumps(teacher)) < 1000


def test_an_altered_asset_is_refused(digits, shared, teacher, tmp_path):
    assets = Assets(tmp_path)
    with pytest.raises(AssetError):
        Teacher.load("main", teacher.key, assets)
    copy = assets.entry("teachers", teacher.key).folder
    copy.mkdir(parents=True)
    for file in shared.entry("teachers", teacher.key).folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    Teacher.load("main", teacher.key, assets)
    weights = bytearray((copy / "weights.safetensors").read_bytes())
    weights[-5] ^= 1
    (copy / "weights.safetensors").write_bytes(bytes(weights))
    with pytest.raises(AssetError, match="altered"):
        Teacher.load("main", teacher.key, assets)


def test_a_fresh_copy_is_untrained_and_seeded(digits, teacher):
    x = digits.validation.x[:20]
    first, same, other = (predict(teacher.fresh(seed), x) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, predict(teacher.module, x))


def test_a_live_teacher_answers_the_training_loop(digits, teacher):
    optim = Optim(epochs=1, batch_size=64)
    bank = ViewBank(digits.train.x, 1, 0, Augment())
    method = METHODS["kd"]()
    job = Job(teacher.fresh, method, (live(teacher),), bank, digits.train.y, 10, optim, 0, training.images, digits.meta)
    before = predict(teacher.module, digits.validation.x)
    Fit(job).run(1)
    assert torch.equal(predict(teacher.module, digits.validation.x), before)


def test_a_killed_training_goes_on(digits, tmp_path, monkeypatch):
    """With a checkpoint after every epoch and a kill after the second, the weights are those of an undisturbed run."""
    graph, optim = resnet(8, 4, digits.input), Optim(epochs=4, batch_size=64)
    method, device, file = METHODS["none"](), torch.device("cpu"), tmp_path / "state"
    whole, _ = training.train(graph, digits, method, (), optim, 3, device, tmp_path / "unused")
    monkeypatch.setattr(training, "KEPT_EVERY_S", 0.0)

    def kill(text):
        if text.startswith("epoch 2"):
            raise KeyboardInterrupt
        time.sleep(0.3)  # counts as training

    with pytest.raises(KeyboardInterrupt):
        training.train(graph, digits, method, (), optim, 3, device, file, kill)
    said = []
    started = time.perf_counter()
    resumed, seconds = training.train(graph, digits, method, (), optim, 3, device, file, said.append)
    assert seconds > time.perf_counter() - started + 0.3
    assert said == ["epoch 3 of 4", "epoch 4 of 4"]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    file.write_bytes(file.read_bytes()[:100])
    training.train(graph, digits, method, (), Optim(epochs=1), 3, device, file)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "exactly one of"),
        ({"epochs": 3}, "exactly one of"),
        ({"resnet": {"depth": 8, "width": 4}, "plugin": "x"}, "exactly one of"),
        ({"resnet": {"depth": 8, "width": 4}, "epoch": 3}, "did you mean 'epochs'"),
        ({"resnet": {"depth": 9, "width": 4}}, "6n"),
        ({"resnet": {"depth": 8}}, "width"),
        ({"resnet": {"depth": 8, "width": 4}, "epochs": 0}, "epochs"),
        ({"resnet": {"depth": 8, "width": 4}, "lr": "high"}, "lr"),
        ({"torchvision": "resnet18"}, "weights"),
        ({"torchvision": "resnet81", "weights": "w.pt"}, "resnet18"),
        ({"torchvision": "resnet18", "weights": "w.pt", "normalize": "cifar"}, "normalize"),
        ({"torchvision": "resnet18", "weights": "w.pt", "normalize": {"mean": [0.5], "std": [0]}}, "normalize"),
        ({"checkpoint": "w.pt"}, "either architecture"),
        ({"plugin": "absent"}, "entry point"),
    ],
)
def test_bad_entries_are_refused_in_one_line(digits, tmp_path, spec, message):
    with pytest.raises(ConfigError, match=message) as caught:
        resolve("main", spec, digits, Assets(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_demo_teacher_learns_digits(tmp_path):
    digits = load({"name": "digits"})
    made = resolve("main", {"resnet": {"depth": 20, "width": 16}, "epochs": 15}, digits, Assets(tmp_path))
    assert made.metrics["accuracy"] > 0.96


def test_a_training_is_not_begun_anew_for_a_moment_without_memory(digits, tmp_path, monkeypatch):
    (tmp_path / "state").write_bytes(b"kept")

    def fails(error):
        def restore(job, data):
            raise error

        monkeypatch.setattr(training.Fit, "restore", restore)
        return training.unfinished(None, tmp_path / "state")

    assert fails(RuntimeError("the sizes of a tensor do not match")) is None
    for error in (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: unspecified launch failure")):
        with pytest.raises(RuntimeError, match="CUDA"):
            fails(error)


def test_answers_are_finite_live_as_they_are_stored(teacher, monkeypatch):
    monkeypatch.setattr(type(teacher.module), "forward", lambda self, x: torch.full((len(x), 10), -torch.inf).double())
    logits = live(teacher).outputs(SimpleNamespace(x=torch.zeros(2, 1, 8, 8)), ()).logits
    assert logits.dtype == torch.float32
    assert (logits == torch.finfo(torch.float16).min).all()


def test_a_teacher_that_another_machine_does_not_see_is_not_to_be_deleted(teacher, tmp_path):
    with pytest.raises(AssetError, match=r"is not there, seen from .*: run again to make it; .* see one artifacts"):
        Teacher.load("main", teacher.key, Assets(tmp_path))
