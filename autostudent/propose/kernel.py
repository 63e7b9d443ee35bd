"""The covariance of two students' (warped) losses: graph and recipe, alone and together, across rungs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import Kernel, MaternKernel
from gpytorch.priors import NormalPrior
from torch import Tensor

from autostudent.propose.additive import additive
from autostudent.propose.encoding import Block, Layout

WORK = 48  # products of factors a kernel may take for each of its variables' orders

SPREAD = 0.5  # of the logarithms of parameters; twice as much ranks worse at 10 to 50 students

HALVED = 256  # trials from which halves are faster than the whole

OFFSET = 4.0  # variance of a family's offset at a lower rung, in variances of the targets


class PositiveKernel(Kernel):
    """A kernel with positive parameters, read by `value`.

    Priors are normal in the parameters' logarithms, around where a fit starts: with nothing to learn from, it stays
    there. The most likely value of a log-normal variable is far below its median, and a fit to ten students went
    there: error bars half of what they should be, and ranks worse than without any fit.
    """

    has_lengthscale = False
    is_stationary = False

    def positive(self, name: str, start: Tensor, spread: float = SPREAD) -> None:
        """Registers a parameter; ``spread`` is the standard deviation of its logarithm."""
        raw = f"raw_{name}"
        self.register_parameter(raw, torch.nn.Parameter(torch.zeros_like(start)))
        self.register_constraint(raw, GreaterThan(1e-4))
        self.initialize(**{raw: self._constraints[f"{raw}_constraint"].inverse_transform(start)})
        prior = NormalPrior(start.log(), torch.full_like(start, spread))
        self.register_prior(f"{name}_prior", prior, lambda module: module.value(name).log())

    def value(self, name: str) -> Tensor:
        """The parameter as it enters the formula."""
        raw = f"raw_{name}"
        return self._constraints[f"{raw}_constraint"].transform(getattr(self, raw))


class ConfigKernel(PositiveKernel):
    """An additive kernel over the variables of a configuration: main effects, pairs, triples and so on.

    k = sum over orders o of s_o e_o(k_1, ..., k_d) / C(d, o), with e_o the elementary symmetric polynomial (sum of all
    products of o different factors) and k_v = exp(-w_v |place_v - place'_v|^2) (Duvenaud, Nickisch, Rasmussen 2011,
    "Additive Gaussian processes", arXiv 1112.4394). The weights s_o say how far variables interact; what one variable
    does alone is known after a few students, where a product of all would know nothing of a new combination.

    An ordered variable's place is its number (or its point on the arc). Categories start equally far from each other.
    Where several variables share their choices, such as the operations on the edges of a cell, the places of the
    choices are learned for all of them together.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        variables = len(block.alphabets) + len(block.numbers)
        self.orders = min(variables, max(2, WORK // variables))
        self.positive("orders", torch.full((self.orders,), 1 / self.orders))
        self.positive("weights", torch.ones(variables), 0.7 * SPREAD)
        self._places: dict[int, str] = {}  # alphabet -> the parameter that holds its choices' places
        for alphabet in block.shared_alphabets():
            name = self._places[alphabet] = f"places{alphabet}"
            start = torch.eye(block.choices(alphabet)) / math.sqrt(2)
            self.register_parameter(name, torch.nn.Parameter(start))
            self.register_prior(f"{name}_prior", NormalPrior(start, torch.full_like(start, 0.15)), name)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object) -> Tensor:
        """Covariances of the block's columns."""
        weights, shares = self.value("weights"), self.value("orders")
        ways = [math.comb(len(weights), order) for order in range(1, self.orders + 1)]
        squares = [_squared(a, b, diag) for a, b in self._pairs(x1, x2)]
        return additive(weights, shares / shares.new_tensor(ways), squares)

    def _pairs(self, x1: Tensor, x2: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Places (n, p) and (k, p) of each variable."""
        column = 0
        for alphabet in self.block.alphabets:
            part = slice(column, column := column + self.block.choices(alphabet))
            if alphabet in self._places:
                places = getattr(self, self._places[alphabet])
                yield x1[..., part] @ places, x2[..., part] @ places
            else:
                yield x1[..., part] / math.sqrt(2), x2[..., part] / math.sqrt(2)
        for width in self.block.numbers:
            part = slice(column, column := column + width)
            yield x1[..., part], x2[..., part]


def _squared(a: Tensor, b: Tensor, diag: bool) -> Tensor:
    """Squared distances (n, k) of rows, or (n,) of equal ones."""
    if diag:
        return ((a - b) ** 2).sum(-1)
    if a.shape[-1] == 1:
        difference = a - b.transpose(-1, -2)
        return difference * difference if difference.requires_grad else difference.square_()
    # |a|^2 + |b|^2 - 2 ab in one product: passes over a matrix (n, k) are what this costs.
    ones_a, ones_b = torch.ones_like(a[..., :1]), torch.ones_like(b[..., :1])
    left = torch.cat([-2 * a, (a * a).sum(-1, keepdim=True), ones_a], -1)
    right = torch.cat([b, ones_b, (b * b).sum(-1, keepdim=True)], -1)
    squares = left @ right.transpose(-1, -2)
    return squares.clamp_min(0.0) if squares.requires_grad else squares.clamp_min_(0.0)


class StudentKernel(PositiveKernel):
    """k = (main effects + size x drawing + size x recipe + own student) x rungs + offset of a family's lower rung.

    Main effects are those of size (the log costs), of the graph's features, of the variables that draw it, and of the
    recipe, and a slope in each log cost, without which predictions for the cheapest students return to the mean and
    promise too much. It is a sum, because a product of all would know nothing of a new student that differs from all
    known ones in something. Two rungs i, j correlate as rho^|i - j|. "Own student" is what the rungs of one trial
    share beyond its description; with one rung it does not exist. The offset is a wide random effect of (family,
    rung), because methods rise at different speeds: until one of a family was trained to the end, its values at a
    rung only rank within the family. The belief of an earlier study has a linear effect.

    Args:
        layout: parts of a row, see `autostudent.propose.encoding`.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        widths = (layout.drawing.width, layout.recipe.width, layout.features, layout.costs)
        ends = [sum(widths[: i + 1]) for i in range(len(widths))]
        self._slices = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
        self.drawing_kernel = ConfigKernel(layout.drawing) if layout.drawing.width else None
        self.recipe_kernel = ConfigKernel(layout.recipe) if layout.recipe.width else None
        self.feature_kernel = matern(layout.features)
        self.cost_kernel = matern(layout.costs)
        drawing, recipe, features, costs = (width > 0 for width in widths)
        parts = max(1, sum((drawing, recipe, features, costs, costs and drawing, costs and recipe)))
        self.positive("scales", torch.full((parts,), 1 / parts))
        if costs:
            self.positive("slope", torch.full((1,), 0.5), 0.7 * SPREAD)
        if layout.beliefs:
            self._belief = slice(ends[-1], ends[-1] + layout.beliefs)
            self.positive("belief", torch.full((1,), 0.3))
        if layout.rungs > 1:
            self.register_parameter("raw_rho", torch.nn.Parameter(torch.zeros(1)))
            self.register_constraint("raw_rho", Interval(0.05, 0.999, initial_value=0.9))
            self.positive("own", torch.full((1,), 0.2), 0.8 * SPREAD)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: object) -> Tensor:
        """Covariances (n, k) of rows (n, d) and (k, d), or (n,) of pairs of rows when ``diag``."""
        rungs = self.layout.rungs
        if rungs == 1:
            return self._student(x1, x2, diag) if diag else self._between(x1, x2)
        if not diag:
            first1, inverse1 = distinct(x1)
            first2, inverse2 = distinct(x2)
            one = x1[first1]
            total = self.shared(one, one if x1 is x2 else x2[first2])
            return self.across_rungs(expanded(total, inverse1, inverse2), x1, x2)
        same_rung, same_family, same_trial = (x1[:, -3:] == x2[:, -3:]).unbind(dim=1)
        total = self._student(x1, x2, diag) + self.value("own") * same_trial
        total = total * self._rho ** (x1[:, -3] - x2[:, -3]).abs()
        return total + OFFSET * (same_rung & same_family & (x1[:, -3] < rungs - 1))

    def shared(self, x1: Tensor, x2: Tensor) -> Tensor:
        """What the rungs of two students share (n, k); ``x1`` and ``x2`` have one row a trial, at any rung.

        Covariances follow by `across_rungs`. It is computed once for each pair of trials, of which many have rows at
        several rungs.
        """
        total = self._between(x1, x2)
        if self.layout.rungs == 1:
            return total
        numbers1, numbers2 = x1[:, -1].numpy(), x2[:, -1].numpy()
        _, same1, same2 = np.intersect1d(numbers1, numbers2, assume_unique=True, return_indices=True)
        if not len(same1):
            return total
        same = torch.from_numpy(same1), torch.from_numpy(same2)
        return total.index_put(same, self.value("own"), accumulate=True)

    def across_rungs(self, total: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariances (n, k) of rows from what their trials share (n, k)."""
        if self.layout.rungs == 1:
            return total
        rungs = torch.arange(self.layout.rungs)
        powers = self._rho ** (rungs[:, None] - rungs).abs()
        rung1, rung2 = x1[:, -3].long(), x2[:, -3].long()
        alike = bool((rung1 == rung1[:1]).all())  # as those of a pool are: one row of factors serves
        total = total * powers[rung1[:1] if alike else rung1][:, rung2]
        lower1, lower2 = ((x[:, -3] < self.layout.rungs - 1).nonzero()[:, 0] for x in (x1, x2))
        if len(lower1) and len(lower2):
            related = (x1[lower1, None, -3:-1] == x2[None, lower2, -3:-1]).all(dim=-1)
            total = total.index_put((lower1[:, None], lower2), OFFSET * related.to(total), accumulate=True)
        return total

    @property
    def _rho(self) -> Tensor:
        """Correlation of neighbouring rungs."""
        return self._constraints["raw_rho_constraint"].transform(self.raw_rho)

    def _between(self, x1: Tensor, x2: Tensor) -> Tensor:
        """`_student` of all rows (n, d) with all (k, d); of many with themselves one corner is the other's mirror."""
        if x1 is not x2 or len(x1) < HALVED:
            return self._student(x1, x2, False)
        a, b = x1.tensor_split(2)
        corner = self._student(b, a, False)
        upper = torch.cat([self._student(a, a, False), corner.T], dim=1)
        return torch.cat([upper, torch.cat([corner, self._student(b, b, False)], dim=1)])

    def _student(self, x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
        """What does not depend on the rung, of all pairs of rows, or of those in equal places."""
        total = self._effects(x1, x2, diag)
        if self.layout.costs:
            total = total + self.value("slope") * _products(x1, x2, self._slices[-1], diag)
        if self.layout.beliefs:
            total = total + self.value("belief") * _products(x1, x2, self._belief, diag)
        return total

    def _effects(self, x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
        kernels = (self.drawing_kernel, self.recipe_kernel, self.feature_kernel, self.cost_kernel)
        main = [
            None if kernel is None else kernel.forward(x1[..., part], x2[..., part], diag=diag)
            for kernel, part in zip(kernels, self._slices, strict=True)
        ]
        drawing, recipe, _, costs = main
        both = [costs * other for other in (drawing, recipe) if costs is not None and other is not None]
        effects = [effect for effect in main if effect is not None] + both
        if not effects:
            return self.value("scales")[0] * x1.new_ones(x1.shape[:-1] if diag else (*x1.shape[:-1], x2.shape[-2]))
        first, *scales = self.value("scales").unbind()
        total = first * effects[0]
        for scale, effect in zip(scales, effects[1:], strict=True):
            total = torch.addcmul(total, scale, effect)
        return total


def distinct(x: Tensor) -> tuple[Tensor, Tensor]:
    """The first row of each trial among rows (n, d), ascending, and for each row its trial's place among these.

    Rows with one trial number are taken to differ in their rung alone.
    """
    _, first, inverse = np.unique(x[:, -1].numpy(), return_index=True, return_inverse=True)
    order = np.argsort(first)
    return torch.from_numpy(first[order]), torch.from_numpy(np.argsort(order)[inverse])


def expanded(total: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``total[rows][:, columns]`` at places that `distinct` gave: as many as there are trials are all, in order."""
    if len(columns) != total.shape[1]:
        total = total.index_select(1, columns)
    return total.index_select(0, rows) if len(rows) != total.shape[0] else total


def _products(x1: Tensor, x2: Tensor, part: slice, diag: bool) -> Tensor:
    """Inner products (n, k) of a part of the rows, or (n,) of pairs of rows."""
    a, b = x1[..., part], x2[..., part]
    return (a * b).sum(-1) if diag else a @ b.transpose(-1, -2)


def matern(dimensions: int) -> MaternKernel | None:
    """Matern-5/2 with one length-scale a dimension and BoTorch's dimension-scaled prior."""
    if not dimensions:
        return None
    location = math.sqrt(2) + math.log(dimensions) / 2
    kernel = MaternKernel(2.5, ard_num_dims=dimensions)
    kernel.lengthscale = math.exp(location - 1)
    prior = NormalPrior(location, math.sqrt(3) * SPREAD)
    kernel.register_prior("lengthscale_prior", prior, lambda module: module.lengthscale.log())
    return kernel
