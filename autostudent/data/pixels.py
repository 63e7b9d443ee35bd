"""How the pixels of a view are made: draws from counters, and crops and mirror images in chunks, on any device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CHUNK_BYTES = 1 << 20  # what is worked on at a time: a processor's cache holds it
ACCELERATOR_CHUNK_BYTES = 1 << 26


def chunk(device: torch.device, each: int) -> int:
    """The number of pictures that are worked on at a time when each takes so many bytes."""
    return max(1, (CHUNK_BYTES if device.type == "cpu" else ACCELERATOR_CHUNK_BYTES) // each)


def augmented(x: Tensor, pad: int, flip: bool, seed: int, number: int) -> Tensor:
    """A view of ``x`` ``(N, C, H, W)``, where ``x`` lies, cropped after padding by ``pad`` pixels, half of it mirrored.

    A crop is a window of the padded picture, a mirrored crop one of its mirror image: both lie in a buffer, and a view
    is one selection among all windows of that buffer, ``starts`` telling where each begins.
    """
    copies = 1 + flip
    if not pad and not flip:
        return x
    samples, channels, height, width = x.shape
    line, area = width + 2 * pad, channels * (height + 2 * pad) * (width + 2 * pad)
    size = min(samples, chunk(x.device, copies * area))
    buffer = x.new_zeros(size, copies, channels, height + 2 * pad, line)
    inner = buffer[..., pad : pad + height, pad : pad + width]
    reach = area - 2 * pad * (line + 1)  # from the first pixel of a window to its last
    strides = (1, area // channels, line, 1)
    windows = buffer.as_strided((buffer.numel() - reach + 1, channels, height, width), strides)
    top, left, mirror = draws(pad, flip, seed, number, samples)
    starts = (np.arange(samples) % size * copies + mirror) * area + top * line + left
    view = torch.empty_like(x)
    chunks = zip(x.split(size), torch.from_numpy(starts).to(x.device).split(size), view.split(size), strict=True)
    for pictures, places, cut in chunks:
        inner[: len(pictures), 0] = pictures
        if flip:
            inner[: len(pictures), 1] = pictures.flip(3)
        torch.index_select(windows, 0, places, out=cut)
    return view


def draws(pad: int, flip: bool, seed: int, number: int, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first row, first column, mirrored or not) of the windows of a view, int64 ``(N,)`` each, in padded pictures.

    The column is counted in the mirror image where that is taken: from its other side.
    """
    side = 2 * pad + 1
    bits = counter_bits(seed, number, samples)
    top, left, mirror = (bits & 0xFFFF) % side, (bits >> 16 & 0xFFFF) % side, (bits >> 32 & 1) * flip
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
