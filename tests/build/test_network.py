from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from autostudent.build.network import Network, build
from autostudent.errors import ConfigError, InvalidDraw
from autostudent.measure.memory import measure_memory
from autostudent.records import Candidate
from autostudent.space.architecture import Architecture, InputShape, Node, freeze, neighbour
from autostudent.space.cost import costs
from autostudent.space.ops import MERGES, OPS
from autostudent.space.resnet import resnet
from tests.strategies import SPACES, any_graphs, drawn, shapes, small_shapes

TINY = SPACES["hnag_tiny"]
graphs = st.one_of(drawn(TINY, small_shapes, 2), any_graphs(small_shapes))


def made(architecture: Architecture, seed: int = 0) -> Network:
    """A network with a normalisation and with statistics and edge weights that are not all alike."""
    channels = architecture.input.channels
    network = build(architecture, seed, [0.4] * channels, [0.3] * channels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.3, generator=generator)  # type: ignore[union-attr,operator]
                part.running_var.uniform_(0.5, 2.0, generator=generator)  # type: ignore[union-attr,operator]
        if network.edges is not None:
            network.edges.normal_(0, 1, generator=generator)
    return network


def pictures(architecture: Architecture, count: int) -> Tensor:
    shape = architecture.input
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, shape.channels, shape.height, shape.width, generator=generator)


def require_exact(architecture: Architecture, device: str = "cpu") -> None:
    """Parameters, multiply-accumulates and memory of the built network are those of the cost model.

    On the meta device, batch norm in evaluation mode also returns statistics, which on the CPU are empty.
    """
    exact, channels = costs(architecture), architecture.input.channels
    network = build(architecture, 0, [0.4] * channels, [0.3] * channels).to(device).eval()
    assert sum(p.numel() for p in network.parameters()) == exact.params
    x = pictures(architecture, 1).to(device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    assert counter.get_total_flops() == 2 * exact.macs
    metered = measure_memory(network, x)
    assert metered == (exact.memory_bytes if device == "cpu" else pytest.approx(exact.memory_bytes, rel=0.01))


def plain_forward(network: Network, x: Tensor) -> Tensor:
    """The same function from the definition of nodes, without schedule, sharing or in-place steps.

    Weights are taken in the order in which the definition meets them.
    """
    architecture = network.architecture
    parts = iter(part for part in network.parts.values() if any(True for _ in part.parameters()))
    weights = iter(() if network.edges is None else torch.sigmoid(network.edges))
    out = [(x - network.mean) / network.std]  # type: ignore[operator]
    for node in architecture.nodes[1:]:
        out.append(plain_node(node, architecture, out, parts, weights))
    logits: Tensor = next(parts)(out[-1].mean((2, 3)))
    return logits


def plain_node(node: Node, architecture: Architecture, out: list[Tensor], parts: object, weights: object) -> Tensor:
    op = OPS[node.op]
    several = len(node.inputs) > 1

    def aligned(i: int, width: int) -> Tensor:
        factor = node.stride // architecture.nodes[i].stride
        y = out[i] if op.strided else F.avg_pool2d(out[i], factor, ceil_mode=True)
        return y if y.shape[1] == width else next(parts)(y)  # type: ignore[call-overload,no-any-return]

    if not several:
        x = aligned(node.inputs[0], out[node.inputs[0]].shape[1] if op.mixes else node.width)
    elif node.merge == "concat":
        x = torch.cat([aligned(i, out[i].shape[1]) for i in node.inputs], 1)
        x = x if op.mixes else next(parts)(x)  # type: ignore[call-overload]
    elif node.merge == "attention":
        weight = next(weights)  # type: ignore[call-overload]
        total = sum(aligned(i, node.width) * next(weights) for i in node.inputs[1:])  # type: ignore[call-overload]
        mask = aligned(node.inputs[0], node.width).flatten(1)
        low, high = mask.min(1, keepdim=True).values, mask.max(1, keepdim=True).values
        x = total * (weight + ((mask - low) / (high - low + 1e-6)).view_as(total))
    elif node.merge == "sum":
        x = sum(aligned(i, node.width) * next(weights) for i in node.inputs)  # type: ignore[call-overload,assignment]
    else:
        x = sum(aligned(i, node.width) for i in node.inputs)  # type: ignore[assignment]
        x = x / len(node.inputs) if node.merge == "mean" else x
    for kernel in op.kernels:
        if kernel.kind == "relu":
            x = F.relu(x)
        elif kernel.kind == "pool":
            size = kernel.size[0]
            x = F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)
        else:
            x = next(parts)(x)  # type: ignore[call-overload]
    return x


@given(graphs)
@settings(max_examples=25)
def test_costs_are_those_of_the_built_network(architecture: Architecture) -> None:
    require_exact(architecture)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("name", SPACES)
