"""A conditional variational auto-encoder that draws pictures of a class from few examples.

Kingma, Welling 2014, arXiv 1312.6114; the class is told to both sides as in Sohn, Lee, Yan 2015 (NeurIPS).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH = 64
LEARNING_RATE = 1e-3  # of Adam
WIDTH = 512


class CVAE(nn.Module):
    """q(z | x, y) and p(x | z, y) as dense networks with two hidden layers.

    Args:
        shape: of a picture, (channels, height, width).
        classes: how many.
        latent: dimensions of z.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, latent: int = 2) -> None:
        super().__init__()
        pixels = shape[0] * shape[1] * shape[2]
        self.shape, self.classes, self.latent = shape, classes, latent
        self.encoder = dense(pixels + classes, 2 * latent)
        self.decoder = dense(latent + classes, pixels)

    def loss(self, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """mean over samples of Σ_pixels BCE(x, p(x | z, y)) + KL(q(z | x, y) ‖ N(0, 1)), with z = μ + σ noise.

        Args:
            x: pictures in [0, 1], ``(B, C, H, W)``.
            y: classes ``(B,)``.
            noise: standard normal, ``(B, latent)``.
        """
        flat = x.flatten(1)
        mean, log_variance = self.encoder(self._with_class(flat, y)).chunk(2, 1)
        answer = self.decoder(self._with_class(mean + (0.5 * log_variance).exp() * noise, y))
        unlike = F.binary_cross_entropy_with_logits(answer, flat, reduction="sum")
        far = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return (unlike + far) / len(x)

    @torch.no_grad()
    def pictures(self, z: Tensor, y: Tensor) -> Tensor:
        """The means of p(x | z, y), ``(n, C, H, W)`` uint8, for ``z`` ``(n, latent)`` and classes ``y`` ``(n,)``."""
        means = self.decoder(self._with_class(z, y)).sigmoid()
        return means.mul(255).round().to(torch.uint8).view(-1, *self.shape)

    def _with_class(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, F.one_hot(y, self.classes).to(x.dtype)], 1)


def dense(given: int, wanted: int) -> nn.Sequential:
    """Two hidden layers."""
    hidden = (nn.Linear(given, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(WIDTH, wanted))


def train_cvae(
    x: Tensor, y: Tensor, classes: int, *, latent: int = 2, epochs: int = 200, seed: int = 0, device: str = "cpu"
) -> CVAE:
    """Learns to draw pictures ``x`` ``(n, C, H, W)`` uint8 of classes ``y`` ``(n,)``; on a CPU the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CVAE((x.shape[1], x.shape[2], x.shape[3]), classes, latent).to(device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            noise = torch.randn(len(rows), latent, generator=generator)
            loss = model.loss(x[rows].to(device).float() / 255, y[rows].to(device), noise.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()
