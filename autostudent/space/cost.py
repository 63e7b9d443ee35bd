"""Parameters, multiply-accumulates and inference memory of an architecture, exact and without building it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autostudent.space.graph import Architecture, Node
from autostudent.space.ops import OPS, edge_weights
from autostudent.space.schedule import schedule

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Costs:
    """``params``: learned numbers. ``macs``: multiply-accumulates of convolutions and the linear layer for one picture.

    ``memory_bytes``: parameters, buffers, and the largest sum of live intermediate tensors in one float32 forward pass
    of one picture in evaluation mode, without the picture itself and the workspace of the backend.
    """

    params: int
    macs: int
    memory_bytes: int

    def as_dict(self) -> dict[str, int]:
        return {"params": self.params, "macs": self.macs, "memory_bytes": self.memory_bytes}


def projections(node: Node, nodes: tuple[Node, ...]) -> Iterator[int]:
    """Channels of every input of the node that passes a 1x1 convolution (with bias) to the node's width."""
    op, inputs = OPS[node.op], node.inputs
    if len(inputs) > 1 and node.merge == "concat":
        if not op.mixes:
            yield sum(nodes[i].width for i in inputs)
    elif len(inputs) > 1 or not op.mixes:
        for i in inputs:
            if nodes[i].width != node.width:
                yield nodes[i].width


def entering(node: Node, nodes: tuple[Node, ...]) -> int:
    """Channels that enter the node's operation."""
    if OPS[node.op].mixes:
        if len(node.inputs) == 1:
            return nodes[node.inputs[0]].width
        if node.merge == "concat":
            return sum(nodes[i].width for i in node.inputs)
    return node.width


def costs(architecture: Architecture) -> Costs:
    """The exact costs of an architecture."""
    nodes, shape = architecture.nodes, architecture.input
    params = macs = buffers = 0
    pixels: dict[int, int] = {}
    for node in nodes[1:]:
        op, width = OPS[node.op], node.width
        if node.stride not in pixels:
            height, breadth = architecture.size(node.stride)
            pixels[node.stride] = height * breadth
        area = pixels[node.stride]
        channels = entering(node, nodes)
        params += op.params(channels, width) + edge_weights(node.merge, len(node.inputs))
        macs += op.macs(channels, width, area)
        buffers += op.buffer_bytes(width)
        for source in projections(node, nodes):
            params += source * width + width
            macs += source * width * area
    params += (architecture.width + 1) * shape.classes
    macs += architecture.width * shape.classes
    buffers += 2 * FLOAT_BYTES * shape.channels  # mean and standard deviation of the pictures
    return Costs(params, macs, FLOAT_BYTES * (params + peak(architecture)) + buffers)


def peak(architecture: Architecture) -> int:
    """The most numbers that live at once between the layers, for one picture."""
    plan = schedule(architecture)
    shape = architecture.input
    picture = shape.channels * shape.height * shape.width
    sizes = [0] * plan.slots
    sizes[0] = picture
    most = live = picture + plan.edges
    for step in plan.steps:
        if step.new:
            sizes[step.out] = step.new
            live += step.new
            if live + step.extra > most:
                most = live + step.extra
        for slot in step.frees:
            live -= sizes[slot]
    return most
