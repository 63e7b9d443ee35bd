"""From a candidate to its frozen graph. Also the one place to import the graph's types, edits and features from."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from platform import python_version

from autostudent.records import Candidate
from autostudent.space.draft import Draft, Widths, solve
from autostudent.space.edits import neighbour
from autostudent.space.features import feature_names, features
from autostudent.space.graph import Architecture, InputShape, Node
from autostudent.space.hnag import Hierarchy
from autostudent.space.knobs import Edits, Knobs
from autostudent.space.resnet import blocks_of_depth, resnet_draft
from autostudent.space.space import Space

__all__ = ["Architecture", "InputShape", "Node", "draw", "feature_names", "features", "freeze", "neighbour"]


@cache
def library_versions() -> dict[str, str]:
    """Whose random numbers draw graphs."""
    return {"python": python_version(), **{name: version(name) for name in ("networkx", "numpy")}}


def freeze(candidate: Candidate, space: Space, input: InputShape) -> Architecture:
    """Draws the candidate's graph, applies its edits in order and solves the width on the exact parameter count.

    The largest width is taken whose parameters do not exceed ``params.target``. Recipe parameters are not looked at.

    Raises:
        InvalidDraw: when the numbers give no graph, an edit does not fit, or the smallest width exceeds the target.
    """
    draft, widths = draw(candidate, space, input)
    knobs = Knobs(candidate.config, space.fixed)
    return draft.freeze(solve(draft.count(), widths, knobs.target), library_versions())


def draw(candidate: Candidate, space: Space, input: InputShape) -> tuple[Draft, Widths]:
    """The candidate's graph with free widths. Raises `InvalidDraw`."""
    knobs, edits = Knobs(candidate.config, space.fixed), Edits.sort(candidate.edits)
    if space.generator == "hnag":
        return Hierarchy(knobs, space.ops, candidate.seed, edits, input).draw()
    blocks = blocks_of_depth(knobs.whole("resnet.depth", 20))
    draft = resnet_draft(input, blocks, knobs.stem_stride(input))
    edits.require_used()
    ratios = edits.ratios(knobs.number("stage.growth", 2.0), len(blocks))
    return draft, Widths(input.channels, ratios, 0.0, knobs.whole("width.multiple", 1))
