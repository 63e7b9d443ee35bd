from __future__ import annotations

import json
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autostudent.errors import ConfigError, InvalidDraw
from autostudent.records import Candidate, Edit
from autostudent.space.architecture import (
    Architecture,
    InputShape,
    Node,
    draw,
    feature_names,
    features,
    freeze,
    neighbour,
)
from autostudent.space.cost import costs
from autostudent.space.draft import solve
from autostudent.space.hnag import deal
from autostudent.space.ops import OPS
from tests.strategies import SEEDS, SPACES, any_graphs, candidates, drawn, shapes, small_shapes

SHAPE = InputShape(1, 16, 16, 10)
TINY = SPACES["hnag_tiny"]
spaces = st.sampled_from(list(SPACES.values()))
graphs = st.one_of(drawn(TINY, shapes, 2), drawn(SPACES["resnet_family"], shapes), any_graphs(small_shapes))


def reordered(architecture: Architecture, seed: int) -> Architecture:
    """The same graph with its nodes in another topological order."""
    rng = np.random.default_rng(seed)
    left, order = set(range(len(architecture.nodes) - 1)), []
    while left:
        ready = sorted(i for i in left if not left & set(architecture.nodes[i].inputs))
        order.append(ready[int(rng.integers(len(ready)))])
        left.remove(order[-1])
    order.append(len(architecture.nodes) - 1)
    place = {old: new for new, old in enumerate(order)}
    nodes = tuple(
        node._replace(inputs=tuple(place[j] for j in node.inputs)) for node in (architecture.nodes[i] for i in order)
    )
    return replace(architecture, nodes=nodes, blocks=tuple(place[b] for b in architecture.blocks))


@given(graphs)
def test_json_round_trip(architecture: Architecture) -> None:
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert again.fingerprint == architecture.fingerprint
    assert again.versions == architecture.versions


@given(graphs, SEEDS)
def test_the_fingerprint_ignores_the_order_of_nodes(architecture: Architecture, seed: int) -> None:
    other = reordered(architecture, seed)
    other.validate()
    assert other.fingerprint == architecture.fingerprint
    first, second = costs(architecture), costs(other)
    assert (first.params, first.macs) == (second.params, second.macs)


@given(graphs, st.data())
def test_the_fingerprint_sees_every_change(architecture: Architecture, data: st.DataObject) -> None:
    i = data.draw(st.integers(1, len(architecture.nodes) - 1))
    node = architecture.nodes[i]
    change = data.draw(
        st.sampled_from(
            [
                {"width": node.width + 1},
                {"op": "conv5" if node.op != "conv5" else "conv3"},
                {"stage": node.stage + 1},
                {"inputs": node.inputs[:-1] or node.inputs * 2},
            ]
        )
    )
    nodes = list(architecture.nodes)
    nodes[i] = node._replace(**change)
    assert replace(architecture, nodes=tuple(nodes)).fingerprint != architecture.fingerprint
    other = replace(architecture, input=architecture.input._replace(classes=99))
    assert other.fingerprint != architecture.fingerprint


def test_the_fingerprint_tells_shared_from_repeated_parts() -> None:
    first = Node("input", 1, 0, 1, "add", ())
    conv = Node("conv3", 4, 0, 1, "add", (0,))
    shared = (first, conv, *(conv._replace(inputs=(1,)),) * 2, Node("join", 4, 0, 1, "add", (2, 3)))
    repeated = (
        first,
        conv,
        conv,
        conv._replace(inputs=(1,)),
        conv._replace(inputs=(2,)),
        Node("join", 4, 0, 1, "add", (3, 4)),
    )
    one, two = Architecture(SHAPE, shared, (4,)), Architecture(SHAPE, repeated, (5,))
    assert one.fingerprint != two.fingerprint
    mask = [Node("join", 4, 0, 1, "attention", pair) for pair in ((1, 2), (2, 1))]
    other = conv._replace(op="conv1")
    assert len({Architecture(SHAPE, (first, conv, other, m), (3,)).fingerprint for m in mask}) == 2


@given(graphs)
def test_the_networkx_graph_says_the_same(architecture: Architecture) -> None:
    graph = architecture.graph()
    assert nx.is_directed_acyclic_graph(graph)
    assert [graph.nodes[i]["op"] for i in range(len(graph))] == [node.op for node in architecture.nodes]
    assert graph.number_of_edges() == sum(len(set(node.inputs)) for node in architecture.nodes)


@given(spaces, st.data())
@settings(max_examples=60)
def test_drawing_again_gives_the_same_graph(space: object, data: st.DataObject) -> None:
    candidate = data.draw(candidates(space, 3))  # type: ignore[arg-type]
    again = Candidate.from_json(json.loads(json.dumps(candidate.to_json())))
    try:
        first = freeze(candidate, space, SHAPE)  # type: ignore[arg-type]
    except InvalidDraw as refused:
        with pytest.raises(InvalidDraw, match=str(refused)[:20].replace("(", r"\(")):
            freeze(again, space, SHAPE)  # type: ignore[arg-type]
        return
    assert freeze(again, space, SHAPE) == first  # type: ignore[arg-type]
    assert set(first.versions) == {"networkx", "numpy", "python"}


