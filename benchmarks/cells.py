"""Cells: small graphs whose edges carry operations, as in NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

EDGE = re.compile(r"e(\d+)_(\d+)")
NONE, SKIP = "none", "skip"
MIXING = "conv"  # operations whose names begin so mix channels

Edge = tuple[int, int]


class Cell:
    """What a model may know of a cell's graph: a short summary, made for the purpose of `autostudent.space.features`.

    Args:
        variables: one of the form ``eI_J`` for the edge from node I to node J, I below J; node 0 is the input, the
            highest the output.
        operations: what each choice stands for: "none" for no edge, "skip" for a plain edge, anything else for an
            operation, "conv..." for one that mixes channels.
    """

    def __init__(self, variables: Sequence[str], operations: Mapping[str, str]) -> None:
        matches = {name: EDGE.fullmatch(name) for name in variables}
        if wrong := [name for name, match in matches.items() if match is None]:
            raise SystemExit(f"--cell: {wrong} are no edges; variables are e0_1, e0_2, e1_2 and so on")
        self._edges = {name: (int(match[1]), int(match[2])) for name, match in matches.items() if match}
        if wrong := [name for name, (start, end) in self._edges.items() if start >= end]:
            raise SystemExit(f"--cell: {wrong} lead backwards; an edge goes from a node to one of a higher number")
        self._last = max(end for _, end in self._edges.values())
        self._operations = dict(operations)
        self._kinds = sorted(set(operations.values()) - {NONE, SKIP})

    def features(self, config: Mapping[str, object]) -> tuple[float, ...]:
        """A fixed number of finite values; only what lies on a way from input to output counts.

        The number of ways and their share of the edges; of mixing operations how many there are, the most and the mean
        on a way, and whether a way has none, such as a residual connection; of every kind of operation the most on a
        way and its share.
        """
        ways = self._ways({edge: self._operations[str(config[name])] for name, edge in self._edges.items()})
        operations = [op for op in {edge: op for way in ways for edge, op in way.items()}.values() if op != SKIP]
        mixing = [sum(op.startswith(MIXING) for op in way.values()) for way in ways] or [-1]
        used = len({edge for way in ways for edge in way})
        found = [
            math.log1p(len(ways)),
            used / len(self._edges),
            math.log1p(sum(op.startswith(MIXING) for op in operations)),
            max(mixing),
            sum(mixing) / len(mixing),
            min(mixing) == 0,
        ]
        for kind in self._kinds:
            found += [
                max([list(way.values()).count(kind) for way in ways], default=0),
                operations.count(kind) / max(len(operations), 1),
            ]
        return tuple(map(float, found))

    def _ways(self, edges: Mapping[Edge, str]) -> list[dict[Edge, str]]:
        """All from the input to the output, with the operations on their edges."""
        ending: dict[int, list[dict[Edge, str]]] = {0: [{}]}
        for (start, end), op in sorted(edges.items(), key=lambda item: item[0][::-1]):
            if op != NONE:
                ending.setdefault(end, []).extend({**way, (start, end): op} for way in ending.get(start, []))
        return ending.get(self._last, [])
