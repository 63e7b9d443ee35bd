"""Neighbours of a candidate: one more edit, of a kind that its graph can take."""

from __future__ import annotations

import numpy as np

from autostudent.errors import InvalidDraw
from autostudent.records import Candidate, Edit
from autostudent.space.generators import connected
from autostudent.space.graph import InputShape
from autostudent.space.hnag import Hierarchy
from autostudent.space.knobs import Edits, Knobs
from autostudent.space.space import Space

TRIES = 50
STAGES = 3


def neighbour(candidate: Candidate, space: Space, input: InputShape, rng: np.random.Generator) -> Candidate:
    """The candidate with one more edit: an edge moved, a sub-graph redrawn, an operation swapped or a stage widened.

    The width is solved again afterwards, so a width step moves parameters between stages.

    Raises:
        InvalidDraw: when the candidate's own graph cannot be drawn.
    """
    knobs = Knobs(candidate.config, space.fixed)
    stages = knobs.whole("stage.count", STAGES)
    if space.generator != "hnag":
        return _with(candidate, _width(stages, rng))
    drawn = Hierarchy(knobs, space.ops, candidate.seed, Edits.sort(candidate.edits), input)
    drawn.draw()
    for _ in range(TRIES):
        kind = rng.choice(["rewire", "reseed", "op", "width"], p=[0.35, 0.2, 0.3, 0.15])
        edit = {"rewire": _rewire, "reseed": _reseed, "op": _swap}[kind](drawn, rng) if kind != "width" else None
        if kind == "width":
            edit = _width(stages, rng)
        if edit is not None:
            return _with(candidate, edit)
    raise InvalidDraw("the graph has no edge, operation or width that could change")


def _with(candidate: Candidate, edit: Edit) -> Candidate:
    return Candidate(dict(candidate.config), candidate.seed, (*candidate.edits, edit))


def _width(stages: int, rng: np.random.Generator) -> Edit:
    return Edit("width", {"stage": int(rng.integers(stages)), "step": int(rng.choice([-1, 1]))})


def _rewire(drawn: Hierarchy, rng: np.random.Generator) -> Edit | None:
    """Moves one end of an edge, in a graph that stays connected."""
    names = [name for name, (n, edges) in drawn.wirings.items() if edges and len(edges) < n * (n - 1) // 2]
    if not names:
        return None
    name = names[int(rng.integers(len(names)))]
    n, edges = drawn.wirings[name]
    drop = edges[int(rng.integers(len(edges)))]
    kept = drop[int(rng.integers(2))]
    ends = [v for v in range(n) if v != kept and (min(v, kept), max(v, kept)) not in edges]
    if not ends:
        return None
    end = ends[int(rng.integers(len(ends)))]
    add = (min(end, kept), max(end, kept))
    if not connected(n, {*edges, add} - {drop}):
        return None
    return Edit("rewire", {"graph": name, "drop": f"{drop[0]}-{drop[1]}", "add": f"{add[0]}-{add[1]}"})


def _reseed(drawn: Hierarchy, rng: np.random.Generator) -> Edit | None:
    """Redraws one sub-graph, unless its graph is complete and can hardly come out differently."""
    names = [name for name, (n, edges) in drawn.wirings.items() if len(edges) < n * (n - 1) // 2]
    if not names:
        return None
    return Edit("reseed", {"graph": names[int(rng.integers(len(names)))], "salt": int(rng.integers(2**31))})


def _swap(drawn: Hierarchy, rng: np.random.Generator) -> Edit | None:
    """Another operation at one place."""
    names = list(drawn.operations)
    name = names[int(rng.integers(len(names)))]
    now, output = drawn.operations[name]
    others = [op for op, _ in drawn.allowed[output] if op != now]
    if not others:
        return None
    return Edit("op", {"node": name, "op": others[int(rng.integers(len(others)))]})
