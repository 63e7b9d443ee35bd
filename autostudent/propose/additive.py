"""Sums of products of factors, the costly part of a fit: forward and backward in as few passes as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

PIECE = 65_536  # numbers of one factor that are handled at once


def additive(weights: Tensor, shares: Tensor, squares: Sequence[Tensor]) -> Tensor:
    """sum over o of shares[o] e_o(k_1, ..., k_d) with k_v = exp(-weights[v] squares[v]), elementwise.

    e_o is the elementary symmetric polynomial: the sum of all products of o different factors. Gradients are those of
    the formula; torch would find the same ones in twice as many passes over the matrices, with a copy of each.

    Args:
        weights: (d,).
        shares: (p,), p at most d.
        squares: d tensors of one shape.
    """
    return _Additive.apply(weights, shares, *squares)


class _Additive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, shares: Tensor, *squares: Tensor) -> Tensor:
        ctx.save_for_backward(weights, shares, *squares)
        w, s = weights.tolist(), shares.tolist()
        flat = [square.reshape(-1) for square in squares]
        total = flat[0].new_empty(len(flat[0]))
        for start in range(0, len(total), PIECE):
            piece = slice(start, start + PIECE)
            sums: list[Tensor] = []  # e_1, e_2, ... of the factors so far
            for factor in _factors(flat, w, piece):
                if len(sums) < len(s):
                    sums.append(sums[-1] * factor if sums else torch.zeros_like(factor))
                    ready = len(sums) - 1
                else:
                    ready = len(sums)
                for order in range(ready - 1, 0, -1):
                    sums[order].addcmul_(factor, sums[order - 1])
                sums[0].add_(factor)
            torch.mul(sums[0], s[0], out=total[piece])
            for share, polynomial in zip(s[1:], sums[1:], strict=True):
                total[piece].add_(polynomial, alpha=share)
        return total.view(squares[0].shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weights, shares, *squares = ctx.saved_tensors
        w, s = weights.tolist(), shares.tolist()
        flat, given = [square.reshape(-1) for square in squares], gradients[0].reshape(-1)
        to_weights, to_shares = torch.zeros_like(weights), torch.zeros_like(shares)
        wanted = ctx.needs_input_grad[2:]  # of places that are learned
        to_squares = [torch.empty_like(x) if want else None for x, want in zip(flat, wanted, strict=True)]
        for start in range(0, len(given), PIECE):
            piece = slice(start, start + PIECE)
            factors, above = list(_factors(flat, w, piece)), given[piece]
            stages = _grow(factors, len(s))
            for order, polynomial in enumerate(stages[-1]):
                to_shares[order] += above @ polynomial
            back = [above * share for share in s]  # gradients of the polynomials of the factors up to v
            for v in reversed(range(len(factors))):
                lower = stages[v - 1][: len(s) - 1] if v else []
                own = back[0].clone()
                for order, polynomial in enumerate(lower):
                    own.addcmul_(back[order + 1], polynomial)
                    back[order].addcmul_(back[order + 1], factors[v])
                own.mul_(factors[v])
                to_weights[v] -= own @ flat[v][piece]
                if (place := to_squares[v]) is not None:
                    torch.mul(own, -w[v], out=place[piece])
        return to_weights, to_shares, *(None if x is None else x.view(squares[0].shape) for x in to_squares)


def _factors(squares: Sequence[Tensor], weights: Sequence[float], piece: slice) -> Iterator[Tensor]:
    for square, weight in zip(squares, weights, strict=True):
        yield torch.mul(square[piece], -weight).exp_()


def _grow(factors: Sequence[Tensor], orders: int) -> list[list[Tensor]]:
    """For every v the polynomials e_1, e_2, ... of the first v factors, at most ``orders`` of them."""
    stages: list[list[Tensor]] = []
    sums: list[Tensor] = []
    for factor in factors:
        grown = [sums[0] + factor if sums else factor]
        for order in range(1, min(orders, len(sums) + 1)):
            below = sums[order - 1]
            grown.append(torch.addcmul(sums[order], factor, below) if order < len(sums) else factor * below)
        stages.append(grown)
        sums = grown
    return stages
