"""What a model of accuracy may know of a graph: a short vector with the same meaning for every student of a space."""

from __future__ import annotations

import math

from autostudent.records import Candidate
from autostudent.space.cost import costs
from autostudent.space.graph import Architecture
from autostudent.space.knobs import Knobs
from autostudent.space.ops import OPS
from autostudent.space.space import Space

_GENERAL = (
    "log_params",
    "log_macs",
    "log_memory",
    "log_width",
    "log_head",
    "log_convolutions",
    "log_edges",
    "log_depth",
    "mean_depth",
    "mean_inputs",
    "merges",
    "skips",
    "log_edits",
)
_PER_STAGE = ("log_convolutions", "log_depth", "log_width")


def feature_names(space: Space) -> tuple[str, ...]:
    """Names of the entries of `features`, in order; `records.FEATURES_VERSION` counts what they mean."""
    stages = Knobs({}, space.fixed).whole("stage.count", 3)
    per_stage = tuple(f"stage{s + 1}.{name}" for s in range(stages) for name in _PER_STAGE)
    return (*_GENERAL, *per_stage, *(f"share.{op}" for op in space.ops))


def features(architecture: Architecture, candidate: Candidate, space: Space) -> tuple[float, ...]:
    """A fixed number of finite values for one space; generator numbers and recipe come through `Space.encode` instead.

    Costs, widths and counts are natural logarithms (of one plus the count where it may be zero). Depths count
    operations on the longest path from the picture; ``mean_depth`` is the mean over operations relative to the longest.
    ``merges`` and ``skips`` are shares: of nodes with several inputs, and of edges that jump over at least one level.
    ``log_edits`` tells how far the graph has moved from what its generator numbers describe.
    """
    nodes = architecture.nodes
    stages = Knobs({}, space.fixed).whole("stage.count", 3)
    depth = [0] * len(nodes)
    convolutions, deepest = [0] * stages, [0] * stages
    edges = merges = skips = inner = total = 0
    counts = dict.fromkeys(space.ops, 0)
    for i, node in enumerate(nodes[1:], 1):
        above = max(depth[j] for j in node.inputs)
        depth[i] = above + (node.op != "join")
        edges += len(node.inputs)
        merges += len(node.inputs) > 1
        skips += sum(depth[j] < above for j in node.inputs)
        if node.op in counts:
            counts[node.op] += 1
            inner += 1
            total += depth[i]
        if OPS[node.op].mixes:
            convolutions[node.stage] += 1
        deepest[node.stage] = max(deepest[node.stage], depth[i])
    exact = costs(architecture)
    widths = [nodes[block].width for block in architecture.stages]
    longest = max(depth)
    out = [
        math.log(exact.params),
        math.log(exact.macs),
        math.log(exact.memory_bytes),
        math.log(widths[0]),
        math.log(architecture.width),
        math.log1p(sum(convolutions)),
        math.log(edges),
        math.log(longest),
        total / (max(inner, 1) * longest),
        edges / (len(nodes) - 1),
        merges / (len(nodes) - 1),
        skips / edges,
        math.log1p(len(candidate.edits)),
    ]
    start = 0
    for stage in range(stages):
        out += [math.log1p(convolutions[stage]), math.log1p(max(deepest[stage] - start, 0)), math.log(widths[stage])]
        start = max(start, deepest[stage])
    return (*out, *(counts[op] / max(inner, 1) for op in space.ops))
