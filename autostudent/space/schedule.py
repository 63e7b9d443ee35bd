"""In which order a network computes and when it frees: one walk, taken by the cost model and by the network.

So the memory that is counted is the memory that is used. The rules:

* a fresh tensor (a merge, a pooled or projected input) takes its ReLU in place;
* a ReLU of a tensor that several nodes read is computed once and shared by them;
* a node's tensor is overwritten only when nobody else reads it, now or in the backward pass (for which a ReLU keeps its
  result), and it is neither a promised tap nor the picture, which is the caller's;
* a tensor is freed after the last step that reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from autostudent.space.graph import Architecture, Node
from autostudent.space.ops import OPS

Slots = tuple[int, ...]


class Step(NamedTuple):
    """``kind`` computes ``out`` from ``sources`` (slots), then the slots in ``frees`` are let go.

    Kinds: "conv", "depthwise", "project", "norm", "pool", "shrink", "relu", "relu_" (in place), "scale" (times an edge
    weight), "axpy_" (adds a tensor times an edge weight in place), "add", "add_", "divide_", "concat", "attend", "mean"
    (over pixels), "linear". ``size`` is (height, width) of a kernel, or twice the factor of "shrink" and "divide_";
    ``stride`` that of a convolution; ``channels`` (in, out); ``edge`` the position of the edge weight.
    """

    kind: str
    out: int
    sources: Slots
    frees: Slots
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    channels: tuple[int, int] = (0, 0)
    edge: int = 0


class Schedule(NamedTuple):
    """``steps`` in order; slot 0 holds the picture, the last slot the logits.

    ``taps`` maps a block's node to the slot of its output. ``slots`` and ``edges`` are the numbers of slots and of
    learned edge weights.
    """

    steps: tuple[Step, ...]
    taps: dict[int, int]
    slots: int
    edges: int


class Planner(ABC):
    """Walks a graph in order and decides step by step; what a step becomes is for the two verbs of a child."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.nodes = nodes = architecture.nodes
        self.areas = architecture.areas
        self.slot: list[int] = []  # of each node's output
        self.slots = 1
        self.edges = 0
        self.raw = raw = [0] * len(nodes)  # reads of a node's output as it is, and of its ReLU
        self.rectified = rectified = [0] * len(nodes)
        self.root = root = list(range(len(nodes)))  # the node whose tensor a node gives on
        self.direct = direct = [False] * len(nodes)  # its first act is a ReLU of its one input, unchanged
        for i, node in enumerate(nodes):
            inputs = node.inputs
            if len(inputs) == 1:
                source = nodes[inputs[0]]
                if source.stride == node.stride:
                    op = OPS[node.op]
                    if not op.kernels and source.width == node.width:
                        root[i] = root[inputs[0]]
                        continue
                    if op.starts_with_relu and (op.mixes or source.width == node.width):
                        direct[i] = True
                        rectified[root[inputs[0]]] += 1
                        continue
            for j in inputs:
                raw[root[j]] += 1
        raw[root[-1]] += 1
        kept = [i for i, node in enumerate(nodes) if OPS[node.op].ends_with_relu]
        self.protected = {0, *kept, *[root[block] for block in architecture.blocks]}
        self.left: dict[int, int] = {}  # slot to remaining reads
        self.relu_of: dict[int, int] = {}

    @abstractmethod
    def emit(
        self,
        kind: str,
        sources: Slots,
        frees: Slots,
        new: int,
        size: tuple[int, int] = (1, 1),
        stride: int = 1,
        channels: tuple[int, int] = (0, 0),
        edge: int = 0,
        extra: int = 0,
    ) -> int:
        """A step with an output of its own of ``new`` numbers per picture; gives its slot.

        ``extra`` counts the numbers that live only while the step runs.
        """

    @abstractmethod
    def emit_in_place(self, kind: str, out: int, sources: Slots, frees: Slots, size: int = 1, edge: int = 0) -> None:
        """A step that writes into ``out``."""

    def run(self) -> None:
        """The whole walk, ending with the mean over pixels and the linear layer."""
        for i, node in enumerate(self.nodes):
            if self.root[i] != i:
                self.slot.append(self.slot[self.root[i]])
                continue
            slot = self.visit(i, node) if i else 0
            self.slot.append(slot)
            others = self.left[slot] - 1 if slot in self.left else 0  # of a ReLU that this node shares with them
            self.left[slot] = others + self.raw[i] + (1 if self.rectified[i] else 0)
        width, classes, last = self.architecture.width, self.architecture.input.classes, self.slot[-1]
        pooled = self.emit("mean", (last,), self.read(last), width)
        self.emit("linear", (pooled,), (pooled,), classes, channels=(width, classes))

    def read(self, slot: int) -> Slots:
        """Counts one read of a node's output; gives the slot when that was the last."""
        left = self.left[slot] = self.left[slot] - 1
        return () if left else (slot,)

    def ends(self, slot: int, fresh: bool) -> Slots:
        """What to free after reading a tensor: itself where it is fresh or this was its last read."""
        return (slot,) if fresh else self.read(slot)

    def visit(self, i: int, node: Node) -> int:
        """Emits one node; gives the slot of its output."""
        op, width, pixels = OPS[node.op], node.width, self.areas[node.stride]
        kernels = op.kernels
        if self.direct[i]:
            x, fresh = self.rectify(self.root[node.inputs[0]]), False
            kernels = kernels[1:]
        else:
            x, fresh = self.merged(node, op.mixes)
        channels, stride = width, 1
        if op.mixes:
            channels = self.entering(node)
            if op.strided:
                stride = node.stride // self.nodes[node.inputs[0]].stride
        for kind, size in kernels:
            if kind == "relu" and fresh:
                self.emit_in_place("relu_", x, (x,), ())
                continue
            after = width if kind == "conv" else channels
            ends = (x,) if fresh else self.read(x)
            x = self.emit(kind, (x,), ends, after * pixels, size, stride, (channels, after))
            channels, fresh, stride = after, True, 1
        return x

    def entering(self, node: Node) -> int:
        """Channels of what enters a convolution after the merge."""
        if len(node.inputs) == 1:
            return self.nodes[node.inputs[0]].width
        if node.merge == "concat":
            return sum([self.nodes[i].width for i in node.inputs])
        return node.width

    def rectify(self, i: int) -> int:
        """The slot of node i's ReLU, computed at the first call."""
        if i in self.relu_of:
            return self.relu_of[i]
        slot = out = self.slot[i]
        if self.raw[i] == 0 and i not in self.protected:
            self.emit_in_place("relu_", slot, (slot,), ())
        else:
            source = self.nodes[i]
            out = self.emit("relu", (slot,), self.read(slot), source.width * self.areas[source.stride])
        self.relu_of[i] = out
        self.left[out] = self.rectified[i]
        return out

    def aligned(self, i: int, node: Node, width: int) -> tuple[int, bool]:
        """Input i at the node's size with ``width`` channels: its slot, and whether it is a fresh tensor."""
        source, slot, fresh = self.nodes[i], self.slot[i], False
        if source.stride != node.stride and not OPS[node.op].strided:
            factor = node.stride // source.stride
            new = source.width * self.areas[node.stride]
            slot, fresh = self.emit("shrink", (slot,), self.read(slot), new, (factor, factor)), True
        if source.width != width:
            new = width * self.areas[node.stride]
            slot = self.emit("project", (slot,), self.ends(slot, fresh), new, channels=(source.width, width))
            fresh = True
        return slot, fresh

    def merged(self, node: Node, mixes: bool) -> tuple[int, bool]:
        """The node's inputs as one tensor."""
        if len(node.inputs) == 1:
            i = node.inputs[0]
            return self.aligned(i, node, self.nodes[i].width if mixes else node.width)
        if node.merge == "sum":
            return self.weighted(node, node.inputs), True
        if node.merge == "concat":
            return self.concatenated(node, mixes), True
        if node.merge == "attention":
            return self.attended(node), True
        return self.added(node), True

    def weighted(self, node: Node, inputs: Slots) -> int:
        """Each input times its edge weight, summed."""
        slot, fresh = self.aligned(inputs[0], node, node.width)
        new = node.width * self.areas[node.stride]
        total = self.emit("scale", (slot,), self.ends(slot, fresh), new, edge=self.edges)
        for i in inputs[1:]:
            self.edges += 1
            slot, fresh = self.aligned(i, node, node.width)
            self.emit_in_place("axpy_", total, (slot,), self.ends(slot, fresh), edge=self.edges)
        self.edges += 1
        return total

    def added(self, node: Node) -> int:
        """The plain sum or mean of the inputs."""
        first, one = self.aligned(node.inputs[0], node, node.width)
        second, two = self.aligned(node.inputs[1], node, node.width)
        ends = (*self.ends(first, one), *self.ends(second, two))
        total = self.emit("add", (first, second), ends, node.width * self.areas[node.stride])
        for i in node.inputs[2:]:
            slot, fresh = self.aligned(i, node, node.width)
            self.emit_in_place("add_", total, (slot,), self.ends(slot, fresh))
        if node.merge == "mean":
            self.emit_in_place("divide_", total, (total,), (), size=len(node.inputs))
        return total

    def concatenated(self, node: Node, mixes: bool) -> int:
        """All channels side by side, projected to the node's width where its operation does not mix them."""
        found = [self.aligned(i, node, self.nodes[i].width) for i in node.inputs]
        ends = tuple([end for slot, fresh in found for end in self.ends(slot, fresh)])
        channels = sum([self.nodes[i].width for i in node.inputs])
        pixels = self.areas[node.stride]
        x = self.emit("concat", tuple([slot for slot, _ in found]), ends, channels * pixels)
        return x if mixes else self.emit("project", (x,), (x,), node.width * pixels, channels=(channels, node.width))

    def attended(self, node: Node) -> int:
        """The first input as a mask over the weighted sum of the others."""
        edge = self.edges
        self.edges += 1
        total = self.weighted(node, node.inputs[1:])
        slot, fresh = self.aligned(node.inputs[0], node, node.width)
        new = node.width * self.areas[node.stride]
        ends = (*self.ends(slot, fresh), total)
        return self.emit("attend", (slot, total), ends, new, edge=edge, extra=new + 3)


