import pickle
from functools import partial

import numpy as np
import pytest
import torch

from autostudent.assets import Assets
from autostudent.data.views import Augment, ViewBank
from autostudent.errors import AssetError
from autostudent.measure.predict import predict
from autostudent.teach import knowledge as room
from autostudent.teach.knowledge import Knowledge, key_of
from autostudent.teach.teachers import resolve


@pytest.fixture
def bank(digits):
    return ViewBank(digits.train.x, 4, 0, Augment(1, True))


def files(assets, teacher, bank):
    folder = assets.entry("knowledge", key_of(teacher.key, bank, "float16")).folder
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("view")}


def test_logits_are_those_of_the_live_teacher(digits, teacher, bank, tmp_path):
    made = Knowledge.ensure(Assets(tmp_path), teacher, bank)
    for view in range(4):
        stored = made.logits(view)
        assert stored.dtype == np.float16
        assert isinstance(stored, np.memmap)
        live = predict(teacher.module, bank.view(view)).numpy()
        np.testing.assert_allclose(stored, live, rtol=1e-3, atol=1e-3)
    with pytest.raises(IndexError):
        made.logits(4)
    exact = Knowledge.ensure(Assets(tmp_path), teacher, bank, dtype="float32")
    np.testing.assert_allclose(exact.logits(2), predict(teacher.module, bank.view(2)).numpy(), rtol=1e-6)


def test_it_is_made_once_and_opened_without_the_teacher(teacher, bank, tmp_path):
    calls = []

    def counted(function, items):
        calls.extend(items)
        return map(function, items)

    assets = Assets(tmp_path)
    Knowledge.ensure(assets, teacher, bank, map=counted)
    Knowledge.ensure(assets, teacher, bank, map=counted)
    assert sorted(number for chunk in calls for number in chunk) == [0, 1, 2, 3]
    assert len(Knowledge.open(assets, teacher.key, bank).paths) == 4


def test_work_is_cut_into_picklable_chunks(teacher, bank, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "CHUNK", 1)

    def elsewhere(function, items):
        assert isinstance(function, partial)
        return [pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(item))) for item in items]

    assets = Assets(tmp_path)
    Knowledge.ensure(assets, teacher, bank, map=elsewhere)
    assert len(files(assets, teacher, bank)) == 4


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_killed_build_goes_on_to_the_same_bytes(teacher, bank, tmp_path, monkeypatch, done):
    monkeypatch.setattr(room, "CHUNK", 1)
    whole, cut = Assets(tmp_path / "whole"), Assets(tmp_path / "cut")
    Knowledge.ensure(whole, teacher, bank)

    def killed(function, items):
        for number, item in enumerate(items):
            if number == done:
                raise KeyboardInterrupt
            yield function(item)

    with pytest.raises(KeyboardInterrupt):
        Knowledge.ensure(cut, teacher, bank, map=killed)
    with pytest.raises(AssetError, match="no knowledge"):
        Knowledge.open(cut, teacher.key, bank)
    calls = []
    Knowledge.ensure(cut, teacher, bank, map=lambda f, items: [calls.append(i) or f(i) for i in items])
    assert len(calls) == 4 - done
    assert files(cut, teacher, bank) == files(whole, teacher, bank)


def test_an_altered_file_is_refused_and_rebuilt(teacher, bank, tmp_path, caplog):
    assets = Assets(tmp_path)
    path = Knowledge.ensure(assets, teacher, bank).paths[1]
    before = files(assets, teacher, bank)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(AssetError, match="altered"):
        Knowledge.open(assets, teacher.key, bank)
    Knowledge.ensure(assets, teacher, bank)
    assert "computed anew" in caplog.text
    assert files(assets, teacher, bank) == before


def test_another_teacher_or_bank_has_its_own(digits, teacher, bank, shared, tmp_path):
    assets = Assets(tmp_path)
    Knowledge.ensure(assets, teacher, bank)
    spec = {"resnet": {"depth": 8, "width": 4}, "epochs": 2}
    other = resolve("main", spec, digits, shared, seed=9)
    with pytest.raises(AssetError):
        Knowledge.open(assets, other.key, bank)
    with pytest.raises(AssetError):
        Knowledge.open(assets, teacher.key, ViewBank(digits.train.x, 4, 1, Augment(1, True)))


def test_foreign_logits_are_noticed(digits, teacher, bank, shared, tmp_path):
    spec = {"resnet": {"depth": 8, "width": 4}, "epochs": 2}
    other = resolve("main", spec, digits, shared, seed=9)
    made = Knowledge.ensure(Assets(tmp_path), teacher, bank)
    made.compare(teacher, bank)
    with pytest.raises(AssetError, match="does not hold what teacher"):
        made.compare(other, bank)
    shuffled = Knowledge((made.paths[1], *made.paths[1:]))
    assert torch.is_tensor(bank.view(0))
    with pytest.raises(AssetError, match="cosine"):
        shuffled.compare(teacher, bank)