def test_costs_are_exact_over_hundreds_of_graphs(name: str, part: int) -> None:
    """On the meta device, which has shapes and storages but no numbers; every fortieth graph also on the CPU."""
    rng = np.random.default_rng(part)
    checked = 0
    for seed in range(55 * part, 55 * part + 55):
        shape = InputShape(*((1, 8, 8, 10), (3, 32, 32, 100), (1, 28, 28, 10), (3, 19, 30, 7))[seed % 4])
        candidate = Candidate(SPACES[name].sample(rng), seed)
        try:
            for _ in range(seed % 3):
                candidate = neighbour(candidate, SPACES[name], shape, rng)
            architecture = freeze(candidate, SPACES[name], shape)
        except InvalidDraw:
            continue
        require_exact(architecture, "meta")
        if seed % 40 == 0:
            require_exact(architecture)
        checked += 1
    assert checked >= 50


@given(graphs)
@settings(max_examples=40)
def test_the_schedule_computes_what_the_graph_says(architecture: Architecture) -> None:
    network = made(architecture).eval()
    x = pictures(architecture, 2)
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain_forward(network, x), rtol=1e-3, atol=1e-4)


@given(graphs)
@settings(max_examples=25)
def test_gradients_reach_every_parameter_and_agree(architecture: Architecture) -> None:
    """In-place steps must not disturb the backward pass; compared with the plain definition in double precision."""
    network = made(architecture).double().eval()
    x = pictures(architecture, 2).double()
    names, parameters = zip(*network.named_parameters(), strict=True)
    first = torch.autograd.grad(network(x).square().sum(), parameters, allow_unused=False)
    second = torch.autograd.grad(plain_forward(network, x).square().sum(), parameters)
    for name, a, b in zip(names, first, second, strict=True):
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")


@given(st.one_of(drawn(TINY, small_shapes, 2), drawn(SPACES["resnet_family"], small_shapes)))
@settings(max_examples=25)
def test_promised_taps(architecture: Architecture) -> None:
    network = made(architecture).train()
    x = pictures(architecture, 3)
    names = [*network.taps, *(block.name for block in network.blocks)]
    logits, taps = network.features(x, names)
    assert list(network.taps) == ["stage1", "stage2", "stage3", "penultimate"]
    for name, (channels, stride) in network.taps.items():
        size = architecture.size(stride) if stride else ()
        assert taps[name].shape == (3, channels, *size)
    assert [block.depth for block in network.blocks] == list(range(len(architecture.blocks)))
    for block in network.blocks:
        assert taps[block.name].shape == (3, block.channels, *architecture.size(block.stride))
    assert torch.equal(network.head(taps["penultimate"]), logits)
    assert network.width == taps["penultimate"].shape[1]
    before = {name: tap.detach().clone() for name, tap in taps.items()}
    (logits.sum() + sum(tap.sum() for tap in taps.values())).backward()
    assert all(torch.equal(before[name], tap) for name, tap in taps.items())
    with torch.no_grad():
        network.eval()
        assert torch.equal(network(x), network.features(x, ["stage2"])[0])


def test_unknown_taps_are_refused() -> None:
    network = build(resnet(8, 2, InputShape(1, 8, 8, 3)), 0)
    for call in (lambda: network.features(torch.rand(1, 1, 8, 8), ["stage9"]), lambda: network.top("stage9")):
        with pytest.raises(ConfigError, match="stage1"):
            call()
    with pytest.raises(ConfigError, match="mean, std"):
        build(resnet(8, 2, InputShape(3, 8, 8, 3)), 0, [0.5], [0.5])


@given(drawn(TINY, small_shapes))
@settings(max_examples=20)
def test_the_top_above_a_tap(architecture: Architecture) -> None:
    """With its weights copied from the network, the top gives the network's logits."""
    network = made(architecture).eval()
    x = pictures(architecture, 2)
    for tap in ("stage1", "stage2", "stage3"):
        try:
            top = network.top(tap).eval()
        except ConfigError:
            continue
        own, whole = list(top.parameters()), list(network.parameters())
        assert not any(a is b for a in own for b in whole)
        assert set(top.taps) <= set(network.taps)
        assert top.mean is None
        with torch.no_grad():
            logits, taps = network.features(x, [tap])
            copy_last(network, top)
            torch.testing.assert_close(top(taps[tap]), logits, rtol=1e-3, atol=1e-4)


def copy_last(network: Network, top: Network) -> None:
    """Copies the last modules and edge weights of a network into its top."""
    sources = [part for part in network.parts.values() if part.state_dict()]
    targets = [part for part in top.parts.values() if part.state_dict()]
    for source, target in zip(reversed(sources), reversed(targets), strict=False):
        target.load_state_dict(source.state_dict())
    if top.edges is not None and network.edges is not None:
        top.edges.copy_(network.edges[-len(top.edges) :])


