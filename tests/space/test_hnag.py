from __future__ import annotations

from collections import Counter

import pytest

from autostudent.errors import InvalidDraw
from autostudent.records import Candidate, Value
from autostudent.space.architecture import Architecture, InputShape, freeze
from autostudent.space.hnag import Hierarchy
from autostudent.space.knobs import Edits, Knobs
from autostudent.space.space import Space
from tests.strategies import SPACES

SHAPE = InputShape(3, 32, 32, 10)
TINY = SPACES["hnag_tiny"]
RING: dict[str, Value] = {
    "stem.size": 16,
    "top.nodes": 4,
    "top.k": 2,
    "top.p": 0.0,
    "cell.nodes": 1,
    "node.nodes": 1,
    "merge": "sum",
    "skip": "none",
    "op.sep3": 0.0,
    "op.conv1": 0.0,
    "stage.growth": 2.0,
    "head.ratio": 0,
    "params.target": 3e4,
}


def drawn(space: Space = TINY, **changes: Value) -> Architecture:
    """The ring with some numbers changed; ``a_b`` stands for ``a.b``."""
    named = {name.replace("_", "."): value for name, value in changes.items()}
    return freeze(Candidate({**RING, **named}, 5), space, SHAPE)


def ops(architecture: Architecture) -> Counter[str]:
    return Counter(node.op for node in architecture.nodes)


def test_a_ring_of_four_cells_by_hand() -> None:
    """0-1-2-3-0 on stages 0, 0, 1, 2; each cell is one conv3; cells 2 and 3 enter through a join."""
    nodes = drawn().nodes
    assert [(n.op, n.stage, n.stride, n.inputs) for n in nodes] == [
        ("input", 0, 1, ()),
        ("plain3", 0, 2, (0,)),
        ("conv3", 0, 2, (1,)),
        ("conv3", 0, 2, (2,)),
        ("join", 1, 4, (3,)),
        ("conv3", 1, 4, (4,)),
        ("join", 2, 8, (2, 5)),
        ("conv3", 2, 8, (6,)),
        ("relu", 2, 8, (7,)),
    ]
    widths = [node.width for node in nodes[1:]]
    assert widths[0] == widths[2]
    assert widths[4] == pytest.approx(2 * widths[0], abs=1)
    assert widths[-1] == pytest.approx(4 * widths[0], abs=2)


def test_options_of_stem_skip_and_head() -> None:
    assert [n.stride for n in drawn(stem_size=8).nodes[:3]] == [1, 2, 4]
    assert ops(drawn(skip="cell"))["join"] == ops(drawn())["join"] + 4
    assert ops(drawn(skip="node")) == ops(drawn(skip="cell"))
    headed = drawn(head_ratio=2)
    assert (headed.nodes[-2].op, headed.nodes[-1].op) == ("conv1", "relu")
    assert headed.width == 2 * headed.nodes[-3].width


def test_operations_follow_their_weights_and_outputs_never_pool() -> None:
    assert ops(drawn(op_sep3=1e9))["sep3"] == 4
    space = SPACES["hnag_cnn"]
    zero = {f"op.{op}": 0.0 for op in space.ops if op != "pool3"}
    knobs = Knobs({"top.nodes": 3, "top.k": 2, "cell.nodes": 1, "node.nodes": 1, **zero}, space.fixed)
    with pytest.raises(InvalidDraw, match="weight zero"):
        Hierarchy(knobs, space.ops, 0, Edits(), SHAPE).draw()


@pytest.mark.parametrize("wiring", ["shared", "independent"])
def test_wiring_is_shared_or_each_its_own(wiring: str) -> None:
    knobs = Knobs(
        {"top.nodes": 6, "top.k": 2, "cell.nodes": 6, "cell.p": 0.5, "node.nodes": 5, "node.k": 2, "wiring": wiring}, {}
    )
    drawn = Hierarchy(knobs, ("conv3", "sep3"), 1, Edits(), SHAPE)
    drawn.draw()
    for level in ("cell", "node"):
        different = {edges for name, edges in drawn.wirings.items() if name.startswith(level)}
        assert (len(different) == 1) == (wiring == "shared")


def test_other_graphs_on_every_level() -> None:
    knobs = Knobs(
        {
            f"{level}.{what}": value
            for level in ("top", "cell", "node")
            for what, value in (("nodes", 5), ("graph", "ba"), ("m", 2))
        },
        {},
    )
    drawn = Hierarchy(knobs, ("conv3",), 1, Edits(), SHAPE)
    draft, _ = drawn.draw()
    assert len(draft.blocks) == 5
    assert {len(edges) for _, edges in drawn.wirings.values()} == {6}


def test_seeds_change_the_graph_and_nothing_else_does() -> None:
    config = {**RING, "cell.nodes": 3, "cell.graph": "er", "cell.p": 0.6, "op.sep3": 1.0}
    seeds = {freeze(Candidate(config, seed), TINY, SHAPE).fingerprint for seed in range(30)}
    assert len(seeds) > 25
    taught = {**config, "kd.loss": "kd", "optim.lr": 0.3}
    assert freeze(Candidate(taught, 0), TINY, SHAPE) == freeze(Candidate(config, 0), TINY, SHAPE)