@given(spaces, st.data(), shapes)
@settings(max_examples=25)
def test_the_width_is_the_largest_that_fits(space: object, data: st.DataObject, shape: InputShape) -> None:
    candidate = data.draw(candidates(space, 2))  # type: ignore[arg-type]
    try:
        draft, widths = draw(candidate, space, shape)  # type: ignore[arg-type]
    except InvalidDraw:
        assume(False)
    count, target = draft.count(), float(candidate.config["params.target"])
    try:
        found = solve(count, widths, target)
    except InvalidDraw:
        assert costs(draft.freeze(widths.at(0.0), {})).params > target
        return
    exact = costs(draft.freeze(found, {})).params
    assert count.total(found) == exact <= target
    totals = {total for base in np.geomspace(0.01, 2000, 1000) if (total := count.total(widths.at(base))) <= target}
    assert max(totals, default=0) <= exact * 1.0005


@given(candidates(TINY), SEEDS)
def test_neighbours_differ_by_one_edit_and_keep_the_rest(candidate: Candidate, seed: int) -> None:
    rng = np.random.default_rng(seed)
    try:
        before, moved = freeze(candidate, TINY, SHAPE), neighbour(candidate, TINY, SHAPE, rng)
    except InvalidDraw:
        assume(False)
    assert moved.edits[:-1] == candidate.edits
    assert (moved.config, moved.seed) == (candidate.config, candidate.seed)
    after = freeze(moved, TINY, SHAPE)
    if moved.edits[-1].kind == "op":
        assert sum(a.op != b.op for a, b in zip(before.nodes, after.nodes, strict=True)) == 1
    assert costs(after).params <= float(candidate.config["params.target"])


def test_neighbours_are_mostly_new_graphs() -> None:
    rng = np.random.default_rng(0)
    new = total = 0
    for seed in range(60):
        candidate = Candidate(TINY.sample(rng), seed)
        first = freeze(candidate, TINY, SHAPE).fingerprint
        for _ in range(5):
            new += freeze(neighbour(candidate, TINY, SHAPE, rng), TINY, SHAPE).fingerprint != first
            total += 1
    assert new / total > 0.8


CONFIG = {
    "stem.size": 16,
    "top.nodes": 4,
    "top.k": 2,
    "top.p": 0.0,
    "cell.nodes": 2,
    "node.nodes": 1,
    "merge": "sum",
    "skip": "none",
    "op.sep3": 0.5,
    "op.conv1": 0.0,
    "stage.growth": 2.0,
    "head.ratio": 0,
    "params.target": 2e4,
}


@pytest.mark.parametrize(
    "edit",
    [
        Edit("rewire", {"graph": "top", "drop": "0-2", "add": "1-3"}),
        Edit("rewire", {"graph": "top", "drop": "0-1", "add": "1-2"}),
        Edit("rewire", {"graph": "top", "drop": "0-1", "add": "1-9"}),
        Edit("rewire", {"graph": "cell.9", "drop": "0-1", "add": "0-2"}),
        Edit("reseed", {"graph": "node.0.7", "salt": 1}),
        Edit("op", {"node": "0.0.0", "op": "pool3"}),
        Edit("op", {"node": "9.0.0", "op": "conv1"}),
        Edit("width", {"stage": 3, "step": 1}),
    ],
)
def test_edits_that_fit_nothing_are_refused(edit: Edit) -> None:
    freeze(Candidate(CONFIG, 0), TINY, SHAPE)
    with pytest.raises(InvalidDraw):
        freeze(Candidate(CONFIG, 0, (edit,)), TINY, SHAPE)


def test_edits_do_what_they_say() -> None:
    def frozen(*edits: Edit) -> Architecture:
        return freeze(Candidate(CONFIG, 0, edits), TINY, SHAPE)

    plain = frozen()
    swapped = frozen(Edit("op", {"node": "3.1.0", "op": "conv1"}))
    assert [n.op for n in swapped.nodes].count("conv1") == 1
    assert [a.op for a in plain.nodes][:-3] == [b.op for b in swapped.nodes][:-3]
    wider = frozen(Edit("width", {"stage": 2, "step": 1}))
    assert wider.nodes[-1].width > plain.nodes[-1].width
    assert wider.nodes[1].width <= plain.nodes[1].width
    back = frozen(Edit("width", {"stage": 2, "step": 1}), Edit("width", {"stage": 2, "step": -1}))
    assert back == plain
    there = Edit("rewire", {"graph": "top", "drop": "0-1", "add": "1-3"})
    assert frozen(there) != plain
    assert frozen(there, Edit("rewire", {"graph": "top", "drop": "1-3", "add": "0-1"})) == plain
    with pytest.raises(ConfigError, match="reseed, rewire, op or width"):
        frozen(Edit("prune", {}))


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InvalidDraw, match="over the target"):
        freeze(Candidate({**CONFIG, "params.target": 50.0}, 0), TINY, SHAPE)
    with pytest.raises(InvalidDraw, match="cannot be halved"):
        freeze(Candidate(CONFIG, 0), TINY, InputShape(1, 3, 3, 10))
    with pytest.raises(InvalidDraw, match="neighbours"):
        freeze(Candidate({**CONFIG, "top.nodes": 4, "top.k": 4}, 0), TINY, SHAPE)
    with pytest.raises(InvalidDraw, match="cannot fill"):
        deal(2, [0.3, 0.3, 0.4])


