from __future__ import annotations

import pytest

from autostudent.errors import ConfigError
from autostudent.space.architecture import InputShape
from autostudent.space.cost import costs
from autostudent.space.resnet import resnet

CIFAR = InputShape(3, 32, 32, 10)


@pytest.mark.parametrize(("depth", "params"), [(20, 272_474), (32, 466_906), (56, 855_770)])
def test_the_sizes_of_he_et_al(depth: int, params: int) -> None:
    assert costs(resnet(depth, 16, CIFAR)).params == params


def test_counts_by_hand() -> None:
    """Depth 8, width 2, on one channel of 8 x 8: stem, then per stage two 3x3 convolutions and a 1x1 shortcut."""
    stem = 9 * 1 * 2 + 2 * 2
    first = 2 * (9 * 2 * 2 + 2 * 2)
    second = (9 * 2 * 4 + 2 * 4) + (9 * 4 * 4 + 2 * 4) + (2 * 4 + 2 * 4)
    third = (9 * 4 * 8 + 2 * 8) + (9 * 8 * 8 + 2 * 8) + (4 * 8 + 2 * 8)
    head = 8 * 5 + 5
    exact = costs(resnet(8, 2, InputShape(1, 8, 8, 5)))
    assert exact.params == stem + first + second + third + head
    macs = 64 * (9 * 2 + 2 * 9 * 4) + 16 * (9 * 8 + 9 * 16 + 8) + 4 * (9 * 32 + 9 * 64 + 32) + 40
    assert exact.macs == macs


def test_blocks_and_stages() -> None:
    net = resnet(0, 4, CIFAR, blocks=(1, 3), growth=1.5)
    assert [net.nodes[b].width for b in net.blocks] == [4, 6, 6, 6]
    assert [net.nodes[b].stride for b in net.stages] == [1, 2]
    quarter = resnet(8, 4, CIFAR, stem_stride=4)
    assert [quarter.nodes[b].stride for b in quarter.stages] == [4, 8, 16]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 9, "width": 4}, "6n"),
        ({"depth": 2, "width": 4}, "6n"),
        ({"depth": 8, "width": 0}, "at least 1"),
        ({"depth": 8, "width": 4, "blocks": (1, 0)}, "at least one block"),
        ({"depth": 8, "width": 4, "blocks": ()}, "at least one block"),
        ({"depth": 8, "width": 4, "stem_stride": 3}, "1, 2, 4"),
        ({"depth": 8, "width": 4, "stem_stride": 16}, "cannot be halved"),
    ],
)
def test_bad_numbers_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resnet(input=CIFAR, **arguments)  # type: ignore[arg-type]
