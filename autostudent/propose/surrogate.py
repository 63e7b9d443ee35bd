"""The Gaussian process: fitted cold on the first rows of the record, conditioned on all of them."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.optim.fit import fit_gpytorch_mll_scipy
from botorch.settings import validate_input_scaling
from gpytorch.constraints import GreaterThan
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import NormalPrior
from torch import Tensor

from autostudent.propose.encoding import Layout
from autostudent.propose.kernel import SPREAD, StudentKernel, distinct, expanded

NOISE = 0.02  # variance, before anything is measured
FEWEST = 4  # rows below which the priors' medians serve
MOST = 450  # rows that a fit looks at; 600 rank no better
STEPS = 20  # of L-BFGS; more of them rank no better
MANY = 256  # rows from which a fit begins with some of them
COARSE, BEFORE, AFTER = 4, 15, 6  # steps on every fourth of more than `MANY` rows, then on all; as likely as `STEPS`
SLICE = 250_000  # covariances computed at once
TILE = 256  # rows of a block of covariances that is kept


def rows_to_fit(rows: int) -> int:
    """How many of the first rows the hyperparameters come from: all at first, later about every twentieth count."""
    for limit, step in ((20, 1), (50, 2), (100, 5), (300, 10), (1000, 50)):
        if rows <= limit:
            return rows - rows % step
    return rows - rows % 100


@dataclass(frozen=True)
class Hyperparameters:
    """A fitted kernel with the noise variance and mean of the standardised targets.

    ``tiles`` are blocks of `shared` that were computed before.
    """

    kernel: StudentKernel
    noise: float
    mean: float
    tiles: dict[tuple[bytes, bytes], Tensor] = field(default_factory=dict, compare=False, repr=False)

    def shared(self, rows: np.ndarray) -> Tensor:
        """`StudentKernel.shared` of n trials' rows with themselves (n, n), in square tiles; the full ones are kept.

        A record only grows at its end, so the next proposal finds most of them. Tiles have one size whether they are
        found or computed, which gives the same bits.
        """
        blocks = [rows[i : i + TILE] for i in range(0, len(rows), TILE)]
        keys = [hashlib.sha256(block.tobytes()).digest() for block in blocks]
        tensors = [torch.from_numpy(block) for block in blocks]
        matrix = torch.empty(len(rows), len(rows), dtype=torch.float64)
        fresh: dict[tuple[bytes, bytes], Tensor] = {}
        for i, first in enumerate(tensors):
            for j, second in enumerate(tensors[: i + 1]):
                key = keys[i], keys[j]
                tile = self.tiles.get(key)
                if tile is None:
                    tile = self.kernel.shared(first, second)
                if len(first) == TILE:
                    fresh[key] = tile
                place = slice(i * TILE, i * TILE + len(first)), slice(j * TILE, j * TILE + len(second))
                matrix[place] = tile
                matrix[place[::-1]] = tile.T
        self.tiles.clear()
        self.tiles.update(fresh)
        return matrix


def fit(layout: Layout, x: np.ndarray, z: np.ndarray) -> Hyperparameters:
    """Hyperparameters for standardised targets ``z`` (n,) at rows ``x`` (n, d), from a cold start; deterministic."""
    chosen = chosen_to_fit(z)
    likelihood = GaussianLikelihood(noise_constraint=GreaterThan(1e-4))
    likelihood.noise = NOISE
    prior = NormalPrior(math.log(NOISE), SPREAD)
    likelihood.noise_covar.register_prior("noise_prior", prior, lambda module: module.noise.log())
    kernel = StudentKernel(layout)
    rows, values = torch.from_numpy(x[chosen]), torch.from_numpy(z[chosen, None])
    with validate_input_scaling(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SingleTaskGP(rows, values, likelihood=likelihood, covar_module=kernel, outcome_transform=None)
        if len(chosen) >= FEWEST:
            mll = ExactMarginalLogLikelihood(likelihood, model.train())
            plan = [(1, STEPS)] if len(chosen) <= MANY else [(COARSE, BEFORE), (1, AFTER)]
            for every, steps in plan:
                closure = _closure(mll, rows[::every], values[::every, 0])
                fit_gpytorch_mll_scipy(mll, closure=closure, options={"maxiter": steps})
    model.eval()
    return Hyperparameters(kernel, likelihood.noise.item(), model.mean_module.constant.item())


def _closure(mll: ExactMarginalLogLikelihood, x: Tensor, z: Tensor) -> Callable[[], tuple[Tensor, list[Tensor | None]]]:
    """The negative marginal log-likelihood with its priors, and gradients: what ``mll`` computes, faster."""
    model, noise = mll.model, mll.likelihood.noise_covar
    parameters = [parameter for parameter in mll.parameters() if parameter.requires_grad]
    eye = torch.eye(len(x), dtype=x.dtype)

    def closure() -> tuple[Tensor, list[Tensor | None]]:
        mll.zero_grad()
        factor = torch.linalg.cholesky(model.covar_module.forward(x, x) + noise.noise * eye)
        white = torch.linalg.solve_triangular(factor, (z - model.mean_module.constant)[:, None], upper=False)
        loss = 0.5 * (white**2).sum() + factor.diagonal().log().sum() + 0.5 * len(z) * math.log(2 * math.pi)
        for _, module, prior, read, _ in model.named_priors():
            loss = loss - prior.log_prob(read(module)).sum()
        loss = loss / len(z)
        loss.backward()
        return loss, [parameter.grad for parameter in parameters]

    return closure


def log_likelihood(layout: Layout, x: np.ndarray, z: np.ndarray) -> float:
    """Of standardised targets ``z`` (n,) at rows ``x`` (n, d), before any fit."""
    with torch.no_grad():
        rows = torch.from_numpy(x)
        factor = _cholesky(StudentKernel(layout).double().forward(rows, rows), NOISE)
        white = torch.linalg.solve_triangular(factor, torch.from_numpy(z)[:, None], upper=False)
        return float(-0.5 * (white**2).sum() - factor.diagonal().log().sum())


def chosen_to_fit(z: np.ndarray, most: int = MOST) -> np.ndarray:
    """Places of the rows for a fit: all, or the best third of ``most`` and an even spread of the rest."""
    if len(z) <= most:
        return np.arange(len(z))
    best = np.argsort(z, kind="stable")[: most // 3]
    rest = np.setdiff1d(np.arange(len(z)), best)
    even = rest[np.linspace(0, len(rest) - 1, most - len(best)).astype(int)]
    return np.sort(np.concatenate([best, even]))


class Posterior:
    """The process conditioned on rows and values; pending rows are believed at their mean.

    Believing a pending value at its predicted mean leaves every mean as it is and only shrinks variances, so pending
    rows enter the Cholesky factor and nothing else.
    """

    def __init__(self, hyper: Hyperparameters, x: np.ndarray, z: np.ndarray, pending: np.ndarray) -> None:
        self._hyper = hyper
        self._seen = torch.from_numpy(np.vstack([x, pending]))
        measured = len(x)
        with torch.no_grad():
            first, self._trials = distinct(self._seen)
            self._shared = hyper.shared(self._seen[first].numpy())
            self._numbers = {number: place for place, number in enumerate(self._seen[first, -1].tolist())}
            shared = expanded(self._shared, self._trials, self._trials)
            covariance = hyper.kernel.across_rungs(shared, self._seen, self._seen)
            self._factor = _cholesky(covariance, hyper.noise)
            # The leading block of a Cholesky factor is the factor of the leading block.
            own = self._factor[:measured, :measured]
            residual = torch.from_numpy(z - hyper.mean)[:, None]
            self._weights = torch.cholesky_solve(residual, own)[:, 0] if measured else residual[:, 0]
        self._measured = measured

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Means (n,) at rows (n, d), at a fraction of the price of `predict`."""
        with torch.no_grad():
            cross = self._cross(torch.from_numpy(x), self._measured)
            return (self._hyper.mean + cross @ self._weights).numpy()

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (n,) of the noise-free values at rows (n, d)."""
        with torch.no_grad():
            mean, sd, _ = self._predict(torch.from_numpy(x))
        return mean.numpy(), sd.numpy()

    def _predict(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, standard deviation, and the whitened covariances (measured and pending, n) with what was seen."""
        cross = self._cross(rows, len(self._seen))
        mean = self._hyper.mean + cross[:, : self._measured] @ self._weights
        white = torch.linalg.solve_triangular(self._factor, cross.T, upper=False)
        variance = self._diagonal(rows) - (white**2).sum(dim=0)
        return mean, variance.clamp_min(1e-10).sqrt(), white

    def look(self, x: np.ndarray, seen_at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and standard deviation (n,) at ``x``, and that by which seeing ``seen_at`` is expected to move the mean.

        Both (n, d), row by row. The square of the last is what the variance at ``x`` loses.
        """
        with torch.no_grad():
            first, second = torch.from_numpy(x), torch.from_numpy(seen_at)
            mean, sd, a = self._predict(first)
            _, seen_sd, b = self._predict(second)
            prior = self._hyper.kernel.forward(first, second, diag=True)
            covariance = prior - (a * b).sum(dim=0)
            moves = covariance.abs() / (seen_sd**2 + self._hyper.noise).sqrt()
        return mean.numpy(), sd.numpy(), moves.numpy()

    def _cross(self, rows: Tensor, count: int) -> Tensor:
        """Covariances (n, count) with the first rows seen; what seen trials share at other rungs is known already."""
        seen = self._seen[:count]
        numbers = rows[:, -1].tolist()
        if not self._numbers.keys() >= set(numbers):
            return self._kernel(rows, seen)
        places = torch.tensor([self._numbers[number] for number in numbers], dtype=torch.long)
        shared = self._shared.index_select(0, places).index_select(1, self._trials[:count])
        return self._hyper.kernel.across_rungs(shared, rows, seen)

    def _kernel(self, first: Tensor, second: Tensor) -> Tensor:
        """Covariances (n, k), computed in slices that keep the temporary matrices small."""
        step = max(1, SLICE // max(len(second), 1))
        if len(first) <= step:
            return self._hyper.kernel.forward(first, second)
        return torch.cat([self._hyper.kernel.forward(first[i : i + step], second) for i in range(0, len(first), step)])

    def _diagonal(self, rows: Tensor) -> Tensor:
        return self._hyper.kernel.forward(rows, rows, diag=True)


def _cholesky(matrix: Tensor, noise: float) -> Tensor:
    """The lower factor with the noise on the diagonal; a growing jitter helps when rows repeat."""
    for jitter in (0.0, 1e-8, 1e-6, 1e-4):
        loaded = matrix + (noise + jitter) * torch.eye(len(matrix), dtype=matrix.dtype)
        factor, failed = torch.linalg.cholesky_ex(loaded)
        if not failed:
            return factor
    raise ValueError("the covariance of the record is not positive definite; are there NaN features?")
