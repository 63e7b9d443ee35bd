"""Random graphs of networkx as directed acyclic graphs, after RandWire (Xie et al. 2019, arXiv 1904.01569).

Every edge goes from the smaller to the larger vertex: a vertex without smaller neighbour takes the graph's input, one
without larger neighbour gives output.

Note: unlike NAGO's released code, K is not clipped, and an Erdos-Renyi graph that stays unconnected is refused instead
of replaced by a stale one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autostudent.errors import InvalidDraw

if TYPE_CHECKING:
    import networkx as nx

WS_TRIES = 200  # as NAGO
ER_TRIES = 30  # as NAGO; then the draw is refused
MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
    """A 64-bit number from whole numbers (splitmix64), the same on every platform."""
    state = 0
    for part in parts:
        state = (state + (part & MASK) + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


@dataclass(frozen=True)
class Wiring:
    """A directed graph on 0 … n-1. ``inputs[i]`` are the smaller neighbours of i; ``outputs`` have no larger ones."""

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]

    @property
    def entries(self) -> int:
        """How many vertices take the graph's input."""
        return sum(not sources for sources in self.inputs)


def orient(n: int, edges: set[tuple[int, int]]) -> Wiring:
    """The DAG of an undirected graph: every edge (smaller, larger) goes from the smaller to the larger vertex."""
    inputs: list[list[int]] = [[] for _ in range(n)]
    last = set(range(n))
    for low, high in sorted(edges):
        inputs[high].append(low)
        last.discard(low)
    return Wiring(tuple([tuple(sources) for sources in inputs]), tuple(sorted(last)))


def connected(n: int, edges: set[tuple[int, int]]) -> bool:
    """Whether every vertex of 0 … n-1 reaches every other."""
    root = list(range(n))
    for a, b in edges:
        while root[a] != a:
            a = root[a]
        while root[b] != b:
            b = root[b]
        root[a] = b
    return sum(root[i] == i for i in range(n)) == 1


def _edges(graph: nx.Graph) -> set[tuple[int, int]]:
    return {(a, b) if a < b else (b, a) for a, b in graph.edges}


def draw_edges(kind: str, n: int, k: int, p: float, m: int, seed: int) -> set[tuple[int, int]]:
    """Edges (smaller, larger) of a connected random graph: "ws" (n, k, p), "er" (n, p) or "ba" (n, m).

    Raises:
        InvalidDraw: when k or m do not fit n, or no connected graph was drawn within the tries.
    """
    if n == 1:
        return set()
    import networkx as nx

    if kind == "ws":
        if k >= n:
            raise InvalidDraw(f"a Watts-Strogatz graph of {n} vertices cannot have {k} neighbours each")
        try:
            return _edges(nx.connected_watts_strogatz_graph(n, k, p, WS_TRIES, seed))
        except nx.NetworkXError:
            raise InvalidDraw(f"no connected Watts-Strogatz graph ({n}, {k}, {p:.3g}) in {WS_TRIES} draws") from None
    if kind == "ba":
        if m >= n:
            raise InvalidDraw(f"a Barabasi-Albert graph of {n} vertices cannot grow by {m} edges")
        return _edges(nx.barabasi_albert_graph(n, m, seed))
    for attempt in range(ER_TRIES):
        edges = _edges(nx.erdos_renyi_graph(n, p, mix(seed, attempt)))
        if connected(n, edges):
            return edges
    raise InvalidDraw(f"no connected Erdos-Renyi graph ({n}, {p:.3g}) in {ER_TRIES} draws")