def test_every_cut_of_a_resnet_is_a_single_tensor() -> None:
    architecture = resnet(14, 3, InputShape(3, 16, 16, 4))
    network = made(architecture).eval()
    x = pictures(architecture, 2)
    for block in network.blocks:
        with torch.no_grad():
            top = network.top(block.name).eval()
            copy_last(network, top)
            logits, taps = network.features(x, [block.name])
            torch.testing.assert_close(top(taps[block.name]), logits)


def test_a_top_begins_like_a_network_of_its_graph() -> None:
    network = build(resnet(14, 16, InputShape(3, 16, 16, 4)), 0)
    torch.manual_seed(3)
    top = network.top("stage1")
    fresh = build(top.architecture, 3)

    for mine, own in zip(top.parameters(), fresh.parameters(), strict=True):
        if mine.ndim == 4:  # so many numbers that their spread is known
            assert mine.std().item() == pytest.approx(own.std().item(), rel=0.1)


def test_a_cut_with_a_way_around_is_refused() -> None:
    nodes = (
        Node("input", 1, 0, 1, "add", ()),
        Node("plain3", 4, 0, 1, "add", (0,)),
        Node("conv3", 4, 0, 1, "add", (1,)),
        Node("join", 4, 0, 1, "sum", (1, 2)),
    )
    network = build(Architecture(InputShape(1, 8, 8, 2), nodes, (2, 3)), 0)
    with pytest.raises(ConfigError, match="everything above it flows"):
        network.top("block1")
    assert network.top("block2")(torch.rand(1, 4, 8, 8)).shape == (1, 2)


@given(graphs, st.integers(0, 2**31))
@settings(max_examples=15)
def test_the_stored_graph_rebuilds_the_same_network(architecture: Architecture, seed: int) -> None:
    state = torch.get_rng_state()
    first = build(architecture, seed, (), ())
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    second = build(Architecture.from_json(architecture.to_json()), seed, (), ())
    assert list(first.state_dict()) == list(second.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    x = pictures(architecture, 2)
    with torch.no_grad():
        assert torch.equal(first.eval()(x), second.eval()(x))


def test_copies_are_independent() -> None:
    network = made(freeze(Candidate(TINY.sample(np.random.default_rng(3)), 3), TINY, InputShape(1, 8, 8, 10)))
    x = pictures(network.architecture, 4)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin.eval()(x), network.eval()(x))
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(1.0)
        assert not torch.equal(twin(x), network(x))


def test_channels_last_changes_nothing_but_rounding() -> None:
    network = made(freeze(Candidate(TINY.sample(np.random.default_rng(5)), 5), TINY, InputShape(3, 16, 16, 10))).eval()
    x = pictures(network.architecture, 4)
    with torch.no_grad():
        torch.testing.assert_close(network(x.to(memory_format=torch.channels_last)), network(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.kernels])
@pytest.mark.parametrize("merge", MERGES)
def test_every_operation_under_every_merge(name: str, merge: str) -> None:
    op = OPS[name]
    nodes = [
        Node("input", 3, 0, 1, "add", ()),
        Node("plain3", 4, 0, 1, "add", (0,)),
        Node("plain1", 5, 0, 1, "add", (0,)),
        Node("conv3", 6, 0, 2, "add", (1,)),
        Node(name, 6, 0, 2, merge, (2,) if op.strided else (2, 1, 3)),
    ]
    nodes.append(Node("join", 6, 0, 2, merge, (4, 1, 3) if op.strided else (4,)))
    architecture = Architecture(InputShape(3, 9, 11, 4), tuple(nodes), (4,))
    architecture.validate()
    require_exact(architecture)
    network = made(architecture).eval()
    x = pictures(architecture, 2)
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain_forward(network, x), rtol=1e-4, atol=1e-5)


def test_attention_does_not_mix_pictures() -> None:
    nodes = (
        Node("input", 1, 0, 1, "add", ()),
        Node("plain3", 4, 0, 1, "add", (0,)),
        Node("conv3", 4, 0, 1, "add", (1,)),
        Node("join", 4, 0, 1, "attention", (1, 2)),
    )
    network = made(Architecture(InputShape(1, 8, 8, 2), nodes, (3,))).eval()
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[:1], network(x[:1]))


@given(drawn(TINY, shapes))
@settings(max_examples=10)
def test_meta_device(architecture: Architecture) -> None:
    with torch.device("meta"):
        network = Network(architecture)
    assert sum(p.numel() for p in network.parameters()) == costs(architecture).params
    assert network.architecture is architecture
    assert replace(architecture) == architecture
