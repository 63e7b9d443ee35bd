from __future__ import annotations

import torch
from torch import Tensor, nn

from autostudent.measure.memory import held_bytes, measure_memory


class Chain(nn.Module):
    """Three doublings of 100 numbers; the first result is kept to the end."""

    def forward(self, x: Tensor) -> Tensor:
        kept = x * 2
        y = kept * 2
        y = y * 2
        return y + kept


def test_the_peak_by_hand() -> None:
    """Live at the last step: kept, y and the sum, 400 bytes each; the input does not count."""
    assert measure_memory(Chain(), torch.ones(100)) == 1200


def test_views_and_in_place_steps_are_free() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            return y.view(10, 10).t().flatten(0).mul_(2).unsqueeze(0) if x.dim() > 1 else y.view(10, 10).mul_(2)

    assert measure_memory(Views(), torch.ones(100)) == 400


def test_parameters_and_buffers_count_once() -> None:
    tied = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False), nn.BatchNorm1d(10))
    tied[1].weight = tied[0].weight
    assert held_bytes(tied) == 400 + 80 + 80 + 8
    assert measure_memory(tied, torch.ones(1, 10)) == held_bytes(tied) + 80


def test_the_mode_is_left_as_it_was_and_nothing_is_trained() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    net[1].eval()
    measure_memory(net, torch.rand(4, 1, 8, 8))
    assert [part.training for part in net.modules()] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    net.eval()
    measure_memory(net, torch.rand(4, 1, 8, 8))
    assert not net.training
