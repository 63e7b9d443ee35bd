"""Hypothesis strategies for pictures, search spaces, candidates and graphs."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, settings
from hypothesis import strategies as st

from autostudent.errors import InvalidDraw
from autostudent.records import Candidate
from autostudent.space.architecture import Architecture, InputShape, Node, freeze, neighbour
from autostudent.space.ops import MERGES, OPS
from autostudent.space.space import Space, load_space

# The default run is the same every time and leaves no files behind; machines that test are often busy.
settings.register_profile("quiet", deadline=None, derandomize=True, database=None)
settings.load_profile("quiet")

SPACES = {name: load_space(name) for name in ("hnag_tiny", "hnag_cnn", "resnet_family")}
SEEDS = st.integers(0, 2**32 - 1)
SEARCHABLE = [name for name, op in OPS.items() if op.searchable]

shapes = st.builds(InputShape, st.sampled_from([1, 3]), st.integers(8, 33), st.integers(8, 33), st.integers(2, 12))
small_shapes = st.builds(InputShape, st.sampled_from([1, 3]), st.integers(8, 13), st.integers(8, 13), st.integers(2, 5))


@st.composite
def candidates(draw: st.DrawFn, space: Space, edits: int = 0) -> Candidate:
    """A random candidate of a space, with up to ``edits`` edits (drawn on a 16 x 16 picture)."""
    rng = np.random.default_rng(draw(SEEDS))
    candidate = Candidate(space.sample(rng), draw(SEEDS))
    for _ in range(draw(st.integers(0, edits)) if edits else 0):
        try:
            candidate = neighbour(candidate, space, InputShape(3, 16, 16, 10), rng)
        except InvalidDraw:
            assume(False)
    return candidate


@st.composite
def drawn(draw: st.DrawFn, space: Space, shape: st.SearchStrategy[InputShape], edits: int = 0) -> Architecture:
    """The frozen graph of a random candidate; invalid draws are skipped."""
    candidate = draw(candidates(space, edits))
    try:
        return freeze(candidate, space, draw(shape))
    except InvalidDraw:
        assume(False)
        raise AssertionError from None


@st.composite
def any_graphs(draw: st.DrawFn, shape: st.SearchStrategy[InputShape]) -> Architecture:
    """A graph of no generator: any operations, merges, widths and strides that the format allows."""
    input = draw(shape)
    nodes = [Node("input", input.channels, 0, 1, "add", ())]
    width = st.integers(1, 9)
    nodes.append(Node("plain3", draw(width), 0, draw(st.sampled_from([1, 2])), "add", (0,)))
    for _ in range(draw(st.integers(2, 9))):
        count = draw(st.integers(1, min(4, len(nodes))))
        picks = draw(st.lists(st.integers(0, len(nodes) - 1), min_size=count, max_size=count, unique=True))
        ops = [*SEARCHABLE, "join", "relu"] + (["plain1", "plain3", "plain3_relu"] if count == 1 else [])
        finest = max(nodes[i].stride for i in picks)
        stride = finest * draw(st.sampled_from([1, 1, 2])) if finest < 4 else finest
        nodes.append(
            Node(draw(st.sampled_from(ops)), draw(width), 0, stride, draw(st.sampled_from(MERGES)), tuple(picks))
        )
    nodes.append(closing(nodes))
    blocks = tuple(sorted(draw(st.sets(st.integers(1, len(nodes) - 1), min_size=1, max_size=3))))
    architecture = Architecture(input, tuple(nodes), blocks, {})
    architecture.validate()
    return architecture


def closing(nodes: list[Node]) -> Node:
    """A last node that reads everything nobody else reads."""
    read = {i for node in nodes for i in node.inputs}
    loose = tuple(i for i in range(len(nodes)) if i not in read)
    stride = max(nodes[i].stride for i in loose)
    return Node("join", nodes[loose[-1]].width, 0, stride, "sum", loose)
