"""What a network says of stored pictures, in large batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autostudent.data.views import images

BATCH = 250  # a core's cache holds the maps of about as many small pictures
ACCELERATOR_BATCH = 2000


def predict(module: nn.Module, x: Tensor, device: torch.device | str = "cpu", batch_size: int | None = None) -> Tensor:
    """Logits ``(N, C)`` float32 on the CPU of pictures ``x`` ``(N, C, H, W)`` uint8.

    The network is put into eval mode for the call; every part of it is left in the mode it was in.
    """
    batch_size = batch_size or (BATCH if torch.device(device).type == "cpu" else ACCELERATOR_BATCH)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            parts = [module(images(piece.to(device))).float().cpu() for piece in x.split(batch_size)]
    finally:
        for part, training in modes:
            part.training = training
    return torch.cat(parts).clone()
