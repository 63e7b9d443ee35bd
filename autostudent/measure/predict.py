"""What a network says of stored pictures, in large batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autostudent.data.views import images

BATCH = 250  # a core's cache holds the maps of about as many small pictures
ACCELERATOR_BATCH, ACCELERATOR_PIXELS = 2000, 2000 * 32**2  # whichever is less: larger pictures have larger maps


def at_once(height: int, width: int) -> int:
    """How many pictures of this size go through a network together on an accelerator."""
    return max(1, min(ACCELERATOR_BATCH, ACCELERATOR_PIXELS // (height * width)))


def seen(module: nn.Module, height: int, width: int) -> tuple[int, int]:
    """The size at which a network looks at pictures: its own, where it resizes them to more."""
    own = getattr(module, "resize", None)
    side = own if isinstance(own, int) else 0
    return max(height, side), max(width, side)


def predict(module: nn.Module, x: Tensor, device: torch.device | str = "cpu", batch_size: int | None = None) -> Tensor:
    """Logits ``(N, C)`` float32 on the CPU of pictures ``x`` ``(N, C, H, W)`` uint8.

    The network is put into eval mode for the call; every part of it is left in the mode it was in.
    """
    if batch_size is None:
        on_cpu = torch.device(device).type == "cpu"
        batch_size = BATCH if on_cpu else at_once(*seen(module, x.shape[-2], x.shape[-1]))
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            parts = [module(images(piece.to(device))).float().cpu() for piece in x.split(batch_size)]
    finally:
        for part, training in modes:
            part.training = training
    return torch.cat(parts).clone()
