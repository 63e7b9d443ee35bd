"""The view bank: a fixed set of augmented copies of the training pictures, the same for every trial and worker.

View v of sample i is a function of (seed, v, i) alone. Every trial that walks through the bank sees the same pixels,
so what a frozen teacher says of them can be computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autostudent.assets import checksum
from autostudent.errors import ConfigError, unknown_name
from autostudent.records import digest

CODE = 1  # a change of what a view holds must change this number: it is part of the bank's address
CHUNK_BYTES = 1 << 20  # padded pictures that are cut at a time: what a processor's cache holds
ACCELERATOR_CHUNK_BYTES = 1 << 26


@dataclass(frozen=True)
class Augment:
    """What a view changes: a random crop after zero padding by ``crop_pad`` pixels, and a mirror image for half."""

    crop_pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.crop_pad, bool) or not isinstance(self.crop_pad, int) or not 0 <= self.crop_pad <= 64:
            raise ConfigError("augment.crop_pad", self.crop_pad, "a number of pixels from 0 to 64")
        if not isinstance(self.flip, bool):
            raise ConfigError("augment.flip", self.flip, "true or false")

    @classmethod
    def default(cls, shape: tuple[int, int, int], mirrored: bool = True) -> Augment:
        """What suits pictures of ``shape`` (channels, height, width).

        Grey pictures: crop by a fourteenth of the shorter side (8x8: 1 pixel, 28x28: 2), no mirror, because they are
        often digits or letters. Colour: crop by an eighth (32x32: 4), mirror unless ``mirrored`` is False.
        """
        side = min(shape[1:])
        if shape[0] == 1:
            return cls(max(1, side // 14), False)
        return cls(max(1, side // 8), mirrored)

    def with_options(self, options: Mapping[str, Any]) -> Augment:
        """The same with the study's entries in place of the defaults. Raises `ConfigError`."""
        for name in options:
            if name not in ("crop_pad", "flip"):
                raise unknown_name("augment", str(name), ("crop_pad", "flip"))
        return Augment(**{**self.__dict__, **options})


class ViewBank:
    """``views`` augmented copies of ``x`` ``(N, C, H, W)`` uint8, made when asked for and never stored.

    A view is made on the device that wants it, the same bytes on each. The pictures are put there once.
    """

    def __init__(self, x: Tensor, views: int, seed: int, augment: Augment) -> None:
        if views < 1:
            raise ConfigError("training.views", views, "a number from 1")
        self.x, self.views, self.seed, self.augment = x, views, seed, augment
        self._held: dict[torch.device, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}}  # another process puts the pictures on its own device

    @cached_property
    def address(self) -> str:
        """Digest of everything that decides what the views hold."""
        pixels = checksum(np.ascontiguousarray(self.x.numpy()).data)  # type: ignore[arg-type]
        return digest([CODE, pixels, list(self.x.shape), self.views, self.seed, self.augment.__dict__])

    def plain(self, device: torch.device | str = "cpu") -> Tensor:
        """The pictures as they are, ``(N, C, H, W)`` uint8, on a device; they stay there as long as the bank lives."""
        place = torch.empty(0, device=device).device  # "cuda" and "cuda:0" are one
        if place not in self._held:
            self._held[place] = self.x.to(place)
        return self._held[place]

    def view(self, number: int, device: torch.device | str = "cpu") -> Tensor:
        """View ``number`` of every picture, ``(N, C, H, W)`` uint8, on a device. `IndexError` outside the bank."""
        if not 0 <= number < self.views:
            raise IndexError(f"view {number} of a bank of {self.views}")
        return augmented(self.plain(device), self.augment, self.seed, number)


def augmented(x: Tensor, augment: Augment, seed: int, number: int) -> Tensor:
    """One view of ``x`` ``(N, C, H, W)``, where ``x`` lies; sample i depends on (seed, number, i) only.

    A crop is a window of the padded picture, a mirrored crop one of its mirror image: both lie in a buffer, and a view
    is one selection among all windows of that buffer, ``starts`` telling where each begins.
    """
    pad, copies = augment.crop_pad, 1 + augment.flip
    if not pad and not augment.flip:
        return x
    samples, channels, height, width = x.shape
    line, area = width + 2 * pad, channels * (height + 2 * pad) * (width + 2 * pad)
    budget = CHUNK_BYTES if x.device.type == "cpu" else ACCELERATOR_CHUNK_BYTES
    size = min(samples, max(1, budget // (copies * area)))
    buffer = x.new_zeros(size, copies, channels, height + 2 * pad, line)
    inner = buffer[..., pad : pad + height, pad : pad + width]
    reach = area - 2 * pad * (line + 1)  # from the first pixel of a window to its last
    strides = (1, area // channels, line, 1)
    windows = buffer.as_strided((buffer.numel() - reach + 1, channels, height, width), strides)
    top, left, mirror = draws(augment, seed, number, samples)
    starts = (np.arange(samples) % size * copies + mirror) * area + top * line + left
    view = torch.empty_like(x)
    chunks = zip(x.split(size), torch.from_numpy(starts).to(x.device).split(size), view.split(size), strict=True)
    for pictures, places, cut in chunks:
        inner[: len(pictures), 0] = pictures
        if augment.flip:
            inner[: len(pictures), 1] = pictures.flip(3)
        torch.index_select(windows, 0, places, out=cut)
    return view


def draws(augment: Augment, seed: int, number: int, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first row, first column, mirrored or not) of the windows of a view, int64 ``(N,)`` each, in padded pictures.

    The column is counted in the mirror image where that is taken: from its other side.
    """
    side = 2 * augment.crop_pad + 1
    bits = counter_bits(seed, number, samples)
    top, left, mirror = (bits & 0xFFFF) % side, (bits >> 16 & 0xFFFF) % side, (bits >> 32 & 1) * augment.flip
    return (
        top.astype(np.int64),
        np.where(mirror, side - 1 - left, left).astype(np.int64),
        mirror.astype(np.int64),
    )


def counter_bits(seed: int, number: int, samples: int) -> np.ndarray:
    """64 well mixed bits for each sample ``(N,)`` uint64: SplitMix64 of (seed, number, sample), no generator state."""
    with np.errstate(over="ignore"):
        key = mix64(mix64(np.full(1, seed & (2**64 - 1), np.uint64)) + np.uint64(number))
        return mix64(key + np.arange(samples, dtype=np.uint64))


def mix64(z: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea, Flood 2014) over uint64."""
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def images(x: Tensor) -> Tensor:
    """Stored pictures ``(B, C, H, W)`` uint8 as network input: float32 in [0, 1], channels_last."""
    return x.to(torch.float32, memory_format=torch.channels_last).div_(255.0)
