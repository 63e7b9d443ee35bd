"""Random graphs as directed acyclic graphs, after RandWire (Xie et al. 2019, arXiv 1904.01569).

Every edge goes from the smaller to the larger vertex: a vertex without smaller neighbour takes the graph's input, one
without larger neighbour gives output.

`watts_strogatz` and `erdos_renyi` give the very graphs that networkx gives for the same seed (tests compare them), as
plain edge lists and several times faster: a student has tens of such graphs and the search draws thousands of students.

Note: unlike NAGO's released code, K is not clipped, and an Erdos-Renyi graph that stays unconnected is refused instead
of replaced by a stale one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations
from random import Random
from typing import NamedTuple

from autostudent.errors import InvalidDraw

Edges = tuple[tuple[int, int], ...]
"""Undirected edges (smaller, larger), sorted."""

WS_TRIES = 200  # as NAGO
ER_TRIES = 30  # as NAGO; then the draw is refused
MASK = (1 << 64) - 1


def mix(seed: int, place: int) -> int:
    """A 64-bit number from a seed and a place (splitmix64), the same on every platform."""
    state = (seed + (place + 1) * 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


class Wiring(NamedTuple):
    """A directed graph on 0 … n-1. ``inputs[i]`` are the smaller neighbours of i; ``outputs`` have no larger ones.

    ``entries`` is the number of vertices that take the graph's input.
    """

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]
    entries: int


@lru_cache(maxsize=4096)
def orient(n: int, edges: Edges) -> Wiring:
    """The directed graph of an undirected one."""
    inputs: list[list[int]] = [[] for _ in range(n)]
    ends = [True] * n
    for low, high in edges:
        inputs[high].append(low)
        ends[low] = False
    entries = sum(not sources for sources in inputs)
    return Wiring(tuple(map(tuple, inputs)), tuple(i for i in range(n) if ends[i]), entries)


def connected(n: int, edges: Iterable[tuple[int, int]]) -> bool:
    """Whether every vertex of 0 … n-1 reaches every other."""
    root = list(range(n))
    parts = n
    for a, b in edges:
        while root[a] != a:
            a = root[a]
        while root[b] != b:
            b = root[b]
        if a != b:
            root[a] = b
            parts -= 1
    return parts == 1


def erdos_renyi(n: int, p: float, seed: int) -> Edges:
    """Every pair of n vertices is joined with probability p."""
    draw = Random(seed).random
    return tuple([pair for pair in combinations(range(n), 2) if draw() < p])


def watts_strogatz(n: int, k: int, p: float, tries: int, seed: int) -> Edges | None:
    """A ring of n vertices, each joined to its k nearest (k even), edges rewired with probability p.

    Redrawn up to ``tries`` times until it is connected; None when it never is.
    """
    rng = Random(seed)
    for _ in range(tries):
        edges = _ring(n, k, p, rng)
        if connected(n, edges):
            return tuple(sorted(edges))
    return None


def _ring(n: int, k: int, p: float, rng: Random) -> set[tuple[int, int]]:
    """One draw. Random numbers are taken in the order of networkx: one per edge, then ends until one is free."""
    vertices = range(n)
    joined: list[set[int]] = [set() for _ in vertices]
    for reach in range(1, k // 2 + 1):
        for u in vertices:
            v = (u + reach) % n
            joined[u].add(v)
            joined[v].add(u)
    for reach in range(1, k // 2 + 1):
        for u in vertices:
            if rng.random() >= p:
                continue
            v, w = (u + reach) % n, rng.choice(vertices)
            free = True
            while w == u or w in joined[u]:
                w = rng.choice(vertices)
                if len(joined[u]) >= n - 1:
                    free = False
                    break
            if free:
                joined[u].discard(v)
                joined[v].discard(u)
                joined[u].add(w)
                joined[w].add(u)
    return {(u, v) for u in vertices for v in joined[u] if u < v}


def barabasi_albert(n: int, m: int, seed: int) -> Edges:
    """A graph grown to n vertices, each new one joined to m old ones, the well-joined more often."""
    import networkx as nx

    return tuple(sorted((min(a, b), max(a, b)) for a, b in nx.barabasi_albert_graph(n, m, seed).edges))


def draw_edges(kind: str, n: int, k: int, p: float, m: int, seed: int) -> Edges:
    """A connected random graph: "ws" (n, k, p), "er" (n, p) or "ba" (n, m); a single vertex has no edges.

    Raises:
        InvalidDraw: when k or m do not fit n, or no connected graph was drawn within the tries.
    """
    if n == 1:
        return ()
    if kind == "er":
        for attempt in range(ER_TRIES):
            edges = erdos_renyi(n, p, mix(seed, attempt))
            if len(edges) >= n - 1 and connected(n, edges):
                return edges
        raise InvalidDraw(f"no connected Erdos-Renyi graph ({n}, {p:.3g}) in {ER_TRIES} draws")
    if kind == "ba":
        if m >= n:
            raise InvalidDraw(f"a Barabasi-Albert graph of {n} vertices cannot grow by {m} edges")
        return barabasi_albert(n, m, seed)
    if k >= n:
        raise InvalidDraw(f"a Watts-Strogatz graph of {n} vertices cannot have {k} neighbours each")
    found = watts_strogatz(n, k, p, WS_TRIES, seed)
    if found is None:
        raise InvalidDraw(f"no connected Watts-Strogatz graph ({n}, {k}, {p:.3g}) in {WS_TRIES} draws")
    return found
