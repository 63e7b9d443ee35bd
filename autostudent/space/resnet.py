"""Plain residual networks (He et al. 2015, arXiv 1512.03385) as graphs: teachers, assistants, hand-designed rivals."""

from __future__ import annotations

from collections.abc import Sequence

from autostudent.errors import ConfigError, InvalidDraw
from autostudent.space.draft import Draft, Widths
from autostudent.space.graph import Architecture, InputShape, require_size

STAGES = 3


def blocks_of_depth(depth: int) -> tuple[int, ...]:
    """Basic blocks per stage of the ResNet with ``depth`` = 6n + 2 layers.

    Raises:
        ConfigError: for another depth.
    """
    n, rest = divmod(depth - 2, 2 * STAGES)
    if n < 1 or rest:
        raise ConfigError("resnet.depth", depth, "6n + 2: 8, 14, 20, 26, 32, …")
    return (n,) * STAGES


def resnet_draft(shape: InputShape, blocks: Sequence[int], stem_stride: int = 1) -> Draft:
    """The graph with free widths: a stem, then ``blocks`` basic blocks in each stage (projection shortcuts).

    Raises:
        InvalidDraw: when the picture is smaller than the total stride.
    """
    require_size(shape, stem_stride << (len(blocks) - 1))
    draft = Draft(shape)
    last, halved = 0, 1
    while not last or halved < stem_stride:
        halved = min(2 * halved, stem_stride)
        last = draft.add("plain3_relu", 1, 0, halved, (last,))
    for stage, count in enumerate(blocks):
        group, stride = stage + 1, stem_stride << stage
        for _ in range(count):
            inner = draft.add("plain3_relu", group, stage, stride, (last,))
            inner = draft.add("plain3", group, stage, stride, (inner,))
            if draft.nodes[last].width != group:
                last = draft.add("plain1", group, stage, stride, (last,))
            last = draft.add("relu", group, stage, stride, (inner, last), "add")
            draft.blocks.append(last)
    return draft


def resnet(
    depth: int,
    width: int,
    input: InputShape,
    stem_stride: int = 1,
    growth: float = 2.0,
    blocks: Sequence[int] | None = None,
) -> Architecture:
    """A plain ResNet for small pictures.

    Args:
        depth: 6n + 2 layers in three stages; ignored when ``blocks`` is given.
        width: channels of the first stage; every further stage has ``growth`` times as many.
        input: picture and classes.
        stem_stride: 1, or a power of 2: the stem has one halving convolution for each factor of two.
        blocks: basic blocks per stage, for other shapes than 6n + 2.

    Raises:
        ConfigError: for a depth that is not 6n + 2, a width below 1, an empty stage, or a picture that is too small.
    """
    counts = tuple(blocks) if blocks is not None else blocks_of_depth(depth)
    if width < 1:
        raise ConfigError("resnet.width", width, "at least 1")
    if not counts or min(counts) < 1:
        raise ConfigError("resnet.blocks", list(counts), "at least one block in every stage")
    if stem_stride < 1 or stem_stride & (stem_stride - 1):
        raise ConfigError("resnet.stem_stride", stem_stride, "1, 2, 4, …")
    try:
        draft = resnet_draft(InputShape(*input), counts, stem_stride)
    except InvalidDraw as small:
        raise ConfigError("resnet", str(small), "fewer stages, or larger pictures") from None
    ratios = tuple(growth**stage for stage in range(len(counts)))
    return draft.freeze(Widths(input.channels, ratios, 0.0, 1).at(width), {})
