"""The frozen graph of a student: what the store keeps and what networks are rebuilt from.

A network is a list of nodes in topological order. A node aligns its inputs (average pooling to its size, a 1x1
convolution with bias where channels differ), merges them into one tensor and applies its operation. The last node is
averaged over its pixels; a linear layer gives the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from autostudent.errors import ConfigError, InvalidDraw
from autostudent.space.ops import MERGES, OPS

if TYPE_CHECKING:
    import networkx as nx

FORMAT = 1  # version of the JSON form
WRITTEN = "a graph as Architecture.to_json writes it"
_MASK = (1 << 128) - 1
_ODD = 0x9FB21C651E98DF25C3A5C85C97CB3127  # an arbitrary odd multiplier that mixes 128 bits


@lru_cache(maxsize=65536)
def label(*parts: str | int) -> int:
    """128 bits that name a kind of node."""
    return int.from_bytes(blake2b(",".join(map(str, parts)).encode(), digest_size=16).digest(), "big")


class InputShape(NamedTuple):
    """What a network reads and how many classes it tells apart."""

    channels: int
    height: int
    width: int
    classes: int


class Node(NamedTuple):
    """``op`` of `OPS` to ``width`` channels at 1/``stride`` of the picture's size, after a ``merge`` of ``inputs``.

    ``stage`` counts from 0; ``inputs`` are positions of earlier nodes.
    """

    op: str
    width: int
    stage: int
    stride: int
    merge: str
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """A student's graph with every width fixed.

    ``nodes[0]`` is the picture. ``blocks`` are the positions of the nodes at which a block ends: the promised taps.
    ``versions`` names the libraries that drew the graph.
    """

    input: InputShape
    nodes: tuple[Node, ...]
    blocks: tuple[int, ...]
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def width(self) -> int:
        """D: channels of the last node, the width of the penultimate tap."""
        return self.nodes[-1].width

    @cached_property
    def stages(self) -> tuple[int, ...]:
        """Position of the last block of every stage."""
        last = {self.nodes[block].stage: block for block in self.blocks}
        return tuple(last[stage] for stage in sorted(last))

    @property
    def taps(self) -> tuple[str, ...]:
        """What every network of this graph promises to show by name: its stages' ends, the input of its last layer."""
        return (*(f"stage{number}" for number in range(1, len(self.stages) + 1)), "penultimate")

    def size(self, stride: int) -> tuple[int, int]:
        """(height, width) at a stride, rounded up."""
        return -(-self.input.height // stride), -(-self.input.width // stride)

    @cached_property
    def areas(self) -> dict[int, int]:
        """Pixels at every stride that occurs."""
        sizes = {stride: self.size(stride) for stride in {node.stride for node in self.nodes}}
        return {stride: height * width for stride, (height, width) in sizes.items()}

    def graph(self) -> nx.DiGraph:
        """The DAG with ``op``, ``width``, ``stage``, ``stride`` and ``merge`` on every node."""
        import networkx as nx

        graph = nx.DiGraph()
        for i, node in enumerate(self.nodes):
            graph.add_node(i, op=node.op, width=node.width, stage=node.stage, stride=node.stride, merge=node.merge)
            graph.add_edges_from((source, i) for source in node.inputs)
        return graph

    @cached_property
    def fingerprint(self) -> str:
        """The same for graphs that differ only in the order of their nodes (32 hexadecimal digits).

        Every node is hashed (to 128 bits) with all that it depends on, then with all that depends on it; the multiset
        of these hashes names the graph. Neighbours enter as a sum, which has no order.
        """
        below: list[int] = []
        above = [0] * len(self.nodes)
        for op, width, stage, stride, merge, inputs in self.nodes:
            several = len(inputs) > 1
            value = label(op, width, stage, stride, merge if several else "")
            for j in inputs:
                value += below[j]
            if several and merge == "attention":  # the first input plays another role than the rest
                value += below[inputs[0]] * 3
            value = (value ^ value >> 61) * _ODD & _MASK
            below.append(value ^ value >> 67)
        for i in range(len(below) - 1, -1, -1):
            value = below[i] + above[i]
            value = (value ^ value >> 61) * _ODD & _MASK
            above[i] = value = value ^ value >> 67
            for j in self.nodes[i].inputs:
                above[j] += value
        whole = blake2b(",".join(map(str, self.input)).encode(), digest_size=16)
        for value in sorted(above):
            whole.update(value.to_bytes(16, "big"))
        return whole.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A JSON mapping from which `from_json` makes an equal graph."""
        return {
            "format": FORMAT,
            "input": self.input._asdict(),
            "nodes": [[n.op, n.width, n.stage, n.stride, n.merge, list(n.inputs)] for n in self.nodes],
            "blocks": list(self.blocks),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Architecture:
        """The graph of a JSON mapping.

        Raises:
            ConfigError: when the mapping is not a graph in this format.
        """
        if not isinstance(value, Mapping):
            raise ConfigError("architecture", type(value).__name__, WRITTEN)
        if value.get("format") != FORMAT:
            raise ConfigError("architecture.format", value.get("format"), str(FORMAT))
        try:
            shape = InputShape(**value["input"])
            nodes = tuple(Node(row[0], row[1], row[2], row[3], row[4], tuple(row[5])) for row in value["nodes"])
            made = cls(shape, nodes, tuple(value["blocks"]), dict(value["versions"]))
        except (LookupError, TypeError, ValueError) as error:
            raise ConfigError("architecture", str(error), WRITTEN) from None
        made.validate()
        return made

    def validate(self) -> None:
        """Raises `ConfigError` unless the nodes form a graph that can be built."""
        for name, number in self.input._asdict().items():
            if not is_whole(number, 1):
                raise ConfigError(f"architecture.input.{name}", number, "a whole number of at least 1")
        for i, node in enumerate(self.nodes):
            self._validate_node(i, node)
        if self.nodes and self.nodes[0].width != self.input.channels:
            channels = f"the {self.input.channels} channels of the input"
            raise ConfigError("architecture.nodes[0]", self.nodes[0].width, channels)
        read = {j for node in self.nodes for j in node.inputs}
        if read != set(range(len(self.nodes) - 1)):
            raise ConfigError(
                "architecture.nodes", "a node that nothing reads", "every node but the last read by another"
            )
        if not self.blocks or not all(is_whole(block, 1) and block < len(self.nodes) for block in self.blocks):
            raise ConfigError("architecture.blocks", list(self.blocks), "positions of nodes")

    def _validate_node(self, i: int, node: Node) -> None:
        key = f"architecture.nodes[{i}]"
        op, width, stage, stride, merge, inputs = node
        if not isinstance(op, str) or op not in OPS or merge not in MERGES:
            raise ConfigError(key, (op, merge), "a known operation and merge")
        if not (is_whole(width, 1) and is_whole(stage, 0) and is_whole(stride, 1)):
            raise ConfigError(key, (width, stage, stride), "whole numbers: width from 1, stage from 0, stride from 1")
        if (i == 0) != (op == "input") or (i > 0 and not inputs) or not all(is_whole(j, 0) and j < i for j in inputs):
            raise ConfigError(key, list(inputs), "inputs among the earlier nodes")
        if any(stride % self.nodes[j].stride for j in inputs):
            raise ConfigError(key, stride, "a stride at no finer size than its inputs")
        if OPS[op].strided and len(inputs) != 1:
            raise ConfigError(key, list(inputs), f"one input for {op}")


def is_whole(value: object, low: int) -> bool:
    """Whether it is a whole number of at least ``low``, and neither a float nor true or false."""
    return type(value) is int and value >= low


def require_size(shape: InputShape, stride: int) -> None:
    """Raises `InvalidDraw` when a picture is smaller than the total stride of the network."""
    if min(shape.height, shape.width) < stride:
        raise InvalidDraw(f"a picture of {shape.height}x{shape.width} cannot be halved down to 1/{stride}")
