"""Students compiled for a long training. Compiling takes most of a minute, so a search never does it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from autostudent.errors import ConfigError

Make = Callable[[int], nn.Module]


def compiled(make: Make, device: torch.device) -> Make:
    """``make`` (a network from a seed) with the network's forward and backward passes compiled when first used.

    Weights and their names stay as they are. On an accelerator whole passes are recorded and replayed (CUDA graphs).

    Raises:
        ConfigError: where there is no C++ compiler for a training on the CPU.
    """
    if device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise ConfigError("training.compile", True, "false: here is no C++ compiler (g++, or the one that CXX names)")

    def ready(seed: int) -> nn.Module:
        network = make(seed)
        network.compile(mode=None if device.type == "cpu" else "reduce-overhead")
        return network

    return ready


@contextmanager
def as_it_is(compile: bool) -> Iterator[None]:
    """Within it compiled networks run uncompiled, as they do wherever they are used later."""
    if not compile:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
