"""In which order a network computes and when it frees: one list of steps, read by the cost model and by the network.

So the memory that is counted is the memory that is used. The rules:

* a fresh tensor (a merge, a pooled or projected input) takes its ReLU in place;
* a ReLU of a tensor that several nodes read is computed once and shared by them;
* a tensor is overwritten only when nobody else reads it, now or in the backward pass, and it is not a promised tap;
* a tensor is freed after the last step that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from autostudent.space.graph import Architecture, Node
from autostudent.space.ops import OPS


class Step(NamedTuple):
    """``kind`` computes ``out`` from ``sources`` (slots), then the slots in ``frees`` are let go.

    Kinds: "conv", "depthwise", "project", "norm", "pool", "shrink", "relu", "relu_" (in place), "scale" (times an edge
    weight), "axpy_" (adds a tensor times an edge weight in place), "add", "add_", "divide_", "concat", "attend", "mean"
    (over pixels), "linear". ``size`` is (height, width) of a kernel or the factor of "shrink" and "divide_"; ``stride``
    that of a convolution. ``channels`` is (in, out). ``edge`` is the position of the edge weight. ``new`` counts the
    numbers per picture in the new tensor, ``extra`` those that live only while the step runs.
    """

    kind: str
    out: int
    sources: tuple[int, ...]
    frees: tuple[int, ...]
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    channels: tuple[int, int] = (0, 0)
    edge: int = 0
    new: int = 0
    extra: int = 0


class Schedule(NamedTuple):
    """``steps`` in order; slot 0 holds the picture. ``taps`` maps a block's node to the slot of its output.

    ``slots`` and ``edges`` are the numbers of slots and of learned edge weights.
    """

    steps: tuple[Step, ...]
    taps: dict[int, int]
    slots: int
    edges: int


def reads_relu(node: Node, nodes: Sequence[Node]) -> bool:
    """Whether the node's first act is a ReLU of its one input, unchanged."""
    if len(node.inputs) != 1 or not OPS[node.op].starts_with_relu:
        return False
    source = nodes[node.inputs[0]]
    return source.stride == node.stride and (source.width == node.width or OPS[node.op].mixes)


def passes(node: Node, nodes: Sequence[Node]) -> bool:
    """Whether the node gives its one input on as it is."""
    if node.op != "join" or len(node.inputs) != 1:
        return False
    source = nodes[node.inputs[0]]
    return source.stride == node.stride and source.width == node.width


