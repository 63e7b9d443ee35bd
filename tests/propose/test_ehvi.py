"""The closed form against sampling and brute-force hypervolumes, and against BoTorch's Monte Carlo acquisition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.logei import (
    qLogExpectedHypervolumeImprovement,
    qLogNoisyExpectedHypervolumeImprovement,
)
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.models import SingleTaskGP
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from hypothesis import given, settings
from hypothesis import strategies as st

from autostudent.front import hypervolume
from autostudent.propose.ehvi import Axis, Known, Modelled, expected_improvement
from autostudent.propose.warp import SOFTENING, Warp
from autostudent.propose.worth import Step, reservation_rates

RATE = Warp(0.0, 1.0, rate=True)
LOG = Warp(-0.1, 1.0, rate=False)


def brute_force(front: np.ndarray, reference: np.ndarray, samples: np.ndarray) -> float:
    """Mean hypervolume difference over sampled points (s, m)."""
    base = hypervolume(front, reference)
    return float(np.mean([hypervolume(np.vstack([front, point]), reference) - base for point in samples]))


@given(st.integers(0, 10_000), st.integers(2, 4), st.booleans())
@settings(max_examples=12, deadline=None)
def test_one_modelled_loss_and_exact_costs(seed: int, m: int, rate: bool) -> None:
    rng = np.random.default_rng(seed)
    front, reference, costs = rng.random((5, m)), np.full(m, 0.9), rng.random((1, m - 1))
    warp = RATE if rate else LOG
    mean, sd = rng.normal(-0.7, 0.5), rng.uniform(0.05, 1.0)
    loss = Modelled(np.array([mean]), np.array([sd]), warp)
    axes: list[Axis] = [loss, *(Known(costs[:, i]) for i in range(m - 1))]
    # Equally likely strata of the loss: brute force without sampling noise.
    quantiles = (np.arange(200) + 0.5) / 200
    u = np.sqrt(2) * torch.erfinv(torch.from_numpy(2 * quantiles - 1)).numpy()
    samples = np.column_stack([warp.to_loss(mean + sd * u), np.repeat(costs, 200, axis=0)])
    expected = brute_force(front, reference, samples)
    assert expected_improvement(front, reference, axes)[0] == pytest.approx(expected, rel=0.03, abs=5e-5)


def test_two_modelled_losses_against_sampling() -> None:
    rng = np.random.default_rng(0)
    front, reference = rng.random((8, 3)), np.ones(3)
    means, sds, cost = np.array([-0.3, 0.1]), np.array([0.6, 0.4]), 0.3
    axes: list[Axis] = [Modelled(means[:1], sds[:1], RATE), Modelled(means[1:], sds[1:], RATE), Known(np.array([cost]))]
    z = means + sds * rng.normal(size=(2_000, 2))
    samples = np.column_stack([RATE.to_loss(z[:, 0]), RATE.to_loss(z[:, 1]), np.full(len(z), cost)])
    expected = brute_force(front, reference, samples)
    assert expected_improvement(front, reference, axes)[0] == pytest.approx(expected, rel=0.1)


def test_certain_predictions_give_the_plain_improvement() -> None:
    front, reference = np.array([[0.2, 0.8], [0.6, 0.3]]), np.ones(2)
    loss = Modelled(RATE.to_model(np.array([0.4, 0.7])), np.zeros(2), RATE)
    found = expected_improvement(front, reference, [loss, Known(np.array([0.5, 0.5]))])
    assert found == pytest.approx([0.2 * 0.3, 0.0], abs=1e-9)


def test_an_empty_front_and_a_point_beyond_the_reference() -> None:
    loss = Modelled(np.array([-1.0, -1.0]), np.array([0.1, 0.1]), RATE)
    found = expected_improvement(np.zeros((0, 2)), np.ones(2), [loss, Known(np.array([0.5, 2.0]))])
    assert found[0] == pytest.approx(0.5 * (1 - 0.27), rel=0.01)
    assert found[1] == 0.0


def outcomes(z: torch.Tensor, X: torch.Tensor | None = None) -> torch.Tensor:
    """What BoTorch maximises: the loss is modelled, the exact cost is the second coordinate of a candidate."""
    assert X is not None
    loss = z[..., 0].sigmoid() * (1 + 2 * SOFTENING) - SOFTENING
    return torch.stack([-loss, -X[..., 1].expand_as(loss)], dim=-1)


def normal_model(noise: float) -> tuple[SingleTaskGP, torch.Tensor]:
    """A model of warped losses at eight places, and the places."""
    x = torch.from_numpy(np.random.default_rng(1).random((8, 2)))
    variance = torch.full((8, 1), noise, dtype=torch.double)
    return SingleTaskGP(x, x[:, :1].sin() - 1.5, variance, outcome_transform=None), x


def predicted(model: SingleTaskGP, x: torch.Tensor) -> list[Axis]:
    posterior = model.posterior(x)
    mean, sd = posterior.mean[:, 0].detach().numpy(), posterior.variance[:, 0].detach().sqrt().numpy()
    return [Modelled(mean, sd, RATE), Known(x[:, 1].numpy())]


NEW = torch.tensor([[0.9, 0.3], [0.2, 0.6], [0.1, 0.05]], dtype=torch.double)


def test_agrees_with_botorch() -> None:
    model, _ = normal_model(1e-2)
    front, reference = np.random.default_rng(1).random((5, 2)), np.ones(2)
    ours = expected_improvement(front, reference, predicted(model, NEW))
    acquisition = qLogExpectedHypervolumeImprovement(
        model,
        -torch.from_numpy(reference),
        FastNondominatedPartitioning(-torch.from_numpy(reference), -torch.from_numpy(front)),
        sampler=SobolQMCNormalSampler(torch.Size([512]), seed=0),
        objective=GenericMCMultiOutputObjective(outcomes),
    )
    assert ours == pytest.approx(acquisition(NEW[:, None, :]).exp().detach().numpy(), rel=0.03)


def test_agrees_with_botorchs_noisy_acquisition() -> None:
    """Without noise the front that qLogNEHVI samples is the measured one."""
    model, x = normal_model(1e-6)
    front = np.column_stack([RATE.to_loss(x[:, 0].sin().numpy() - 1.5), x[:, 1].numpy()])
    ours = expected_improvement(front, np.ones(2), predicted(model, NEW))
    acquisition = qLogNoisyExpectedHypervolumeImprovement(
        model,
        -torch.ones(2, dtype=torch.double),
        x,
        sampler=SobolQMCNormalSampler(torch.Size([512]), seed=0),
        objective=GenericMCMultiOutputObjective(outcomes),
    )
    assert ours == pytest.approx(acquisition(NEW[:, None, :]).exp().detach().numpy(), rel=0.05, abs=1e-6)
    assert ours[2] > 0.01


def test_a_look_is_worth_more_than_the_blind_purchase_and_never_less_than_nothing() -> None:
    """With value 1 for certain a rate is 1 / price; a gamble of the same mean pays more, because one may stop."""
    step = Step(now=0.1, rest=0.9)
    certain = reservation_rates(lambda u: np.array([1.0]), step)
    gamble = reservation_rates(lambda u: np.array([2.0 if u > 0 else 1.0 if u == 0 else 0.0]), step)
    assert certain == pytest.approx([1.0], rel=1e-6)
    assert gamble[0] > 1.2
    assert reservation_rates(lambda u: np.array([0.0]), step) == pytest.approx([0.0])


@pytest.mark.parametrize("warp", [RATE, LOG])
def test_warps_invert(warp: Warp) -> None:
    losses = np.linspace(0.01, 0.95, 20)
    assert warp.to_loss(warp.to_model(losses)) == pytest.approx(losses)
    assert (np.diff(warp.to_model(losses)) > 0).all()
    ends = warp.to_model(losses + 1e-7) - warp.to_model(losses - 1e-7)
    assert warp.log_slope(losses) == pytest.approx(np.log(ends / 2e-7), abs=1e-5)


def test_many_candidates_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = Modelled(np.linspace(-2.0, 0.0, 7), np.full(7, 0.3), RATE)
    whole = loss.psi(np.array([-np.inf, 0.3, 0.6]))
    for numbers in (1, 100):
        monkeypatch.setattr("autostudent.propose.ehvi.CHUNK", numbers)
        assert loss.psi(np.array([-np.inf, 0.3, 0.6])) == pytest.approx(whole)
    assert (whole[:, 1:] > 0).all()
