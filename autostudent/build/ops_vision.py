"""Steps of a vision schedule as torch modules and functions; their costs stand in `autostudent.space.ops`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autostudent.space.schedule import Step


def same_padding(size: tuple[int, int]) -> tuple[int, int]:
    """Padding that keeps (or, with stride 2, halves and rounds up) the size under an odd kernel."""
    return size[0] // 2, size[1] // 2


def module(step: Step) -> nn.Module | None:
    """The module of a step, None for steps that are plain functions of tensors."""
    c_in, c_out = step.channels
    match step.kind:
        case "conv" if step.size == (1, 1) and step.stride != 1:
            return Shortcut(c_in, c_out, 1, step.stride, bias=False)
        case "conv":
            return nn.Conv2d(c_in, c_out, step.size, step.stride, same_padding(step.size), bias=False)
        case "depthwise":
            return nn.Conv2d(c_in, c_in, step.size, step.stride, same_padding(step.size), groups=c_in, bias=False)
        case "project":
            return nn.Conv2d(c_in, c_out, 1)
        case "norm":
            return nn.BatchNorm2d(c_out)
        case "linear":
            return nn.Linear(c_in, c_out)
        case "pool":
            return nn.AvgPool2d(step.size, 1, same_padding(step.size), count_include_pad=False)
        case "shrink":
            return nn.AvgPool2d(step.size, ceil_mode=True)
        case "relu":
            return nn.ReLU()
        case "relu_":
            return nn.ReLU(inplace=True)
    return None


NARROW = 16  # channels from which on a vector register of any processor is full


class Shortcut(nn.Conv2d):
    """A 1x1 convolution with a stride, as on the shortcuts of residual networks.

    Note:
        For pictures of less than 8 channels in channels_last oneDNN (torch 2.13, on AVX2) writes the gradient of such a
        weight past the end of a buffer and corrupts the heap: crashes, or wrong numbers, much later. While gradients
        are wanted the pixels of few channels are therefore picked first, which is the same function.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels < NARROW and x.device.type == "cpu" and torch.is_grad_enabled():
            rows, columns = self.stride
            return F.conv2d(x[:, :, ::rows, ::columns], self.weight, self.bias)
        return super().forward(x)


def attend(mask: Tensor, total: Tensor, weight: Tensor) -> Tensor:
    """``total * (weight + mask)`` with the mask ``(B, D, H, W)`` scaled to [0, 1] over each picture."""
    low = mask.amin((1, 2, 3), keepdim=True)
    span = mask.amax((1, 2, 3), keepdim=True) - low
    gate = ((mask - low) / (span + 1e-6)).add_(weight)
    return total * gate


def initialise(layer: nn.Module, generator: torch.Generator) -> None:
    """Kaiming normal (fan out) for convolutions, 1 and 0 for batch norm, uniform ±1/√D for the linear layer."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Linear):
        bound = layer.in_features**-0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.reset_running_stats()
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