class _Planner:
    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.nodes = nodes = architecture.nodes
        self.pixels: dict[int, int] = {}
        self.steps: list[Step] = []
        self.slot: list[int] = []  # of each node's output
        self.slots = 0
        self.edges = 0
        self.raw = [0] * len(nodes)  # reads of a node's output as it is, and of its ReLU
        self.rectified = [0] * len(nodes)
        root = list(range(len(nodes)))
        for i, node in enumerate(nodes):
            if passes(node, nodes):
                root[i] = root[node.inputs[0]]
                continue
            counts = self.rectified if reads_relu(node, nodes) else self.raw
            for j in node.inputs:
                counts[root[j]] += 1
        self.raw[root[-1]] += 1
        self.root = root
        self.protected = {root[block] for block in architecture.blocks}
        self.left: dict[int, int] = {}  # slot to remaining reads
        self.relu_of: dict[int, int] = {}

    def area(self, stride: int) -> int:
        """Pixels at a stride."""
        if stride not in self.pixels:
            height, width = self.architecture.size(stride)
            self.pixels[stride] = height * width
        return self.pixels[stride]

    def emit(self, kind: str, sources: tuple[int, ...], frees: tuple[int, ...], new: int, **more: object) -> int:
        """Appends a step with an output of its own."""
        self.slots += 1
        self.steps.append(Step(kind, self.slots - 1, sources, frees, new=new, **more))  # type: ignore[arg-type]
        return self.slots - 1

    def emit_in_place(self, kind: str, out: int, sources: tuple[int, ...], frees: tuple[int, ...], **more: int) -> None:
        """Appends a step that writes into ``out``."""
        self.steps.append(Step(kind, out, sources, frees, **more))  # type: ignore[arg-type]

    def read(self, slot: int) -> tuple[int, ...]:
        """Counts one read of a node's output; gives the slot when that was the last."""
        self.left[slot] -= 1
        return () if self.left[slot] else (slot,)

    def define(self, i: int, slot: int) -> None:
        """Names ``slot`` as the output of node i."""
        self.slot.append(slot)
        self.left[slot] = self.raw[i] + (1 if self.rectified[i] else 0)
        if self.left[slot] == 0:  # nobody reads it: free it with the step that made it
            step = self.steps[-1]
            self.steps[-1] = step._replace(frees=(*step.frees, slot))

    def run(self) -> Schedule:
        """The whole plan."""
        shape = self.architecture.input
        self.slots = 1
        for i, node in enumerate(self.nodes):
            if i == 0:
                self.define(0, 0)
            elif self.root[i] != i:
                self.slot.append(self.slot[self.root[i]])
            else:
                self.define(i, self.node(node))
        width, last = self.architecture.width, self.slot[-1]
        pooled = self.emit("mean", (last,), self.read(last), width)
        logits = self.emit("linear", (pooled,), (pooled,), shape.classes, channels=(width, shape.classes))
        taps = {block: self.slot[block] for block in self.architecture.blocks}
        assert logits == self.slots - 1
        return Schedule(tuple(self.steps), taps, self.slots, self.edges)

    def node(self, node: Node) -> int:
        """Emits one node; gives the slot of its output, which is fresh."""
        op = OPS[node.op]
        if reads_relu(node, self.nodes):
            x, done = self.rectify(self.root[node.inputs[0]]), 1
            fresh = False
        else:
            x, fresh = self.merged(node)
            done = 0
        channels = self.entering(node)
        pixels = self.area(node.stride)
        stride = node.stride // self.nodes[node.inputs[0]].stride if op.strided else 1
        for kernel in op.kernels[done:]:
            if kernel.kind == "relu" and fresh:
                self.emit_in_place("relu_", x, (x,), ())
                continue
            ends = (x,) if fresh else self.read(x)
            after = node.width if kernel.kind == "conv" else channels
            x = self.emit(
                kernel.kind,
                (x,),
                ends,
                after * pixels,
                size=kernel.size,
                stride=stride,
                channels=(channels, after),
            )
            channels, fresh, stride = after, True, 1
        assert fresh or done, node
        return x

    def entering(self, node: Node) -> int:
        """Channels of the merged input."""
        if len(node.inputs) == 1:
            return self.nodes[node.inputs[0]].width if OPS[node.op].mixes else node.width
        if node.merge == "concat" and OPS[node.op].mixes:
            return sum(self.nodes[i].width for i in node.inputs)
        return node.width

    def rectify(self, i: int) -> int:
        """The slot of node i's ReLU, computed at the first call."""
        slot = self.slot[i]
        if i not in self.relu_of:
            if self.raw[i] == 0 and i not in self.protected:
                self.emit_in_place("relu_", slot, (slot,), ())
                self.relu_of[i] = slot
            else:
                source = self.nodes[i]
                self.relu_of[i] = self.emit("relu", (slot,), self.read(slot), source.width * self.area(source.stride))
            self.left[self.relu_of[i]] = self.rectified[i]
        return self.relu_of[i]

    def aligned(self, i: int, node: Node, width: int) -> tuple[int, bool]:
        """Input i at the node's size with ``width`` channels: its slot, and whether it is a fresh tensor."""
        source, slot, fresh = self.nodes[i], self.slot[i], False
        factor = node.stride // source.stride
        pixels = self.area(node.stride)
        if factor > 1 and not OPS[node.op].strided:
            slot = self.emit("shrink", (slot,), self.read(slot), source.width * pixels, size=(factor, factor))
            fresh = True
        if source.width != width:
            ends = (slot,) if fresh else self.read(slot)
            slot = self.emit("project", (slot,), ends, width * pixels, channels=(source.width, width))
            fresh = True
        return slot, fresh

    def merged(self, node: Node) -> tuple[int, bool]:
        """The node's inputs as one tensor."""
        if len(node.inputs) == 1:
            source = self.nodes[node.inputs[0]]
            return self.aligned(node.inputs[0], node, source.width if OPS[node.op].mixes else node.width)
        if node.merge == "concat":
            return self.concatenated(node), True
        if node.merge == "attention":
            return self.attended(node), True
        if node.merge == "sum":
            return self.weighted(node, node.inputs), True
        return self.added(node), True

    def ends(self, slot: int, fresh: bool) -> tuple[int, ...]:
        return (slot,) if fresh else self.read(slot)

    def weighted(self, node: Node, inputs: tuple[int, ...]) -> int:
        """Each input times its edge weight, summed."""
        new = node.width * self.area(node.stride)
        slot, fresh = self.aligned(inputs[0], node, node.width)
        total = self.emit("scale", (slot,), self.ends(slot, fresh), new, edge=self.edges)
        for i in inputs[1:]:
            self.edges += 1
            slot, fresh = self.aligned(i, node, node.width)
            self.emit_in_place("axpy_", total, (slot,), self.ends(slot, fresh), edge=self.edges)
        self.edges += 1
        return total

    def added(self, node: Node) -> int:
        """The plain sum or mean of the inputs."""
        new = node.width * self.area(node.stride)
        first, one = self.aligned(node.inputs[0], node, node.width)
        second, two = self.aligned(node.inputs[1], node, node.width)
        ends = (*self.ends(first, one), *self.ends(second, two))
        total = self.emit("add", (first, second), ends, new)
        for i in node.inputs[2:]:
            slot, fresh = self.aligned(i, node, node.width)
            self.emit_in_place("add_", total, (slot,), self.ends(slot, fresh))
        if node.merge == "mean":
            count = len(node.inputs)
            self.steps.append(Step("divide_", total, (total,), (), size=(count, count)))
        return total

    def concatenated(self, node: Node) -> int:
        """All channels side by side, projected to the node's width where its operation does not mix them."""
        pixels = self.area(node.stride)
        found = [self.aligned(i, node, self.nodes[i].width) for i in node.inputs]
        ends = tuple(end for slot, fresh in found for end in self.ends(slot, fresh))
        channels = sum(self.nodes[i].width for i in node.inputs)
        x = self.emit("concat", tuple(slot for slot, _ in found), ends, channels * pixels)
        if OPS[node.op].mixes:
            return x
        return self.emit("project", (x,), (x,), node.width * pixels, channels=(channels, node.width))

    def attended(self, node: Node) -> int:
        """The first input as a mask over the weighted sum of the others."""
        new = node.width * self.area(node.stride)
        edge = self.edges
        self.edges += 1
        total = self.weighted(node, node.inputs[1:])
        slot, fresh = self.aligned(node.inputs[0], node, node.width)
        return self.emit("attend", (slot, total), (*self.ends(slot, fresh), total), new, edge=edge, extra=new + 3)


def schedule(architecture: Architecture) -> Schedule:
    """The steps of an architecture's forward pass."""
    return _Planner(architecture).run()
