"""What a schedule may overwrite and when it may free, on graphs that no generator here draws."""

from __future__ import annotations

import pytest
import torch

from autostudent.build.network import build
from autostudent.space.architecture import Architecture, InputShape, Node
from tests.build.test_network import made, pictures, plain_forward, require_exact


def chain(*rows: tuple[str, tuple[int, ...]], blocks: tuple[int, ...] = (1,)) -> Architecture:
    """Operations of three channels over one picture of three."""
    nodes = (Node("input", 3, 0, 1, "add", ()), *(Node(op, 3, 0, 1, "add", inputs) for op, inputs in rows))
    architecture = Architecture(InputShape(3, 8, 8, 4), nodes, blocks)
    architecture.validate()
    return architecture


LAST = ("join", (2, 3, 4))
GRAPHS = {
    "a ReLU as a node, and others that share it": chain(
        ("plain3", (0,)), ("relu", (1,)), ("conv3", (1,)), ("conv1", (1,)), LAST, blocks=(5,)
    ),
    "the node in their midst": chain(
        ("plain3", (0,)), ("conv3", (1,)), ("relu", (1,)), ("conv1", (1,)), LAST, blocks=(5,)
    ),
    "one that others read as it was": chain(
        ("plain3", (0,)), ("relu", (1,)), ("conv3", (1,)), ("pool3", (1,)), LAST, blocks=(2, 5)
    ),
    "a ReLU of the shared one": chain(
        ("plain3", (0,)), ("relu", (1,)), ("conv3", (1,)), ("conv1", (2,)), ("join", (3, 4)), blocks=(5,)
    ),
    "ReLU after ReLU": chain(("plain3_relu", (0,)), ("conv3", (1,)), blocks=(2,)),
    "ReLU after a merge and ReLU": chain(
        ("plain3", (0,)), ("plain3", (0,)), ("relu", (1, 2)), ("conv3", (3,)), blocks=(4,)
    ),
    "ReLU of the picture": chain(("conv3", (0,)), ("conv1", (0,)), ("join", (1, 2)), blocks=(3,)),
    "the picture as a block": chain(("join", (0,)), ("conv3", (1,))),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_values_gradients_and_costs(name: str) -> None:
    architecture = GRAPHS[name]
    require_exact(architecture)
    network = made(architecture).double().eval()
    x = pictures(architecture, 2).double()
    parameters = tuple(network.parameters())
    found, expected = network(x), plain_forward(network, x)
    torch.testing.assert_close(found, expected)
    first = torch.autograd.grad(found.square().sum(), parameters)
    second = torch.autograd.grad(expected.square().sum(), parameters)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_given_and_what_is_promised_stays_as_it_is(name: str) -> None:
    network = build(GRAPHS[name], 0).train()
    given = torch.randn(2, 3, 8, 8)
    x = given.clone()
    logits, taps = network.features(x, [block.name for block in network.blocks])
    before = {name: tap.detach().clone() for name, tap in taps.items()}
    (logits.sum() + sum(tap.sum() for tap in taps.values())).backward()
    assert torch.equal(x, given)
    assert all(torch.equal(before[name], tap) for name, tap in taps.items())


def test_a_block_that_is_the_picture_gives_the_normalised_picture() -> None:
    network = made(GRAPHS["the picture as a block"]).eval()
    x = pictures(network.architecture, 2)
    torch.testing.assert_close(network.features(x, ["block1"])[1]["block1"], (x - 0.4) / 0.3)


def test_a_top_leaves_the_tap_as_it_is() -> None:
    network = made(chain(("plain3", (0,)), ("conv3", (1,)), blocks=(1, 2))).eval()
    x = pictures(network.architecture, 2)
    with torch.no_grad():
        tap = network.features(x, ["block1"])[1]["block1"]
        before = tap.clone()
        network.top("block1").eval()(tap)
    assert torch.equal(tap, before)
    assert (tap < 0).any()
