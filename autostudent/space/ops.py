"""Operations of a node on pictures, and what they cost exactly.

An operation is a short sequence of kernels. The searchable ones follow NAGO's triplet ReLU, convolution, batch norm
(Ru et al. 2020, arXiv 2004.01395); the ``plain`` ones put batch norm right after the convolution, for stems and
ResNets. Their modules are in `autostudent.build.ops_vision`; both sides read this table, and a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class Kernel(NamedTuple):
    """One step of an operation: "relu", "conv", "depthwise", "norm" or "pool"; ``size`` is (height, width)."""

    kind: str
    size: tuple[int, int] = (1, 1)

    @property
    def area(self) -> int:
        return self.size[0] * self.size[1]


@dataclass(frozen=True)
class Op:
    """A sequence of kernels from ``c_in`` to ``c_out`` channels.

    ``searchable``: may stand in a search space. ``strided``: does its own downsampling, in its first convolution;
    otherwise inputs are average-pooled to the node's size first.
    """

    kernels: tuple[Kernel, ...]
    searchable: bool = True
    strided: bool = False

    @cached_property
    def mixes(self) -> bool:
        """Whether it has a full convolution and so may change the number of channels."""
        return any(kernel.kind == "conv" for kernel in self.kernels)

    @cached_property
    def dense(self) -> int:
        """Weights per pair of an input and an output channel."""
        return sum(kernel.area for kernel in self.kernels if kernel.kind == "conv")

    @cached_property
    def depthwise(self) -> int:
        """Weights per input channel."""
        return sum(kernel.area for kernel in self.kernels if kernel.kind == "depthwise")

    @cached_property
    def norms(self) -> int:
        """Batch norms, all over the output channels."""
        return sum(kernel.kind == "norm" for kernel in self.kernels)

    @cached_property
    def starts_with_relu(self) -> bool:
        return bool(self.kernels) and self.kernels[0].kind == "relu"

    @cached_property
    def ends_with_relu(self) -> bool:
        return bool(self.kernels) and self.kernels[-1].kind == "relu"


_RELU, _NORM, _POINT = Kernel("relu"), Kernel("norm"), Kernel("conv")


def _triplet(*middle: Kernel) -> Op:
    return Op((_RELU, *middle, _NORM))


OPS: dict[str, Op] = {
    "conv1": _triplet(_POINT),
    "conv3": _triplet(Kernel("conv", (3, 3))),
    "conv5": _triplet(Kernel("conv", (5, 5))),
    "conv3x1": _triplet(Kernel("conv", (3, 1))),
    "conv1x3": _triplet(Kernel("conv", (1, 3))),
    "sep3": _triplet(Kernel("depthwise", (3, 3)), _POINT),
    "sep5": _triplet(Kernel("depthwise", (5, 5)), _POINT),
    "pool3": Op((Kernel("pool", (3, 3)),)),
    "pool5": Op((Kernel("pool", (5, 5)),)),
    "join": Op((), searchable=False),
    "relu": Op((_RELU,), searchable=False),
    "plain1": Op((_POINT, _NORM), searchable=False, strided=True),
    "plain3": Op((Kernel("conv", (3, 3)), _NORM), searchable=False, strided=True),
    "plain3_relu": Op((Kernel("conv", (3, 3)), _NORM, _RELU), searchable=False, strided=True),
    "input": Op((), searchable=False),
}
"""Every operation by name. ``join`` only merges its inputs; ``input`` is the (normalised) picture itself."""

MERGES = ("sum", "add", "mean", "concat", "attention")
"""How several inputs become one. ``sum``: each times a learned sigmoid(w); ``add`` and ``mean`` have no weights;
``concat`` along channels; ``attention``: the first input, scaled to [0, 1] over each picture, plus sigmoid(w), times
the weighted sum of the others (Ru et al. 2020)."""


def edge_weights(merge: str, inputs: int) -> int:
    """Learned scalars of a merge of ``inputs`` tensors."""
    return inputs if inputs > 1 and merge in ("sum", "attention") else 0
