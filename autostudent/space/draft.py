"""A graph whose widths are still free, and the width solved on the exact parameter count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from autostudent.errors import InvalidDraw
from autostudent.space.graph import Architecture, InputShape, Node
from autostudent.space.ops import OPS, edge_weights

FINE = 1024  # steps of the base width per rounding unit: stages round up at different moments
LARGEST = 1 << 26


class Count:
    """An exact parameter count: a polynomial of the second degree in the channels of the groups.

    ``projections`` counts inputs that pass a 1x1 convolution with bias wherever the two groups differ in width.
    """

    def __init__(
        self,
        pairs: Counter[tuple[int, int]],
        projections: Counter[tuple[int, int]],
        singles: Counter[int],
        constant: int,
    ) -> None:
        self.projections = [(i, j, n) for (i, j), n in projections.items()]
        self.pairs = [(i, j, n) for (i, j), n in pairs.items() if n]
        self.singles = [(i, n) for i, n in singles.items() if n]
        self.constant = constant

    def total(self, widths: list[int]) -> int:
        """Parameters when group i has ``widths[i]`` channels."""
        total = self.constant
        for i, j, n in self.pairs:
            total += n * widths[i] * widths[j]
        for i, n in self.singles:
            total += n * widths[i]
        for i, j, n in self.projections:
            if widths[i] != widths[j]:
                total += n * (widths[i] + 1) * widths[j]
        return total


class Widths:
    """Channels of every group of nodes as a function of one number.

    Group 0 is the picture, groups 1 to S are the stages, group S+1 (where there is one) the head.

    Args:
        channels: of the picture.
        ratios: of the stages, relative to the base width.
        head: channels of the head relative to the last stage; 0 for none.
        multiple: channels are rounded to multiples of it.
    """

    def __init__(self, channels: int, ratios: tuple[float, ...], head: float, multiple: int) -> None:
        self.channels, self.ratios, self.head, self.multiple = channels, ratios, head, multiple

    def at(self, base: float) -> list[int]:
        """Channels of every group at a base width."""
        unit = self.multiple
        widths = [self.channels]
        for ratio in self.ratios:
            widths.append(max(unit, unit * int(base * ratio / unit + 0.5)))
        if self.head:
            widths.append(max(unit, unit * int(widths[-1] * self.head / unit + 0.5)))
        return widths


@dataclass
class Draft:
    """Nodes as they are drawn: like `Node`, with the number of a width group in place of the width."""

    input: InputShape
    nodes: list[Node] = field(default_factory=lambda: [Node("input", 0, 0, 1, "add", ())])
    blocks: list[int] = field(default_factory=list)

    def add(self, op: str, group: int, stage: int, stride: int, inputs: tuple[int, ...], merge: str = "add") -> int:
        """Appends a node and gives its position."""
        self.nodes.append(Node(op, group, stage, stride, merge, inputs))
        return len(self.nodes) - 1

    def count(self) -> Count:
        """The parameter count as a function of the channels of the groups."""
        pairs: Counter[tuple[int, int]] = Counter()
        projections: Counter[tuple[int, int]] = Counter()
        singles: Counter[int] = Counter()
        constant = self.input.classes
        nodes = self.nodes
        for node in nodes[1:]:
            op, group, inputs = OPS[node.op], node.width, node.inputs
            constant += edge_weights(node.merge, len(inputs))
            concat = len(inputs) > 1 and node.merge == "concat"
            singles[group] += 2 * op.norms
            free = concat or (len(inputs) == 1 and op.mixes)
            entering = [nodes[i].width for i in inputs] if free else [group]
            for source in entering:
                pairs[source, group] += op.dense
                singles[source] += op.depthwise
            if concat and not op.mixes:
                for source in entering:
                    pairs[source, group] += 1
                singles[group] += 1
            elif not free:
                for i in inputs:
                    if nodes[i].width != group:
                        projections[nodes[i].width, group] += 1
        singles[nodes[-1].width] += self.input.classes
        return Count(pairs, projections, singles, constant)

    def freeze(self, widths: list[int], versions: dict[str, str]) -> Architecture:
        """The graph with the channels of every group filled in."""
        nodes = tuple(
            [Node(op, widths[group], stage, stride, merge, ins) for op, group, stage, stride, merge, ins in self.nodes]
        )
        return Architecture(self.input, nodes, tuple(self.blocks), versions)


def solve(count: Count, widths: Widths, target: float) -> list[int]:
    """Channels of the groups at the largest base width whose count does not exceed ``target``.

    Found by bisection, since the count grows with the base width (but for a projection that falls away where two stages
    come to the same width).

    Raises:
        InvalidDraw: when even the smallest width exceeds the target.
    """
    step = widths.multiple / FINE
    smallest = count.total(widths.at(step))
    if smallest > target:
        raise InvalidDraw(f"the smallest width already has {smallest:,} parameters, over the target of {target:,.0f}")
    low, high = 1, FINE
    while count.total(widths.at(high * step)) <= target:
        low, high = high, 2 * high
        if high > LARGEST:
            raise InvalidDraw(f"no width reaches the target of {target:,.0f} parameters")
    while high - low > 1:
        middle = (low + high) // 2
        if count.total(widths.at(middle * step)) <= target:
            low = middle
        else:
            high = middle
    return widths.at(low * step)
