"""A student's graph as an SVG picture: layers from left to right, stages as bands, operations as colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from autostudent.space.graph import Architecture, Node

STEP, GAP, MARGIN = 34, 26, 22  # pixels between layers, between nodes of a layer, around the graph
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#7a4fbf")
PICTURE = "#1c2733"


def depths(nodes: Sequence[Node]) -> list[int]:
    """The layer of every node: the longest way from the picture, in edges."""
    found: list[int] = []
    for node in nodes:
        found.append(1 + max((found[i] for i in node.inputs), default=-1))
    return found


def places(nodes: Sequence[Node]) -> list[tuple[float, float]]:
    """(x, y) of every node in pixels. In a layer nodes are ordered by the mean height of their inputs."""
    depth = depths(nodes)
    layers: dict[int, list[int]] = defaultdict(list)
    for i, layer in enumerate(depth):
        layers[layer].append(i)
    tallest = max(map(len, layers.values()))
    middle = MARGIN + GAP + (tallest - 1) * GAP / 2
    heights: dict[int, float] = {}
    for layer in sorted(layers):
        ordered = sorted(layers[layer], key=lambda i: (mean([heights[j] for j in nodes[i].inputs], middle), i))
        for place, i in enumerate(ordered):
            heights[i] = middle + (place - (len(ordered) - 1) / 2) * GAP
    return [(MARGIN + layer * STEP, heights[i]) for i, layer in enumerate(depth)]


def mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def draw(graph: Architecture, title: str) -> str:
    """The graph as SVG with a legend. ``title`` names it for those who cannot see it."""
    nodes, spots = graph.nodes, places(graph.nodes)
    names = dict.fromkeys(node.op for node in nodes[1:])
    colours = {op: COLOURS[place % len(COLOURS)] for place, op in enumerate(names)}
    width = round(max(x for x, _ in spots) + MARGIN)
    height = round(max(y for _, y in spots) + MARGIN)
    edges = "".join(edge(spots[j], spots[i]) for i, node in enumerate(nodes) for j in node.inputs)
    dots = "".join(dot(i, node, spots[i], colours) for i, node in enumerate(nodes))
    legend = "".join(f'<span><i style="background:{colour}"></i>{escape(op)}</span>' for op, colour in colours.items())
    return (
        f'<figure><div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<svg role="img" aria-label="{escape(title)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{bands(graph, spots, height)}'
        f'<path class="edges" d="{edges}"/>{dots}</svg></div>'
        f'<figcaption class="legend"><span><i style="background:{PICTURE}"></i>picture</span>{legend}</figcaption>'
        "</figure>"
    )


def bands(graph: Architecture, spots: Sequence[tuple[float, float]], height: int) -> str:
    """A band behind every stage, with the size of its maps."""
    parts = []
    for stage in sorted({node.stage for node in graph.nodes[1:]}):
        mine = [i for i, node in enumerate(graph.nodes) if i and node.stage == stage]
        left, right = min(spots[i][0] for i in mine), max(spots[i][0] for i in mine)
        rows, columns = graph.size(graph.nodes[mine[-1]].stride)
        parts.append(
            f'<rect class="stage" x="{left - STEP / 2:.0f}" y="0" width="{right - left + STEP:.0f}" height="{height}"/>'
            f'<text x="{left - STEP / 2 + 4:.0f}" y="13">{rows} × {columns}</text>'
        )
    return "".join(parts)


def edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    """A curve between two nodes as path commands."""
    (x0, y0), (x1, y1) = start, end
    middle = (x0 + x1) / 2
    return f"M{x0:.0f} {y0:.0f}C{middle:.0f} {y0:.0f} {middle:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"


def dot(number: int, node: Node, spot: tuple[float, float], colours: dict[str, str]) -> str:
    """A node, its area by its channels, and what it does as a tool tip."""
    merged = f", {node.merge} of {len(node.inputs)}" if len(node.inputs) > 1 else ""
    words = f"{node.op}, {node.width} channels, 1/{node.stride} of the picture's size{merged}" if number else "picture"
    radius = min(10.0, 3.0 + 0.7 * node.width**0.5) if number else 6.0
    colour = colours[node.op] if number else PICTURE
    return (
        f'<circle cx="{spot[0]:.0f}" cy="{spot[1]:.0f}" r="{radius:.1f}" fill="{colour}">'
        f"<title>{escape(words)}</title></circle>"
    )
