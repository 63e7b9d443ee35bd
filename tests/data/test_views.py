import pickle
import time

import numpy as np
import pytest
import torch

from autostudent.data import pixels
from autostudent.data.views import Augment, ViewBank, images
from autostudent.errors import ConfigError


def pictures(samples=50, shape=(3, 8, 8), seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (samples, *shape), dtype=torch.uint8, generator=draw)


def by_hand(x, augment, top, left, mirror):
    """One picture, padded, cropped and mirrored with plain loops."""
    pad, (channels, height, width) = augment.crop_pad, x.shape
    out = np.zeros(x.shape, np.uint8)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                row, column = i + top - pad, j + left - pad
                if 0 <= row < height and 0 <= column < width:
                    out[c, i, j] = x[c, row, column]
    return out[:, :, ::-1] if mirror else out


def test_every_view_is_a_crop_and_perhaps_a_mirror_image():
    x, augment = pictures(20), Augment(2, True)
    view = ViewBank(x, 3, 7, augment).view(1).numpy()
    for before, after in zip(x.numpy(), view, strict=True):
        choices = [(t, s, m) for t in range(5) for s in range(5) for m in (False, True)]
        assert any(np.array_equal(by_hand(before, augment, *choice), after) for choice in choices)


def test_crops_and_mirrors_are_spread_evenly():
    ramp = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(5000, 1, 8, 8).contiguous() + 1
    view = ViewBank(ramp, 1, 3, Augment(1, True)).view(0)
    _, counts = np.unique(view.numpy().reshape(5000, -1), axis=0, return_counts=True)
    assert len(counts) == 18
    assert counts.min() > 200


def test_a_view_is_a_function_of_seed_view_and_sample_only():
    x, augment = pictures(), Augment(1, True)
    bank = ViewBank(x, 4, 5, augment)
    assert torch.equal(bank.view(2), ViewBank(x, 9, 5, augment).view(2))
    assert torch.equal(bank.view(2)[:10], ViewBank(x[:10], 4, 5, augment).view(2))
    assert not torch.equal(bank.view(2), bank.view(3))
    assert not torch.equal(bank.view(2), ViewBank(x, 4, 6, augment).view(2))


def test_without_augmentation_views_are_the_pictures():
    x = pictures()
    bank = ViewBank(x, 2, 0, Augment())
    assert torch.equal(bank.view(1), x)
    assert torch.equal(bank.plain(), x)
    with pytest.raises(IndexError):
        bank.view(2)


def test_the_address_holds_all_that_decides_a_view():
    x = pictures()
    other = x.clone()
    other[0, 0, 0, 0] ^= 1
    banks = [
        ViewBank(x, 4, 5, Augment(1, True)),
        ViewBank(other, 4, 5, Augment(1, True)),
        ViewBank(x, 5, 5, Augment(1, True)),
        ViewBank(x, 4, 6, Augment(1, True)),
        ViewBank(x, 4, 5, Augment(2, True)),
    ]
    assert len({bank.address for bank in banks}) == len(banks)
    assert banks[0].address == ViewBank(x.clone(), 4, 5, Augment(1, True)).address


def splitmix(z):
    """SplitMix64 in Python's whole numbers, derived from the paper rather than from the code under test."""
    z = (z + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def slowly(x, augment, seed, number):
    """A view, sample for sample."""
    key, side = splitmix((splitmix(seed) + number) % 2**64), 2 * augment.crop_pad + 1
    cut = []
    for sample, picture in enumerate(x.numpy()):
        bits = splitmix((key + sample) % 2**64)
        top, left, mirror = bits % 2**16 % side, (bits >> 16) % 2**16 % side, augment.flip and bool(bits >> 32 & 1)
        cut.append(by_hand(picture, augment, top, left, mirror))
    return torch.from_numpy(np.stack(cut))


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 5, 4), (2, 4, 7)])
@pytest.mark.parametrize("augment", [Augment(1, True), Augment(2, False), Augment(0, True), Augment(0, False)])
@pytest.mark.parametrize("chunk", [1, 900, 1 << 20])  # bytes: a picture at a time, a few with a rest, all at once
def test_views_are_golden(shape, augment, chunk, monkeypatch):
    """Every stored knowledge depends on these pixels: a view may never change without a new `CODE`."""
    monkeypatch.setattr(pixels, "CHUNK_BYTES", chunk)
    x = pictures(13, shape)
    assert torch.equal(ViewBank(x, 3, 11, augment).view(2), slowly(x, augment, 11, 2))


def test_a_view_is_made_where_it_is_wanted_without_waiting_for_the_device():
    x = pictures()
    bank = ViewBank(x, 3, 0, Augment(1, True))
    view = bank.view(1, "meta")  # here nothing can be read back: no draw, no pixel
    assert (view.device.type, view.shape, view.dtype) == ("meta", x.shape, torch.uint8)


def test_the_pictures_are_put_on_a_device_once():
    bank = ViewBank(pictures(), 3, 0, Augment(1, True))
    assert bank.plain().data_ptr() == bank.x.data_ptr()
    held = bank.plain("meta")
    bank.view(0, "meta")
    assert bank.plain(torch.device("meta", 0)) is held
    sent = pickle.loads(pickle.dumps(bank))
    assert sent._held == {}
    assert torch.equal(sent.view(1), bank.view(1))


@pytest.mark.gpu
def test_an_accelerator_makes_the_same_bytes(monkeypatch):
    monkeypatch.setattr(pixels, "ACCELERATOR_CHUNK_BYTES", 100_000)
    for shape, augment in (((1, 28, 28), Augment(2, False)), ((3, 32, 32), Augment(4, True))):
        bank = ViewBank(pictures(301, shape), 3, 11, augment)
        assert torch.equal(bank.view(2, "cuda").cpu(), bank.view(2))
        assert bank.plain("cuda") is bank.plain("cuda:0")


def test_views_are_cheap():
    bank = ViewBank(pictures(10_000, (1, 28, 28)), 4, 0, Augment(2, True))
    bank.view(0)
    started = time.process_time()
    bank.view(1)
    assert time.process_time() - started < 0.25  # about 0.01 s


def test_images_are_floats_in_unit_range():
    out = images(pictures(4))
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= float(out.min()) < 0.1 < 0.9 < float(out.max()) <= 1


def test_defaults_fit_the_pictures():
    assert Augment.default((1, 8, 8)) == Augment(1, False)
    assert Augment.default((1, 28, 28)) == Augment(2, False)
    assert Augment.default((3, 32, 32)) == Augment(4, True)
    assert Augment.default((3, 32, 32), mirrored=False) == Augment(4, False)
    assert Augment(2, False).with_options({"flip": True}) == Augment(2, True)


@pytest.mark.parametrize("options", [{"crop_pad": -1}, {"crop_pad": 1.5}, {"flip": 1}, {"crop": 2}])
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError, match="augment"):
        Augment().with_options(options)
