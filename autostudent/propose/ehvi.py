"""Expected hypervolume improvement in closed form, when some objectives are known and the rest are independent.

The region that the front leaves free is cut into boxes [l, u]. A new point y adds prod_i max(0, u_i - max(l_i, y_i))
to each, and the expectation of a product of independent terms is the product of expectations:

    EHVI = sum over boxes of prod_i (Psi_i(u_i) - Psi_i(l_i)),   Psi_i(t) = E[max(0, t - y_i)].

For an exactly known cost Psi(t) = max(0, t - c). For a modelled loss y = g(z), z normal and g monotone, Psi is one
integral over the normal density up to the level t, taken by Gauss-Legendre quadrature. With one modelled objective
this is the integral of P(loss <= t) times the free cost volume at level t (Emmerich et al. 2006 give the normal case).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autostudent.front import free_cells
from autostudent.propose.warp import Warp

NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
TAIL = 6.0  # standard deviations beyond which a normal variable is not looked for
CHUNK = 2_000_000  # numbers in the largest temporary array


class Axis(ABC):
    """One objective of n candidates, known or modelled."""

    @abstractmethod
    def psi(self, levels: np.ndarray) -> np.ndarray:
        """E[max(0, t - y)] for each candidate and each level t: (n, levels). A level of -inf gives zero."""


@dataclass(frozen=True)
class Known(Axis):
    """Exact values (n,), minimised."""

    values: np.ndarray

    def psi(self, levels: np.ndarray) -> np.ndarray:
        return np.maximum(0.0, levels[None, :] - self.values[:, None])


@dataclass(frozen=True)
class Modelled(Axis):
    """Losses whose warped values are normal with these means and standard deviations, both (n,)."""

    mean: np.ndarray
    sd: np.ndarray
    warp: Warp

    def psi(self, levels: np.ndarray) -> np.ndarray:
        out = np.zeros((len(self.mean), len(levels)))
        finite = np.isfinite(levels)
        if not finite.any() or not len(self.mean):
            return out
        step = max(1, CHUNK // (int(finite.sum()) * len(NODES)))
        for start in range(0, len(self.mean), step):
            rows = slice(start, start + step)
            out[rows, finite] = self._integral(self.mean[rows], self.sd[rows], levels[finite])
        return out

    def _integral(self, mean: np.ndarray, sd: np.ndarray, levels: np.ndarray) -> np.ndarray:
        sd = np.maximum(sd, 1e-9)
        top = (self.warp.to_model(levels)[None, :] - mean[:, None]) / sd[:, None]
        top = np.minimum(top, TAIL)
        bottom = np.minimum(-TAIL, top - 4.0)
        half = (top - bottom) / 2
        u = bottom[..., None] + half[..., None] * (NODES + 1)
        density = np.exp(-0.5 * u * u) * (WEIGHTS / np.sqrt(2 * np.pi))
        gain = np.maximum(levels[None, :, None] - self.warp.to_loss(mean[:, None, None] + sd[:, None, None] * u), 0.0)
        return (gain * density).sum(axis=-1) * half


def expected_improvement(front: np.ndarray, reference: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """EHVI (n,) of n candidates over ``front`` (k, m), up to ``reference`` (m,); axes in the order of the columns."""
    return volume_in_cells(free_cells(front, reference), axes)


def volume_in_cells(cells: tuple[np.ndarray, np.ndarray], axes: Sequence[Axis]) -> np.ndarray:
    """Expected volume (n,) that n candidates add in the boxes (lower, upper), both (k, m), that a front leaves free."""
    lower, upper = cells
    total: np.ndarray | None = None
    for column, axis in enumerate(axes):
        levels, places = np.unique(np.stack([lower[:, column], upper[:, column]]), return_inverse=True)
        places = places.reshape(2, -1)
        psi = axis.psi(levels)
        widths = psi[:, places[1]] - psi[:, places[0]]
        total = widths if total is None else total * widths
    assert total is not None
    return np.maximum(total.sum(axis=1), 0.0)
