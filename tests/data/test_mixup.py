"""MixUp in a bank: who is mixed with whom, and that old banks stay what they were."""

import numpy as np
import pytest
import torch

from autostudent.data import pixels
from autostudent.data.datasets import load
from autostudent.data.mixup import UNIT, Mixing, shares
from autostudent.data.views import Augment, ViewBank
from autostudent.errors import ConfigError
from autostudent.trial import bank_of


def pictures(samples=60, shape=(2, 5, 4)):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (samples, *shape), dtype=torch.uint8, generator=draw)


def test_a_bank_without_it_keeps_its_address_and_its_pixels():
    """Stores that hold knowledge of such a bank must find it again."""
    x = (torch.arange(2 * 3 * 4 * 4) % 251).to(torch.uint8).view(2, 3, 4, 4)
    for bank in (
        ViewBank(x, 4, 5, Augment(1, True)),
        ViewBank(x, 4, 5, Augment(1, True, 0)),
        ViewBank(x, 4, 5, Augment(1, True, 0.0), held=torch.tensor([1])),
    ):
        assert bank.address == "6b00fc5d3baef3de4da54c2a8c56f6b2"  # written down before there was MixUp
        assert bank.mixing(0) is None


def test_the_address_of_a_mixed_bank_holds_alpha_and_the_sides():
    x = pictures()
    banks = [
        ViewBank(x, 4, 5, Augment(1, True)),
        ViewBank(x, 4, 5, Augment(1, True, 0.2)),
        ViewBank(x, 4, 5, Augment(1, True, 1)),
        ViewBank(x, 4, 5, Augment(1, True, 0.2), torch.tensor([3, 9])),
    ]
    assert len({bank.address for bank in banks}) == len(banks)
    assert banks[2].address == ViewBank(x, 4, 5, Augment(1, True, 1.0)).address
    assert banks[3].address == ViewBank(x, 4, 5, Augment(1, True, 0.2), torch.tensor([9, 3])).address


