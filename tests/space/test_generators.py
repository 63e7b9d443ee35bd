from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostudent.errors import InvalidDraw
from autostudent.space.generators import (
    WS_TRIES,
    Edges,
    connected,
    draw_edges,
    erdos_renyi,
    mix,
    orient,
    watts_strogatz,
)

orders, chances, seeds = st.integers(2, 12), st.floats(0, 1), st.integers(0, 2**64 - 1)


def edges_of(graph: nx.Graph) -> Edges:
    return tuple(sorted((min(edge), max(edge)) for edge in graph.edges))


@given(orders, chances, seeds)
def test_erdos_renyi_is_that_of_networkx(n: int, p: float, seed: int) -> None:
    assert erdos_renyi(n, p, seed) == edges_of(nx.erdos_renyi_graph(n, p, seed))


@given(orders, st.sampled_from([2, 4, 6]), chances, seeds)
def test_watts_strogatz_is_that_of_networkx(n: int, k: int, p: float, seed: int) -> None:
    if k >= n:
        with pytest.raises(InvalidDraw, match="neighbours"):
            draw_edges("ws", n, k, p, 1, seed)
        return
    try:
        expected = edges_of(nx.connected_watts_strogatz_graph(n, k, p, WS_TRIES, seed))
    except nx.NetworkXError:
        expected = None
    assert watts_strogatz(n, k, p, WS_TRIES, seed) == expected


@given(st.sampled_from(["ws", "er", "ba"]), orders, chances, seeds)
def test_draws_are_connected_or_refused(kind: str, n: int, p: float, seed: int) -> None:
    try:
        edges = draw_edges(kind, n, 2, p, 2, seed)
    except InvalidDraw:
        return
    graph = nx.Graph(edges)
    assert sorted(graph) == list(range(n))
    assert nx.is_connected(graph)


@given(orders, st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11))))
def test_connected_agrees_with_networkx(n: int, pairs: set[tuple[int, int]]) -> None:
    edges = {(a, b) for a, b in pairs if a < b < n}
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges)
    assert connected(n, edges) == nx.is_connected(graph)


@given(orders, chances, seeds)
def test_orientation(n: int, p: float, seed: int) -> None:
    edges = erdos_renyi(n, p, seed)
    wiring = orient(n, edges)
    assert {(i, j) for j, sources in enumerate(wiring.inputs) for i in sources} == set(edges)
    assert all(i < j for i, j in edges)
    assert set(wiring.outputs) == set(range(n)) - {i for i, _ in edges}
    assert wiring.entries == n - len({j for _, j in edges})


def test_hopeless_draws_are_refused() -> None:
    with pytest.raises(InvalidDraw, match="no connected Erdos-Renyi"):
        draw_edges("er", 9, 2, 0.0, 1, 0)
    with pytest.raises(InvalidDraw, match="Barabasi"):
        draw_edges("ba", 3, 2, 0.0, 3, 0)
    assert draw_edges("ws", 1, 4, 0.5, 1, 0) == ()


def test_seeds_spread() -> None:
    assert len({mix(seed, place) for seed in range(100) for place in range(100)}) == 10_000
    assert mix(0, 0) == 0xE220A8397B1DCDAF  # the first output of splitmix64 from state 0
