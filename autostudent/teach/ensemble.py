"""The weights of an ensemble of teaching assistants, by differential evolution on the meta split.

Ganta, Das Gupta, Sheng 2022, arXiv 2206.12005 (reconstructed); the search is Storn and Price's best1bin. The assistants
never saw the meta split, the search for students never ranks on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autostudent.assets import Assets, Entry
from autostudent.data.datasets import Dataset
from autostudent.errors import AssetError
from autostudent.measure.predict import predict
from autostudent.records import digest
from autostudent.teach.teacher import Teacher

CODE = 1  # a change of what the weights mean must change this number: it is part of the key
FILE = "weights.safetensors"
MIXES, SCORES = ("probabilities", "logits"), ("accuracy", "nll")
WEIGHTS = {f"ensemble_{mix}_{score}": (mix, score) for mix in MIXES for score in SCORES}
POPULATION = 15  # members for each assistant
GENERATIONS = 1000
TOLERANCE = 1e-7


@dataclass(frozen=True)
class EnsembleWeights:
    """The weights of a flat family of assistants, given by their keys: ``(M,)`` for each mix and score."""

    assets: Assets
    dataset: Dataset
    assistants: tuple[str, ...]

    @property
    def entry(self) -> Entry:
        """Where they are kept."""
        key = {"code": CODE, "ensemble": list(self.assistants), "data": self.dataset.fingerprint}
        return self.assets.entry("derived", digest(key))

    def ensure(self, assistants: Sequence[Teacher]) -> dict[str, Tensor]:
        """Makes or finds the weights; ``assistants`` are those of the keys, in the same order."""
        assert tuple(assistant.key for assistant in assistants) == self.assistants
        try:
            return self.load()
        except AssetError:  # missing or altered: searched anew
            held = self.dataset.held_out
            logits = torch.stack([predict(assistant.module, held.x, assistant.device) for assistant in assistants])
            found = {name: weigh(logits, held.y, mix, score) for name, (mix, score) in WEIGHTS.items()}
            self.entry.commit({FILE: save_tensors(found)}, {"assistants": list(self.assistants)})
        return self.load()

    def load(self) -> dict[str, Tensor]:
        """The weights ``(M,)`` by fact; none without assistants. Raises `AssetError` when missing or altered."""
        return load_tensors(self.entry.read(FILE)) if self.assistants else {}

    def facts(self) -> dict[str, Tensor]:
        """The same as derived facts, one row ``(M,)`` a training sample."""
        return {name: weights.expand(len(self.dataset.train), -1) for name, weights in self.load().items()}


def weigh(logits: Tensor, labels: Tensor, mix: str, score: str, seed: int = 0) -> Tensor:
    """Weights ``(M,)``, none negative, sum one, that make the ensemble best at labelling held-out samples.

    Equal weights and every assistant alone are in the first population, so that the ensemble is never worse than these.

    Args:
        logits: of each assistant, ``(M, n, C)``.
        labels: ``(n,)``.
        mix: "probabilities" or "logits", what is averaged.
        score: "accuracy" (piecewise constant: many weights are equally good) or "nll".
        seed: of the evolution.
    """
    from scipy.optimize import differential_evolution  # half a second that a worker can do without

    count = len(logits)
    voices = (logits.softmax(2) if mix == "probabilities" else logits).double().numpy()
    known = np.concatenate([np.full((1, count), 0.5), np.eye(count)])
    rng = np.random.default_rng(seed)
    first = np.concatenate([known, rng.random((POPULATION * count, count))])
    found = differential_evolution(
        lambda v: -worth(shares(v), voices, labels.numpy(), mix, score),
        [(0, 1)] * count,
        init=first,
        maxiter=GENERATIONS,
        tol=TOLERANCE,
        seed=seed,
        polish=False,
        vectorized=True,
        updating="deferred",
    )
    return torch.from_numpy(shares(found.x[:, None])[:, 0]).float()


def shares(v: np.ndarray) -> np.ndarray:
    """Columns of ``v`` ``(M, S)`` from [0, 1], scaled to sum one; a column of zeros becomes equal shares."""
    total = v.sum(0)
    return np.where(total > 0, v / np.where(total > 0, total, 1), 1 / len(v))


def worth(weights: np.ndarray, voices: np.ndarray, labels: np.ndarray, mix: str, score: str) -> np.ndarray:
    """Accuracy, or the negative of the mean log-loss, of each of S ensembles: ``weights`` ``(M, S)`` to ``(S,)``."""
    mixed = np.einsum("ms,mnc->snc", weights, voices)
    if score == "accuracy":
        return (mixed.argmax(2) == labels).mean(1)
    if mix == "logits":
        mixed -= mixed.max(2, keepdims=True)
        logs = mixed - np.log(np.exp(mixed).sum(2, keepdims=True))
    else:
        logs = np.log(np.maximum(mixed, 1e-300))
    return np.take_along_axis(logs, labels[None, :, None], 2)[..., 0].mean(1)
