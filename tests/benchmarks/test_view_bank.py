"""The benchmark of the view bank: its control draws what it says, its intervals are those of the textbook."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import view_bank

from autostudent.data.views import Augment


def test_on_line_views_are_crops_of_all_places_and_belong_to_the_student() -> None:
    picture = torch.arange(1, 37, dtype=torch.uint8).reshape(1, 1, 6, 6)
    x, augment = picture.repeat(400, 1, 1, 1), Augment(1, False)
    bank = view_bank.OnLine(x, 5, 3, augment)
    padded = torch.nn.functional.pad(picture, (1, 1, 1, 1))
    places = {padded[..., top : top + 6, left : left + 6].numpy().tobytes() for top in range(3) for left in range(3)}

    view = bank.view(2)
    assert {one[None].numpy().tobytes() for one in view} == places
    assert torch.equal(view, view_bank.OnLine(x, 5, 3, augment).view(2))
    assert not torch.equal(view, bank.view(3))
    assert not torch.equal(view, view_bank.OnLine(x, 5, 4, augment).view(2))
    mirrored = view_bank.OnLine(x, 5, 3, Augment(0, True)).view(0)
    assert 120 < int((mirrored == x).flatten(1).all(1).sum()) < 280


def test_differences_are_paired_by_seed() -> None:
    count, mean, half = view_bank.paired({0: 0.51, 1: 0.62, 2: 0.73, 9: 0.1}, {0: 0.50, 1: 0.60, 2: 0.70})
    assert count == 3
    assert mean == pytest.approx(2.0)
    assert half == pytest.approx(4.302653 * 1.0 / 3**0.5, rel=1e-5)  # t of 2 degrees of freedom, sd 1