@pytest.mark.parametrize("chunk", [1, 900, 1 << 20])
def test_pixels_are_the_blend_of_the_unmixed_view_rounded(chunk, monkeypatch):
    monkeypatch.setattr(pixels, "CHUNK_BYTES", chunk)
    x = pictures()
    bank, unmixed = (ViewBank(x, 3, 7, Augment(1, True, alpha)) for alpha in (0.7, 0))
    before, after, mixing = unmixed.view(2).tolist(), bank.view(2), bank.mixing(2)
    for sample, (partner, share) in enumerate(zip(mixing.partner.tolist(), mixing.share.tolist(), strict=True)):
        own, other = np.ravel(before[sample]).tolist(), np.ravel(before[partner]).tolist()
        blend = [(a * share + b * (UNIT - share) + UNIT // 2) // UNIT for a, b in zip(own, other, strict=True)]
        assert after[sample].flatten().tolist() == blend
    assert torch.equal(bank.plain(), x)


def test_partners_and_shares_are_functions_of_seed_view_and_sample():
    x = pictures()
    bank = ViewBank(x, 4, 5, Augment(1, True, 0.4))
    assert torch.equal(bank.view(2), ViewBank(x, 9, 5, Augment(1, True, 0.4)).view(2))
    for other in (bank.mixing(3), ViewBank(x, 4, 6, Augment(1, True, 0.4)).mixing(2)):
        assert (other.partner != bank.mixing(2).partner).float().mean() > 0.9
        assert (other.share != bank.mixing(2).share).float().mean() > 0.9


def test_partners_are_drawn_evenly_and_apart_from_share_and_crop():
    bank = ViewBank(torch.zeros(20_000, 1, 1, 1, dtype=torch.uint8), 1, 1, Augment(0, False, 1.0))
    mixing = bank.mixing(0)
    counts = np.bincount(mixing.partner.numpy() // 200, minlength=100)
    assert ((counts - 200) ** 2 / 200).sum() < 160  # chi square of 99 degrees of freedom, p = 1e-4
    crop = pixels.counter_bits(1, 0, 20_000) & 0xFFFF
    columns = [mixing.partner.numpy(), mixing.share.numpy(), crop.astype(float), np.arange(20_000)]
    apart = np.corrcoef(columns)[np.triu_indices(4, 1)]
    assert np.abs(apart).max() < 0.03  # four standard errors


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_the_larger_share_is_that_of_beta(alpha):
    drawn = np.random.default_rng(0).beta(alpha, alpha, 200_000)
    wanted, found = np.sort(np.maximum(drawn, 1 - drawn)), np.sort(shares(alpha) / UNIT)
    grid = np.linspace(0.5, 1, 200)
    gaps = np.searchsorted(wanted, grid) / len(wanted) - np.searchsorted(found, grid) / len(found)
    assert np.abs(gaps[1:-1]).max() < 0.006
    assert UNIT // 2 < shares(alpha).min() <= shares(alpha).max() <= UNIT


def test_hardly_any_and_very_much_mixing():
    assert (shares(1e-6) == UNIT).mean() > 0.999
    assert shares(100.0).mean() / UNIT == pytest.approx(0.528, abs=0.002)  # 1/2 + sd of Beta(100, 100) x sqrt(2 / pi)


def test_nothing_of_the_meta_split_reaches_the_others():
    held = torch.arange(0, 60, 7)
    x = torch.zeros(60, 1, 4, 4, dtype=torch.uint8)
    x[held] = 255
    bank = ViewBank(x, 5, 3, Augment(0, True, 1.0), held)
    for number in range(5):
        assert torch.equal(bank.view(number), x)
        assert (bank.mixing(number).partner != torch.arange(60)).any()
    assert not torch.equal(ViewBank(x, 5, 3, Augment(0, True, 1.0)).view(0), x)


def test_a_study_s_bank_knows_its_meta_split():
    data = load({"name": "digits", "limit": 300, "augment": {"mixup": 0.5}})
    inside = torch.zeros(len(data.train), dtype=torch.bool)
    inside[data.meta] = True
    mixing = bank_of(data, 2, 0).mixing(1)
    assert torch.equal(inside[mixing.partner], inside)
    whole = bank_of(load({"name": "digits", "limit": 300, "meta": 0, "augment": {"mixup": 0.5}}), 2, 0)
    assert len(whole.mixing(1).partner) == len(whole.x)


def test_targets_are_mixed_like_the_pixels():
    soft = torch.eye(3) * 0.9 + 0.1 / 3
    mixing = Mixing(torch.tensor([1, 0, 2, 3]), torch.tensor([UNIT * 3 // 4, UNIT, UNIT * 5 // 8, 40_000]))
    found = mixing.targets(soft, torch.tensor([0, 2, 1, 1]), torch.tensor([2, 0, 1]))
    low, high = 0.1 / 3, 0.9 + 0.1 / 3
    by_hand = [[low, high, low], [0.75 * high + 0.25 * low, low, 0.75 * low + 0.25 * high], [low, low, high]]
    assert torch.allclose(found, torch.tensor(by_hand))


def test_a_mixed_view_is_made_without_waiting_for_the_device():
    bank = ViewBank(pictures(), 2, 0, Augment(1, True, 0.3))
    assert bank.view(1, "meta").shape == bank.x.shape
    target = bank.mixing(1, "meta").targets(torch.eye(3, device="meta"), torch.zeros(60, device="meta").long(), [1])
    assert target.device.type == "meta"


@pytest.mark.gpu
def test_an_accelerator_mixes_to_the_same_bytes():
    bank = ViewBank(pictures(301, (3, 32, 32)), 2, 0, Augment(4, True, 0.3))
    assert torch.equal(bank.view(1, "cuda").cpu(), bank.view(1))


@pytest.mark.parametrize("alpha", [-0.1, 101, True, "0.2", float("nan"), None])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ConfigError, match=r"augment.mixup: got .*; expected a number from 0 \(no mixing\) to 100"):
        Augment().with_options({"mixup": alpha})
