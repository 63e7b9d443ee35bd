import pickle
import signal
import subprocess
import sys
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch

from autostudent.assets import Assets
from autostudent.data.views import Augment, ViewBank, images
from autostudent.distill.types import Batch
from autostudent.errors import AssetError
from autostudent.measure.predict import predict
from autostudent.teach import knowledge as room
from autostudent.teach.forms import Form
from autostudent.teach.knowledge import Knowledge, key_of, stored
from autostudent.teach.teacher import live
from autostudent.teach.teachers import resolve


@pytest.fixture
def bank(digits):
    return ViewBank(digits.train.x, 4, 0, Augment(1, True))


def files(assets, teacher, bank):
    folder = assets.entry("knowledge", key_of(teacher.key, bank, Form())).folder
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("view")}


def test_logits_are_those_of_the_live_teacher(digits, teacher, bank, tmp_path):
    made = Knowledge.ensure(Assets(tmp_path), teacher, bank)
    for view in range(4):
        logits = made.rows(view)
        assert logits.dtype == np.float16
        assert isinstance(logits, np.memmap)
        now = predict(teacher.module, bank.view(view)).numpy()
        np.testing.assert_allclose(logits, now, rtol=1e-3, atol=1e-3)
    with pytest.raises(IndexError):
        made.rows(4)
    exact = Knowledge.ensure(Assets(tmp_path), teacher, bank, form=Form("float32"))
    np.testing.assert_allclose(exact.rows(2), predict(teacher.module, bank.view(2)).numpy(), rtol=1e-6)


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


def test_it_is_made_on_the_device_of_the_place(teacher, bank, tmp_path):
    """A driver without a GPU has teachers on its processor; its workers have not."""

    def elsewhere(function, items):
        with pytest.raises(NotImplementedError, match="meta"):  # where no numbers are
            list(map(function, items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Knowledge.ensure(Assets(tmp_path), deepcopy(teacher), bank, map=elsewhere, device="meta")


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


KILLED = """
import os, signal, sys
from pathlib import Path
from autostudent.assets import Assets
from autostudent.data.datasets import load
from autostudent.data.views import Augment, ViewBank
from autostudent.teach import knowledge, view_files
from autostudent.teach.teacher import Teacher

shared, cut, key, moment = sys.argv[1:]
written, write = [], view_files.write_atomic

def killed(path, data):
    if len(written) == int(moment):
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / ".part-half").write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)
    written.append(path)

view_files.write_atomic = killed
bank = ViewBank(load({"name": "digits", "limit": 300}).train.x, 4, 0, Augment(1, True))
knowledge.Knowledge.ensure(Assets(cut), Teacher.load("main", key, Assets(shared)), bank)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0, 2, 3])
def test_a_process_killed_in_the_middle_of_a_file_leaves_nothing_wrong(teacher, bank, shared, tmp_path, moment):
    whole, cut = Assets(tmp_path / "whole"), Assets(tmp_path / "cut")
    command = [sys.executable, "-c", KILLED, str(shared.root), str(cut.root), teacher.key, str(moment)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(files(cut, teacher, bank)) == moment
    Knowledge.ensure(whole, teacher, bank)
    Knowledge.ensure(cut, teacher, bank)
    assert files(cut, teacher, bank) == files(whole, teacher, bank)


def batch_of(bank, view, index):
    return Batch(images(bank.view(view or 0)[index]), torch.zeros(len(index), 10), index, view)


def test_stored_answers_are_read_and_others_asked_for(teacher, bank, tmp_path):
    source = stored(teacher, Knowledge.ensure(Assets(tmp_path), teacher, bank, form=Form("float32")))
    asked, index = live(teacher), torch.tensor([5, 0, 17])
    for view in (0, 3, 1, None):
        batch = batch_of(bank, view, index)
        assert torch.allclose(source.outputs(batch, ()).logits, asked.outputs(batch, ()).logits, atol=1e-4)
    taps = source.outputs(batch_of(bank, 2, index), ("stage1",)).taps
    assert taps["stage1"].shape[0] == 3
    wrong = torch.zeros_like(bank.view(2))
    unseen = Batch(images(wrong[index]), torch.zeros(3, 10), index, 2)  # what is stored does not look at the pictures
    assert torch.allclose(
        source.outputs(unseen, ()).logits, asked.outputs(batch_of(bank, 2, index), ()).logits, atol=1e-4
    )


def test_mixed_views_are_known_like_others(digits, teacher, bank, tmp_path):
    blended = ViewBank(digits.train.x, 4, 0, Augment(1, True, 0.4), digits.meta)
    assets = Assets(tmp_path)
    source = stored(teacher, Knowledge.ensure(assets, teacher, blended, form=Form("float32")))
    batch = batch_of(blended, 3, torch.tensor([5, 0, 17]))
    assert torch.allclose(source.outputs(batch, ()).logits, live(teacher).outputs(batch, ()).logits, atol=1e-4)
    unmixed = live(teacher).outputs(batch_of(bank, 3, batch.index), ()).logits
    assert not torch.allclose(source.outputs(batch, ()).logits, unmixed, atol=1e-2)
    with pytest.raises(AssetError, match="no knowledge"):
        Knowledge.open(assets, teacher.key, bank, Form("float32"))


def test_a_changed_data_set_is_another_bank(digits, teacher, bank, tmp_path):
    assets = Assets(tmp_path)
    Knowledge.ensure(assets, teacher, bank)
    other = digits.train.x.clone()
    other[7, 0, 3, 3] ^= 1
    with pytest.raises(AssetError, match="no knowledge"):
        Knowledge.open(assets, teacher.key, ViewBank(other, 4, 0, Augment(1, True)))
