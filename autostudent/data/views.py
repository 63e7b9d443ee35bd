"""The view bank: a fixed set of augmented copies of the training pictures, the same for every trial and worker.

View v of sample i is a function of (seed, v, i) alone (with MixUp also of which pictures there are to mix with). Every
trial that walks through the bank sees the same pixels, so what a frozen teacher says of them can be computed once.
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
from autostudent.data import mixup
from autostudent.data.mixup import Mixing
from autostudent.data.pixels import augmented, counter_bits
from autostudent.errors import ConfigError, unknown_name
from autostudent.records import digest

CODE = 1  # a change of what a view holds must change this number: it is part of the bank's address


@dataclass(frozen=True)
class Augment:
    """What a view changes: a random crop after zero padding by ``crop_pad`` pixels, and a mirror image for half.

    ``mixup``: α of `autostudent.data.mixup`, which then blends the pictures of the view by pairs; 0 for no mixing.
    """

    crop_pad: int = 0
    flip: bool = False
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.crop_pad, bool) or not isinstance(self.crop_pad, int) or not 0 <= self.crop_pad <= 64:
            raise ConfigError("augment.crop_pad", self.crop_pad, "a number of pixels from 0 to 64")
        if not isinstance(self.flip, bool):
            raise ConfigError("augment.flip", self.flip, "true or false")
        number = isinstance(self.mixup, int | float) and not isinstance(self.mixup, bool)
        if not number or not 0 <= self.mixup <= 100:
            raise ConfigError("augment.mixup", self.mixup, "a number from 0 (no mixing) to 100")

    @classmethod
    def default(cls, shape: tuple[int, int, int], mirrored: bool = True) -> Augment:
        """What suits pictures of ``shape`` (channels, height, width).

        Grey pictures: crop by a fourteenth of the shorter side (8x8: 1 pixel, 28x28: 2), no mirror, because they are
        often digits or letters. Colour: crop by an eighth (32x32: 4), mirror unless ``mirrored`` is False.
        """
        side = min(shape[1:])
        if shape[0] == 1:
            return cls(min(max(1, side // 14), side - 1), False)
        return cls(min(max(1, side // 8), side - 1), mirrored)

    def with_options(self, options: Mapping[str, Any]) -> Augment:
        """The same with the study's entries in place of the defaults. Raises `ConfigError`."""
        for name in options:
            if name not in self.__dict__:
                raise unknown_name("augment", str(name), list(self.__dict__))
        return Augment(**{**self.__dict__, **options})

    @property
    def unmixed(self) -> Augment:
        """The same without MixUp."""
        return Augment(self.crop_pad, self.flip)

    @property
    def about(self) -> dict[str, Any]:
        """What digests hold of it; MixUp only where there is any, so that what was stored before it was is found."""
        return {"crop_pad": self.crop_pad, "flip": self.flip, **({"mixup": float(self.mixup)} if self.mixup else {})}


class ViewBank:
    """``views`` augmented copies of ``x`` ``(N, C, H, W)`` uint8, made when asked for and never stored.

    A view is made on the device that wants it, the same bytes on each. The pictures are put there once. ``held``:
    positions of the meta split; pictures are mixed with others of their own side of that cut only.
    """

    def __init__(self, x: Tensor, views: int, seed: int, augment: Augment, held: Tensor | None = None) -> None:
        if views < 1:
            raise ConfigError("training.views", views, "a number from 1")
        self.x, self.views, self.seed, self.augment = x, views, seed, augment
        self.held = torch.empty(0, dtype=torch.long) if held is None else held
        self._held: dict[torch.device, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}}  # another process puts the pictures on its own device

    @cached_property
    def address(self) -> str:
        """Digest of everything that decides what the views hold."""
        pixels = checksum(np.ascontiguousarray(self.x.numpy()).data)  # type: ignore[arg-type]
        sides = [mixup.CODE, self.held.sort().values.tolist()] if self.augment.mixup else []
        return digest([CODE, pixels, list(self.x.shape), self.views, self.seed, self.augment.about, *sides])

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
        augment, mixing = self.augment, self.mixing(number, device)
        view = augmented(self.plain(device), augment.crop_pad, augment.flip, self.seed, number)
        return view if mixing is None else mixing.pixels(view)

    def mixing(self, number: int, device: torch.device | str = "cpu") -> Mixing | None:
        """Who is mixed with whom in a view, and how much; None where nothing is mixed."""
        if not self.augment.mixup:
            return None
        bits = counter_bits(self.seed, number, len(self.x))
        return mixup.pairs(self.augment.mixup, bits, self.held.numpy()).to(device)


def images(x: Tensor) -> Tensor:
    """Stored pictures ``(B, C, H, W)`` uint8 as network input: float32 in [0, 1], channels_last."""
    return x.to(torch.float32, memory_format=torch.channels_last).div_(255.0)
