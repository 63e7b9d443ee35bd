"""A student as a torch module: runs the schedule of its graph, and promises the same taps as every other network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autostudent.build import ops_vision
from autostudent.errors import ConfigError
from autostudent.space.graph import Architecture, Node
from autostudent.space.schedule import schedule

PENULTIMATE = "penultimate"
EMPTY = torch.empty(0)  # stands in a slot whose tensor is freed


class Block(NamedTuple):
    """A promised tap between blocks: ``depth`` is its position among them, ``stride`` relative to the picture."""

    name: str
    depth: int
    channels: int
    stride: int


class Instruction(NamedTuple):
    """A `Step` as the forward pass needs it: ``part`` is the position of its module, -1 for plain functions."""

    part: int
    kind: str
    out: int
    sources: tuple[int, ...]
    frees: tuple[int, ...]
    edge: int
    factor: int


class Network(nn.Module):
    """The network of an `Architecture`.

    Args:
        architecture: the graph; its schedule decides the order of the kernels and when tensors are freed.
        mean, std: of each channel of the pictures, which come in [0, 1] and are normalised inside. Both empty: the
            input is used as it is.

    Taps: ``block1`` … in order, ``stage1`` … ``stageS`` (the last block of each stage), each ``(B, channels, H, W)``,
    and ``penultimate`` ``(B, D)``, the exact input of the linear layer. `taps` maps the stage taps and ``penultimate``
    to (channels, stride), stride 0 standing for a vector; `depths` has the share of the blocks at whose end a stage is.
    """

    def __init__(self, architecture: Architecture, mean: Sequence[float] = (), std: Sequence[float] = ()) -> None:
        super().__init__()
        self.architecture = architecture
        nodes = architecture.nodes
        for given in (mean, std):
            if len(given) not in (0, architecture.input.channels) or len(mean) != len(std):
                raise ConfigError("mean, std", (tuple(mean), tuple(std)), f"{architecture.input.channels} numbers each")
        shape = (1, len(mean), 1, 1)
        self.mean: Tensor | None
        self.std: Tensor | None
        self.register_buffer("mean", torch.tensor([float(v) for v in mean]).reshape(shape) if mean else None)
        self.register_buffer("std", torch.tensor([float(v) for v in std]).reshape(shape) if std else None)
        plan = schedule(architecture)
        self.parts = nn.ModuleDict()
        program: list[Instruction] = []
        for i, step in enumerate(plan.steps):
            part = ops_vision.module(step)
            if part is not None:
                self.parts[f"{step.kind}{i}"] = part
            place = -1 if part is None else len(self.parts) - 1
            program.append(Instruction(place, step.kind, step.out, step.sources, step.frees, step.edge, step.size[0]))
        self._program = tuple(program)
        self.edges = nn.Parameter(torch.ones(plan.edges)) if plan.edges else None
        self._slots = plan.slots
        self._linear = list(self.parts)[-1]
        self._pooled = plan.steps[-1].sources[0]
        self.blocks = tuple(
            Block(f"block{depth + 1}", depth, nodes[i].width, nodes[i].stride)
            for depth, i in enumerate(architecture.blocks)
        )
        self.width = architecture.width
        stages = {f"stage{k + 1}": i for k, i in enumerate(architecture.stages)}
        self.taps: Mapping[str, tuple[int, int]] = {
            **{name: (nodes[i].width, nodes[i].stride) for name, i in stages.items()},
            PENULTIMATE: (self.width, 0),
        }
        ends = {name: architecture.blocks.index(i) for name, i in stages.items()}
        self.depths = {name: (place + 1) / len(self.blocks) for name, place in ends.items()}
        self._node_of = {**{block.name: i for block, i in zip(self.blocks, architecture.blocks, strict=True)}, **stages}
        self._slot_of = {**{name: plan.taps[i] for name, i in self._node_of.items()}, PENULTIMATE: self._pooled}

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, C)`` of pictures ``(B, channels, H, W)`` in [0, 1]."""
        return self._run(x, frozenset(), {})

    def features(self, x: Tensor, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, C)`` and the tensors of the named taps.

        Raises:
            ConfigError: for a name that the network does not promise.
        """
        for tap in taps:
            if tap not in self._slot_of:
                raise ConfigError("tap", tap, "one of: " + ", ".join(self._slot_of))
        held: dict[int, Tensor] = {}
        logits = self._run(x, frozenset(self._slot_of[tap] for tap in taps), held)
        return logits, {tap: held[self._slot_of[tap]] for tap in taps}

    def head(self, penultimate: Tensor) -> Tensor:
        """Logits ``(B, C)`` of a penultimate tensor ``(B, D)``."""
        logits: Tensor = self.parts[self._linear](penultimate)
        return logits

    def top(self, tap: str) -> Network:
        """A network of the layers above a tap, with weights of its own, that maps the tap's tensor to logits.

        The weights are drawn as those of every network here, from torch's global generator.

        Raises:
            ConfigError: for an unknown tap, or one around which other tensors reach the layers above.
        """
        if tap not in self._node_of:
            raise ConfigError("tap", tap, "one of: " + ", ".join(self._node_of))
        network = Network(above(self.architecture, self._node_of[tap], tap))
        for part in network.parts.values():
            ops_vision.initialise(part, torch.default_generator)
        return network

    def _run(self, x: Tensor, wanted: frozenset[int], held: dict[int, Tensor]) -> Tensor:
        """The schedule; tensors of ``wanted`` slots are put into ``held``."""
        slots = [EMPTY] * self._slots
        slots[0] = x if self.mean is None or self.std is None else x.sub(self.mean).div_(self.std)
        del x
        if 0 in wanted:
            held[0] = slots[0]
        parts = list(self.parts.values())
        weights = () if self.edges is None else torch.sigmoid(self.edges).unbind()
        for part, kind, out, sources, frees, edge, factor in self._program:
            first = slots[sources[0]]
            if part >= 0:
                slots[out] = parts[part](first)
            elif kind == "axpy_":
                slots[out].addcmul_(first, weights[edge])
            elif kind == "scale":
                slots[out] = first * weights[edge]
            elif kind == "add":
                slots[out] = first + slots[sources[1]]
            elif kind == "add_":
                slots[out].add_(first)
            elif kind == "divide_":
                slots[out].div_(factor)
            elif kind == "mean":
                slots[out] = first.mean((2, 3))
            elif kind == "concat":
                slots[out] = torch.cat([slots[i] for i in sources], 1)
            else:
                slots[out] = ops_vision.attend(first, slots[sources[1]], weights[edge])
            del first
            if out in wanted:
                held.setdefault(out, slots[out])
            for slot in frees:
                slots[slot] = EMPTY
        return slots[-1]


def above(architecture: Architecture, cut: int, name: str) -> Architecture:
    """The graph above node ``cut``, whose output becomes the input.

    Raises:
        ConfigError: when the graph above reads another node below the cut.
    """
    nodes = architecture.nodes
    needed, waiting = set(), [len(nodes) - 1]
    while waiting:
        i = waiting.pop()
        if i in needed or i == cut:
            continue
        if i < cut:
            raise ConfigError("tap", name, "a tap through which everything above it flows")
        needed.add(i)
        waiting += nodes[i].inputs
    kept = sorted(needed)
    place = {cut: 0, **{i: k + 1 for k, i in enumerate(kept)}}
    first = Node("input", nodes[cut].width, nodes[cut].stage, nodes[cut].stride, "add", ())
    rest = (nodes[i]._replace(inputs=tuple(place[j] for j in nodes[i].inputs)) for i in kept)
    blocks = tuple(place[block] for block in architecture.blocks if block in needed)
    shape = architecture.input._replace(channels=nodes[cut].width)
    return dataclasses.replace(architecture, input=shape, nodes=(first, *rest), blocks=blocks)


def build(architecture: Architecture, seed: int, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Network:
    """The network of a graph, initialised from ``seed`` alone; no global random state is changed."""
    with torch.random.fork_rng(devices=[]):
        network = Network(architecture, mean, std)
    generator = torch.Generator().manual_seed(seed)
    for part in network.parts.values():
        ops_vision.initialise(part, generator)
    return network