@pytest.mark.parametrize(
    ("cells", "shares", "counts"),
    [(3, [0.3, 0.3, 0.4], [1, 1, 1]), (10, [0.15, 0.425, 0.425], [2, 4, 4]), (6, [0.9, 0.05, 0.05], [4, 1, 1])],
)
def test_cells_are_dealt_to_stages(cells: int, shares: list[float], counts: list[int]) -> None:
    assert deal(cells, shares) == counts


@given(candidates(TINY, 2))
def test_features_have_names_and_are_finite(candidate: Candidate) -> None:
    try:
        architecture = freeze(candidate, TINY, SHAPE)
    except InvalidDraw:
        assume(False)
    values = features(architecture, candidate, TINY)
    names = feature_names(TINY)
    assert len(values) == len(names) == len(set(names))
    assert np.isfinite(values).all()
    found = dict(zip(names, values, strict=True))
    assert np.exp(found["log_params"]) == pytest.approx(costs(architecture).params)
    assert sum(found[f"share.{op}"] for op in TINY.ops) == pytest.approx(1)
    convolutions = sum(OPS[node.op].mixes for node in architecture.nodes)
    assert np.expm1(found["log_convolutions"]) == pytest.approx(convolutions)


@given(st.data())
@settings(max_examples=15)
def test_features_of_other_spaces(data: st.DataObject) -> None:
    for name in ("hnag_cnn", "resnet_family"):
        candidate = data.draw(candidates(SPACES[name]))
        try:
            architecture = freeze(candidate, SPACES[name], SHAPE)
        except InvalidDraw:
            continue
        values = features(architecture, candidate, SPACES[name])
        assert len(values) == len(feature_names(SPACES[name]))
        assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format"),
        ({"blocks": [99]}, "blocks"),
        ({"nodes": [["input", 1, 0, 1, "add", []], ["conv9", 4, 0, 1, "add", [0]]]}, "a known operation"),
        ({"nodes": [["input", 1, 0, 1, "add", []], ["conv3", 4, 0, 1, "add", [1]]]}, "earlier nodes"),
        ({"nodes": [["input", 1, 0, 2, "add", []], ["conv3", 4, 0, 1, "add", [0]]]}, "finer size"),
        ({"nodes": [["input", 1, 0, 1, "add", []], *[["conv3", 4, 0, 1, "add", [0]]] * 2]}, "nothing reads"),
        ({"nodes": [["input", 1]]}, "to_json"),
        ({"input": {}}, "to_json"),
        ({"versions": ["xyz"]}, "to_json"),
        ({"input": {"channels": 1, "height": 0, "width": 16, "classes": 10}}, r"input\.height: got 0"),
        ({"input": {"channels": 1, "height": 16, "width": 16, "classes": 0}}, r"input\.classes: got 0"),
        ({"input": {"channels": 3, "height": 16, "width": 16, "classes": 10}}, "the 3 channels of the input"),
        ({"blocks": ["3"]}, "blocks"),
        ({"blocks": [1.0]}, "blocks"),
        *(
            ({"nodes": [["input", 1, 0, 1, "add", []], node]}, message)
            for node, message in (
                ([["conv3"], 4, 0, 1, "add", [0]], "a known operation"),
                (["conv3", "4", 0, 1, "add", [0]], "whole numbers"),
                (["conv3", 4.0, 0, 1, "add", [0]], "whole numbers"),
                (["conv3", 4, None, 1, "add", [0]], "whole numbers"),
                (["conv3", 4, 0, 0, "add", [0]], "whole numbers"),
                (["conv3", 4, 0, 1, "add", ["0"]], "earlier nodes"),
                (["conv3", 4, 0, 1, "add", [0.0]], "earlier nodes"),
                (["conv3", 4, 0, 1, "add", [False]], "earlier nodes"),
            )
        ),
        ({"nodes": [["input", 1, 0, 0, "add", []], ["conv3", 4, 0, 1, "add", [0]]]}, "whole numbers"),
    ],
)
def test_broken_files_are_refused(change: dict[str, object], message: str) -> None:
    good = freeze(Candidate(CONFIG, 0), TINY, SHAPE).to_json()
    with pytest.raises(ConfigError, match=message):
        Architecture.from_json({**good, **change})


def test_a_file_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="architecture: got 'list'"):
        Architecture.from_json([])  # type: ignore[arg-type]
