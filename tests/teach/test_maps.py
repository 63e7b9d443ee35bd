import dataclasses

import pytest
import torch

from autostudent.assets import Assets
from autostudent.data.views import Augment, ViewBank, images
from autostudent.distill.types import Batch
from autostudent.errors import AssetError
from autostudent.teach.knowledge import Knowledge, stored
from autostudent.teach.maps import Maps
from autostudent.teach.teacher import live
from autostudent.teach.teachers import resolve

TAPS = ("stage2", "penultimate")


@pytest.fixture
def bank(digits):
    return ViewBank(digits.train.x, 3, 0, Augment(1, True))


def batch_of(bank, view, index):
    return Batch(images(bank.view(view or 0)[index]), torch.zeros(len(index), 10), index, view)


def bytes_of(maps):
    return {(tap, p.name): p.read_bytes() for tap in TAPS for p in maps.folder(tap).glob("view-*")}


def test_stored_taps_are_the_live_teachers(teacher, bank, tmp_path):
    assets = Assets(tmp_path)
    source = stored(teacher, Knowledge.ensure(assets, teacher, bank), Maps(assets, teacher, bank))
    index = torch.tensor([5, 0, 17])
    for view in (2, 0, 2, None):
        batch = batch_of(bank, view, index)
        found, wanted = source.outputs(batch, TAPS), live(teacher).outputs(batch, TAPS)
        assert torch.allclose(found.logits, wanted.logits, rtol=2e-3, atol=2e-3)
        for tap in TAPS:
            assert found.taps[tap].dtype == torch.float32
            assert found.taps[tap].stride() == wanted.taps[tap].stride()
            assert torch.allclose(found.taps[tap], wanted.taps[tap], rtol=2e-3, atol=2e-3)


def test_the_teacher_is_asked_once(teacher, bank, tmp_path, monkeypatch):
    assets, asked, ask = Assets(tmp_path), [], teacher.module.features
    knowledge = Knowledge.ensure(assets, teacher, bank)

    def counted(x, taps):
        asked.append(len(x))
        return ask(x, taps)

    monkeypatch.setattr(teacher.module, "features", counted)
    for _ in range(2):  # two workers, one after the other
        source = stored(teacher, knowledge, Maps(assets, teacher, bank))
        for view in (0, 1):
            for start in (0, 30):
                source.outputs(batch_of(bank, view, torch.arange(start, start + 30)), ("stage2",))
    shape_and_probes = 2 * 1 + 2 * 16
    assert sum(asked) == 2 * len(bank.x) + shape_and_probes


def test_what_takes_too_much_is_asked_for(teacher, bank, tmp_path):
    assets = Assets(tmp_path)
    maps = Maps(assets, teacher, bank, limit=1000)
    assert not maps.fit("stage2")
    source = stored(teacher, Knowledge.ensure(assets, teacher, bank), maps)
    batch = batch_of(bank, 1, torch.arange(4))
    assert torch.equal(source.outputs(batch, TAPS).taps["stage2"], live(teacher).outputs(batch, TAPS).taps["stage2"])
    assert not bytes_of(maps)


def test_an_altered_file_is_made_anew(teacher, bank, tmp_path, caplog):
    assets = Assets(tmp_path)
    maps = Maps(assets, teacher, bank)
    maps.read(1, "stage2")
    before = bytes_of(maps)
    (path,) = maps.folder("stage2").glob("view-*")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    Maps(assets, teacher, bank).read(1, "stage2")
    assert "was altered" in caplog.text
    assert bytes_of(maps) == before


def test_another_teachers_maps_are_refused(digits, teacher, bank, shared, tmp_path):
    assets = Assets(tmp_path)
    Maps(assets, teacher, bank).read(0, "stage2")
    spec = {"resnet": {"depth": 8, "width": 4}, "epochs": 2}
    other = resolve("main", spec, digits, shared, seed=9)
    fresh = Maps(assets, other, bank)
    assert fresh.folder("stage2") != Maps(assets, teacher, bank).folder("stage2")
    with pytest.raises(AssetError, match="does not hold stage2"):
        Maps(assets, dataclasses.replace(other, key=teacher.key), bank).read(0, "stage2")
