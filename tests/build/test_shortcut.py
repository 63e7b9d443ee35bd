"""Strided 1x1 convolutions of few channels: the same function, without the kernel that corrupts the heap."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from autostudent.build.network import build
from autostudent.build.ops_vision import Shortcut
from autostudent.space.graph import InputShape
from autostudent.space.resnet import resnet


class Backward(TorchDispatchMode):
    """Remembers (input channels, kernel, stride) of every convolution that is differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append((args[1].shape[1], tuple(args[2].shape[2:]), tuple(args[4])))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [1, 5, 7, 8, 12])
@pytest.mark.parametrize("side", [7, 8])
def test_values_and_gradients_are_those_of_a_plain_convolution(channels: int, side: int) -> None:
    ours, plain = Shortcut(channels, 9, 1, 2, bias=False).double(), nn.Conv2d(channels, 9, 1, 2, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    xs = [torch.rand(3, channels, side, side, dtype=torch.double).requires_grad_() for _ in range(2)]
    xs[1].data.copy_(xs[0].data)
    slope = torch.rand(3, 9, (side + 1) // 2, (side + 1) // 2, dtype=torch.double)
    for layer, x in zip((ours, plain), xs, strict=True):
        (layer(x) * slope).sum().backward()
    torch.testing.assert_close(ours(xs[0]), plain(xs[1]))
    torch.testing.assert_close(xs[0].grad, xs[1].grad)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


def test_no_training_reaches_the_kernel_that_writes_past_its_buffer() -> None:
    network = build(resnet(8, 6, InputShape(1, 28, 28, 10), stem_stride=2), 0).to(memory_format=torch.channels_last)
    x = torch.rand(5, 1, 28, 28).to(memory_format=torch.channels_last)
    with Backward() as backward:
        network.train()(x).sum().backward()
    assert any(kernel == (1, 1) for _, kernel, _ in backward.seen)
    assert not [one for one in backward.seen if one[0] < 8 and one[1] == (1, 1) and one[2] != (1, 1)]