class _Recorder(Planner):
    """Keeps the steps."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.steps: list[Step] = []

    def emit(
        self,
        kind: str,
        sources: Slots,
        frees: Slots,
        new: int,
        size: tuple[int, int] = (1, 1),
        stride: int = 1,
        channels: tuple[int, int] = (0, 0),
        edge: int = 0,
        extra: int = 0,
    ) -> int:
        out = self.slots
        self.slots += 1
        self.steps.append(Step(kind, out, sources, frees, size, stride, channels, edge))
        return out

    def emit_in_place(self, kind: str, out: int, sources: Slots, frees: Slots, size: int = 1, edge: int = 0) -> None:
        self.steps.append(Step(kind, out, sources, frees, (size, size), edge=edge))


class _Meter(Planner):
    """Keeps the sum of live numbers, its peak, and the sum of all that were ever made."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        shape = architecture.input
        self.sizes = [shape.channels * shape.height * shape.width]
        self.live = self.most = self.made = self.sizes[0]

    def emit(
        self,
        kind: str,
        sources: Slots,
        frees: Slots,
        new: int,
        size: tuple[int, int] = (1, 1),
        stride: int = 1,
        channels: tuple[int, int] = (0, 0),
        edge: int = 0,
        extra: int = 0,
    ) -> int:
        self.sizes.append(new)
        self.made += new + extra
        self.live += new
        if self.live + extra > self.most:
            self.most = self.live + extra
        for slot in frees:
            self.live -= self.sizes[slot]
        return len(self.sizes) - 1

    def emit_in_place(self, kind: str, out: int, sources: Slots, frees: Slots, size: int = 1, edge: int = 0) -> None:
        for slot in frees:
            self.live -= self.sizes[slot]


def schedule(architecture: Architecture) -> Schedule:
    """The steps of an architecture's forward pass."""
    recorder = _Recorder(architecture)
    recorder.run()
    taps = {block: recorder.slot[block] for block in architecture.blocks}
    return Schedule(tuple(recorder.steps), taps, recorder.slots, recorder.edges)


def peak(architecture: Architecture) -> int:
    """The most numbers that live at once between the layers, for one picture, with the edge weights."""
    meter = _Meter(architecture)
    meter.run()
    return meter.most + meter.edges


def made(architecture: Architecture) -> int:
    """All numbers that a forward pass makes for one picture: no training keeps more of them for its backward pass."""
    meter = _Meter(architecture)
    meter.run()
    return meter.made
