"""Pictures for students whose teacher only answers, from few that have no labels.

Nguyen, Gupta, Do, Venkatesh 2022, "Black-box Few-shot Knowledge Distillation" (arXiv 2207.12106): pairs of the pictures
are blended by MixUp, blends that hardly differ from one of the two give way to pictures that a conditional VAE draws,
and the teacher is asked about all. It is a function from pictures to probabilities, nothing inside it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autostudent.data.datasets import Part
from autostudent.data.splits import stratified
from autostudent.errors import ConfigError
from autostudent.teach.cvae import train_cvae
from autostudent.teach.training import Say, silent

Ask = Callable[[Tensor], Tensor]  # pictures (n, C, H, W) uint8 -> class probabilities (n, classes)
REACH = 3.0  # half of the z of drawn pictures are normal, half even between -3 and 3


@dataclass(frozen=True)
class Synthesis:
    """What is made beside the pictures that are there.

    Note: the authors' code gives the first half of the classes normal z and the others even ones; here every class has
    both. Its VAE for colour pictures is convolutional, this one is dense for all.

    Args:
        pictures: how many are made, blends and drawn ones together.
        alpha: of MixUp's λ ~ Beta(α, α), one for each blend.
        discard: blends with λ or 1 - λ up to this are dropped.
        drawn: whether as many pictures are drawn by the VAE as blends were dropped; else blends are all.
        latent: dimensions of the VAE's z.
        epochs: of the VAE's training.

    Raises:
        ConfigError: for a number that is out of range.
    """

    pictures: int
    alpha: float = 1.0
    discard: float = 0.05
    drawn: bool = True
    latent: int = 2
    epochs: int = 200

    def __post_init__(self) -> None:
        for name in ("pictures", "latent", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "a whole number from 1")
        if not 0 < self.alpha <= 100:
            raise ConfigError("alpha", self.alpha, "a number above 0, at most 100")
        if not 0 <= self.discard < 0.5:
            raise ConfigError("discard", self.discard, "a number from 0, less than a half")


@dataclass(frozen=True)
class Pool:
    """Pictures ``x`` ``(n, C, H, W)`` uint8 with the teacher's probabilities ``(n, classes)``.

    They are real, blended and drawn ones in this order, ``counts`` of each.
    """

    x: Tensor
    probabilities: Tensor
    counts: tuple[int, int, int]

    @property
    def labels(self) -> Tensor:
        """The teacher's choice ``(n,)``."""
        return self.probabilities.argmax(1)

    @property
    def absent(self) -> int | None:
        """A class that the teacher never chooses, None where there is none."""
        counts = torch.bincount(self.labels, minlength=self.probabilities.shape[1])
        return None if int(counts.min()) else int(counts.argmin())


def few(part: Part, count: int, seed: int) -> Part:
    """``count`` of the samples, stratified."""
    if count == len(part):
        return part
    return part.at(torch.from_numpy(stratified(part.y.numpy(), count, np.random.default_rng(seed))[0]))


def synthesised(x: Tensor, ask: Ask, options: Synthesis, seed: int = 0, device: str = "cpu", say: Say = silent) -> Pool:
    """Makes the pool from pictures ``x`` ``(n, C, H, W)`` uint8. The teacher is asked once about each picture of it."""
    rng = np.random.default_rng((seed, 17))
    said = ask(x)
    blends, share = blended(x, options.pictures, options.alpha, rng)
    kept = torch.minimum(share, 1 - share) > options.discard
    missing = int((~kept).sum())
    parts, answers = [x, blends[kept]], [said, ask(blends[kept])]
    if options.drawn and missing:
        labels, classes = said.argmax(1), said.shape[1]
        say(f"training a conditional VAE on {len(x)} pictures for {options.epochs} epochs")
        model = train_cvae(
            x, labels, classes, latent=options.latent, epochs=options.epochs, seed=seed, device=device
        ).cpu()
        drawn = model.pictures(*places(missing, labels.unique().numpy(), options.latent, rng))
        parts, answers = [*parts, drawn], [*answers, ask(drawn)]
    counts = (len(x), len(parts[1]), len(parts[2]) if len(parts) > 2 else 0)
    return Pool(torch.cat(parts), torch.cat(answers), counts)


def blended(x: Tensor, count: int, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """``count`` blends λ x_i + (1 - λ) x_j, uint8, and their λ ``(count,)`` to two decimals.

    i and j run through independent shuffles of all pictures, again and again, so that each is used equally often.
    """
    rounds = -(-count // len(x))
    first, second = (np.concatenate([rng.permutation(len(x)) for _ in range(rounds)])[:count] for _ in range(2))
    share = np.round(rng.beta(alpha, alpha, count), 2)
    weight = torch.from_numpy(share).float()[:, None, None, None]
    mixed = weight * x[torch.from_numpy(first)] + (1 - weight) * x[torch.from_numpy(second)]
    return mixed.round().to(torch.uint8), torch.from_numpy(share)


def places(count: int, classes: np.ndarray, latent: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """z ``(count, latent)`` and classes ``(count,)``: equally many of each, half of them normal, half even."""
    label = np.resize(rng.permutation(classes), count)
    turn = np.arange(count) // len(classes) % 2  # the z of a class take turns
    normal, even = rng.standard_normal((count, latent)), rng.uniform(-REACH, REACH, (count, latent))
    z = np.where(turn[:, None] == 0, normal, even)
    return torch.from_numpy(z).float(), torch.from_numpy(label)
