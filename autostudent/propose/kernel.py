"""The covariance of two students' (warped) losses: graph and recipe, alone and together, across rungs."""

from __future__ import annotations

import math

import torch
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import Kernel, MaternKernel
from gpytorch.priors import LogNormalPrior, NormalPrior
from torch import Tensor

from autostudent.propose.encoding import Layout

PARTS = 3  # features alone, configuration alone, both together


class StudentKernel(Kernel):
    """k = (s1 kF + s2 kC + s3 kF kC + own student) x rungs + offset of the family at a lower rung.

    kF is a Matern-5/2 over the features; kC the product of two, over ordered and over categorical variables. Categories
    start equally far from each other (Hamming distance, weighted by variable); where several variables share their
    choices, such as the operations on the edges of a cell, the distances between choices are learned for all of them
    together. Two rungs i, j correlate as rho^|i - j|. "Own student"
    is what the rungs of one trial share beyond its description; with one rung it does not exist. The offset is a
    random effect of (family, rung): methods rise at different speeds, and what is known of one method's rise is partly
    pooled with the others'.

    Args:
        layout: blocks of a row, see `autostudent.propose.encoding`.
    """

    has_lengthscale = False
    is_stationary = False

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        ones = len(layout.groups)
        self._numbers = slice(ones, ones + layout.numbers)
        self._features = slice(ones + layout.numbers, ones + layout.numbers + layout.features)
        self.number_kernel = _matern(layout.numbers)
        self.feature_kernel = _matern(layout.features)
        variables = len(layout.alphabets)
        if variables:
            self._positive("weights", torch.full((variables,), 1 / variables), LogNormalPrior(-math.log(variables), 1))
        self._places: dict[int, str] = {}  # alphabet -> the parameter that holds its choices' places
        for alphabet in layout.shared_alphabets():
            name = self._places[alphabet] = f"places{alphabet}"
            start = torch.eye(layout.choices(alphabet)) / math.sqrt(2)
            self.register_parameter(name, torch.nn.Parameter(start))
            self.register_prior(f"{name}_prior", NormalPrior(start, torch.full_like(start, 0.15)), name)
        self._positive("scales", torch.full((PARTS,), 1.0 / PARTS), LogNormalPrior(-1.1, 0.8))
        if layout.rungs > 1:
            self.register_parameter("raw_rho", torch.nn.Parameter(torch.zeros(1)))
            self.register_constraint("raw_rho", Interval(0.05, 0.999, initial_value=0.9))
            self._positive("own", torch.full((1,), 0.2), LogNormalPrior(-1.6, 0.8))
            self._positive("offset", torch.full((1,), 0.1), LogNormalPrior(-2.3, 0.8))

    def _positive(self, name: str, start: Tensor, prior: LogNormalPrior) -> None:
        """A positive parameter ``name`` with a prior, read by `_value`."""
        raw = f"raw_{name}"
        self.register_parameter(raw, torch.nn.Parameter(torch.zeros_like(start)))
        self.register_constraint(raw, GreaterThan(1e-4))
        self.initialize(**{raw: self._constraints[f"{raw}_constraint"].inverse_transform(start)})
        self.register_prior(f"{name}_prior", prior, lambda module: module._value(name))

    def _value(self, name: str) -> Tensor:
        raw = f"raw_{name}"
        return self._constraints[f"{raw}_constraint"].transform(getattr(self, raw))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object) -> Tensor:
        """Covariances (…, n, k) of rows (…, n, d) and (…, k, d), or (…, n) of equal rows when ``diag``."""
        config = self._configuration(x1, x2, diag)
        features = _apply(self.feature_kernel, x1, x2, self._features, diag)
        s = self._value("scales")
        both = s[0] * features + s[1] * config + s[2] * features * config
        if self.layout.rungs == 1:
            return both
        rung1, rung2 = x1[..., -3], x2[..., -3]
        family1, family2 = x1[..., -2], x2[..., -2]
        trial1, trial2 = x1[..., -1], x2[..., -1]
        if not diag:
            rung1, family1, trial1 = rung1.unsqueeze(-1), family1.unsqueeze(-1), trial1.unsqueeze(-1)
            rung2, family2, trial2 = rung2.unsqueeze(-2), family2.unsqueeze(-2), trial2.unsqueeze(-2)
        rho = self._constraints["raw_rho_constraint"].transform(self.raw_rho)
        both = (both + self._value("own") * (trial1 == trial2)) * rho ** (rung1 - rung2).abs()
        lower = (rung1 == rung2) & (rung1 < self.layout.rungs - 1)
        return both + self._value("offset") * (lower & (family1 == family2))

    def _configuration(self, x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
        numbers = _apply(self.number_kernel, x1, x2, self._numbers, diag)
        if not self.layout.groups:
            return numbers
        ones = len(self.layout.groups)
        places = self._all_places()
        a, b = x1[..., :ones] @ places, x2[..., :ones] @ places
        if diag:
            squared = ((a - b) ** 2).sum(-1)
        else:
            squared = (a**2).sum(-1, keepdim=True) + (b**2).sum(-1).unsqueeze(-2) - 2 * a @ b.transpose(-1, -2)
        distance = (10 * squared.clamp_min(1e-12)).sqrt()
        return numbers * (1 + distance + distance**2 / 3) * torch.exp(-distance)

    def _all_places(self) -> Tensor:
        """(ones, ones) block-diagonal places of all choices of all variables, scaled by the variables' weights."""
        roots = self._value("weights").sqrt()
        blocks = []
        for variable, alphabet in enumerate(self.layout.alphabets):
            if alphabet in self._places:
                places = getattr(self, self._places[alphabet])
            else:
                places = torch.eye(self.layout.choices(alphabet), dtype=roots.dtype) / math.sqrt(2)
            blocks.append(roots[variable] * places)
        return torch.block_diag(*blocks)


def _matern(dimensions: int) -> MaternKernel | None:
    """Matern-5/2 with one length-scale a dimension and BoTorch's dimension-scaled prior."""
    if not dimensions:
        return None
    location = math.sqrt(2) + math.log(dimensions) / 2
    kernel = MaternKernel(
        2.5,
        ard_num_dims=dimensions,
        lengthscale_prior=LogNormalPrior(location, math.sqrt(3)),
        # Far below it, rounding puts equal rows at a distance and the matrix is no longer positive definite.
        lengthscale_constraint=GreaterThan(0.02),
    )
    kernel.lengthscale = math.exp(location - 1)
    return kernel


def _apply(kernel: MaternKernel | None, x1: Tensor, x2: Tensor, block: slice, diag: bool) -> Tensor:
    """The kernel on one block of columns; a constant one where the block is empty."""
    if kernel is not None:
        return kernel.forward(x1[..., block], x2[..., block], diag=diag)
    return x1.new_ones(x1.shape[:-1] if diag else (*x1.shape[:-1], x2.shape[-2]))
