"""The additive kernel's sum against the same formula in torch's own operations."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from autostudent.propose import additive as module
from autostudent.propose.additive import additive


def written_out(weights: Tensor, shares: Tensor, squares: list[Tensor]) -> Tensor:
    """Every product of different factors, one by one."""
    factors = [torch.exp(-weight * square) for weight, square in zip(weights, squares, strict=True)]
    total = torch.zeros_like(factors[0])
    for order, share in enumerate(shares, 1):
        for chosen in itertools.combinations(factors, order):
            total = total + share * math.prod(chosen[1:], start=chosen[0])
    return total


@pytest.mark.parametrize(("variables", "orders"), [(1, 1), (3, 1), (2, 2), (5, 2), (5, 3), (4, 4)])
@pytest.mark.parametrize("piece", [7, 65_536])
def test_values_and_gradients_are_those_of_the_formula(
    variables: int, orders: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    torch.manual_seed(0)
    inputs = [torch.rand(variables, dtype=torch.float64), torch.rand(orders, dtype=torch.float64)]
    inputs += [torch.rand(6, 5, dtype=torch.float64) for _ in range(variables)]
    for tensor in inputs:
        tensor.requires_grad_()
    weights, shares, *squares = inputs
    found, expected = additive(weights, shares, squares), written_out(weights, shares, squares)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    above = torch.randn(6, 5, dtype=torch.float64)
    mine = torch.autograd.grad((found * above).sum(), inputs)
    theirs = torch.autograd.grad((expected * above).sum(), inputs)
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_only_what_is_learned_gets_a_gradient() -> None:
    weights = torch.ones(2, dtype=torch.float64, requires_grad=True)
    squares = [torch.rand(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64)]
    additive(weights, torch.ones(2, dtype=torch.float64), squares).sum().backward()
    assert weights.grad is not None
    assert all(square.grad is None for square in squares)
