"""Small real networks and banks for tests of the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autostudent.build.network import Block
from autostudent.distill.hinted import hint_taps
from autostudent.distill.job import Job, Source, network_info
from autostudent.distill.method import Method
from autostudent.distill.methods.ta_ensemble import MIXES, SCORES
from autostudent.distill.optim import Optim
from autostudent.distill.types import Batch, Output
from autostudent.teach.hint_points import named

STAGES = (1, 2, 3)  # of a `ToyNet`, and the factors by which their maps are smaller


class ToyNet(nn.Module):
    """A convolution with batch norm, three sizes of its map as stages, a pooled penultimate tap and a linear head."""

    def __init__(self, seed: int, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(1, width, 3, padding=1)
            self.norm = nn.BatchNorm2d(width)
            self.linear = nn.Linear(width, classes)
        self.width = width
        stages = {f"stage{n}": (width, n) for n in STAGES}
        self.taps: Mapping[str, tuple[int, int]] = {**stages, "penultimate": (width, 0)}
        self.blocks = tuple(Block(name, place, width, place + 1) for place, name in enumerate(stages))
        self.depths = {block.name: (block.depth + 1) / len(stages) for block in self.blocks}

    def features(self, x: Tensor, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        first = torch.relu(self.norm(self.conv(x)))
        pooled = first.mean((2, 3))
        stages = {f"stage{n}": first if n == 1 else F.avg_pool2d(first, n) for n in STAGES}
        every = {**stages, "penultimate": pooled}
        return self.linear(pooled), {name: every[name] for name in taps}

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x, ())[0]

    def head(self, penultimate: Tensor) -> Tensor:
        return self.linear(penultimate)

    def top(self, tap: str) -> nn.Module:
        assert tap in self.taps
        return Top(self.width, self.linear.out_features)


class Top(nn.Module):
    """What is above a stage of a `ToyNet`, freshly initialised."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.width = width
        self.taps = {"penultimate": (width, 0)}
        self.linear = nn.Linear(width, classes)

    def features(self, x: Tensor, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        pooled = x.mean((2, 3))
        return self.linear(pooled), {"penultimate": pooled} if "penultimate" in taps else {}

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x, ())[0]

    def head(self, penultimate: Tensor) -> Tensor:
        return self.linear(penultimate)


class ToyBank:
    """Views are shifted copies of the same pictures."""

    def __init__(self, x: Tensor, views: int) -> None:
        self.x, self.views = x, views

    def view(self, number: int, device: torch.device | str = "cpu") -> Tensor:
        return self.x.roll(number % 3 - 1, dims=-1).to(device)

    def plain(self, device: torch.device | str = "cpu") -> Tensor:
        return self.x.to(device)

    def mixing(self, number: int, device: torch.device | str = "cpu") -> None:
        return None


def toy_data(samples: int = 48, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures ``(N, 1, 6, 6)`` uint8 whose brightness pattern depends on the label, and labels ``(N,)``."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(samples) % classes
    x = torch.randint(0, 120, (samples, 1, 6, 6), generator=draw)
    for label in range(classes):
        x[y == label, :, label * 2 : label * 2 + 2] += 130
    return x.to(torch.uint8), y


def toy_source(seed: int, name: str = "main", width: int = 12) -> Source:
    """A live frozen teacher; up to three hint points are its stages."""
    network = ToyNet(seed, width).eval().requires_grad_(False)

    @torch.no_grad()
    def outputs(batch: Batch, taps: Sequence[str]) -> Output:
        logits, tapped = network.features(batch.x, taps)
        return Output(logits, tapped)

    source = Source(network_info(name, network, 3), outputs, network, lambda s: ToyNet(s, width))
    points = {tap: f"stage{place + 1}" for n in STAGES for place, tap in enumerate(hint_taps(n))}
    return named(source, points)


def toy_weights(samples: int, teachers: int) -> dict[str, Tensor]:
    """Weights of an ensemble of so many assistants under the names of all derived facts that hold such, a row each."""
    weights = torch.arange(1.0, teachers + 1)
    row = (weights / weights.sum()).expand(samples, -1)
    return {f"ensemble_{mix}_{score}": row for mix in MIXES for score in SCORES}


def toy_job(method: Method, teachers: int = 1, epochs: int = 9, seed: int = 5, **optim: float) -> Job:
    """A complete job for ``method`` on toy data; every derived fact that a shipped method knows is there."""
    x, y = toy_data()
    ranks = torch.linspace(0, 1, len(y))
    agreement = torch.arange(len(y)) % max(teachers, 1)
    return Job(
        student=lambda s: ToyNet(s, 4),
        method=method,
        sources=tuple(toy_source(100 + n, f"t{n}", 12 - 2 * n) for n in range(teachers)),
        bank=ToyBank(x, epochs),
        labels=y,
        classes=3,
        optim=Optim(epochs=epochs, batch_size=16, lr=0.1, **optim),
        seed=seed,
        images=lambda pictures: pictures.float() / 255,
        meta=torch.arange(0, len(y), 5),
        facts={"difficulty": ranks, "ladder_agreement": agreement, **toy_weights(len(y), teachers)},
    )
