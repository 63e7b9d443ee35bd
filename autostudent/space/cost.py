"""Parameters, multiply-accumulates and inference memory of an architecture, exact and without building it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from autostudent.space.graph import Architecture
from autostudent.space.ops import OPS, edge_weights
from autostudent.space.schedule import peak

FLOAT_BYTES = 4
COUNTER_BYTES = 8  # batch norm counts its batches in a 64-bit number


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


@lru_cache(maxsize=64)
def costs(architecture: Architecture) -> Costs:
    """The exact costs of an architecture (remembered for the last few: identity, costs and features ask in turn)."""
    nodes, shape, areas = architecture.nodes, architecture.input, architecture.areas
    params = macs = norm_bytes = 0
    for node in nodes[1:]:
        op, width, inputs = OPS[node.op], node.width, node.inputs
        weights, entering = 0, width
        if len(inputs) == 1:
            source = nodes[inputs[0]].width
            if op.mixes:
                entering = source
            elif source != width:
                params += width
                weights = source * width
        elif node.merge == "concat":
            entering = sum([nodes[i].width for i in inputs])
            if not op.mixes:
                params += width
                weights = entering * width
        else:
            params += edge_weights(node.merge, len(inputs))
            for i in inputs:
                source = nodes[i].width
                if source != width:
                    params += width
                    weights += source * width
        weights += op.dense * entering * width + op.depthwise * entering
        params += weights + 2 * op.norms * width
        macs += weights * areas[node.stride]
        norm_bytes += op.norms * (2 * FLOAT_BYTES * width + COUNTER_BYTES)
    params += (architecture.width + 1) * shape.classes
    macs += architecture.width * shape.classes
    buffers = norm_bytes + 2 * FLOAT_BYTES * shape.channels  # mean and deviation of the pictures
    return Costs(params, macs, FLOAT_BYTES * (params + peak(architecture)) + buffers)
