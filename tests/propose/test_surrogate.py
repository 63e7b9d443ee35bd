"""The kernel is a covariance, the fit is GPyTorch's, the posterior is BoTorch's, and pending rows are believed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from hypothesis import given, settings
from hypothesis import strategies as st

from autostudent.propose.base import generator
from autostudent.propose.catalogue import Catalogue
from autostudent.propose.encoding import Block, Encoder, Layout
from autostudent.propose.kernel import StudentKernel
from autostudent.propose.surrogate import NOISE, Posterior, _closure, fit, log_likelihood, rows_to_fit
from autostudent.testing.landscape import landscape_problem


def encoded(rows: int, seed: int, rungs: tuple[int, ...] = (9,)) -> tuple[Layout, np.ndarray]:
    """Rows of the invented landscape, at random rungs of few trials so that trials repeat."""
    problem = landscape_problem(rungs=rungs, seed=seed)
    catalogue = Catalogue(problem, generator)
    encoder = Encoder(problem, catalogue)
    rng = np.random.default_rng(seed)
    picks = rng.integers(12, size=rows)
    x = encoder.rows([catalogue.fresh(0, 40)[i] for i in picks], 0, [int(i) for i in picks])
    x[:, -3] = rng.integers(len(rungs), size=rows)
    return encoder.layout, x


def test_a_row_is_the_same_bits_whoever_is_encoded_beside_it() -> None:
    """A resumed search asks for other rows at once than the search it goes on with."""
    problem = landscape_problem(rungs=(9,), seed=4)
    catalogue = Catalogue(problem, generator)
    options = catalogue.fresh(0, 120)
    whole = Encoder(problem, catalogue).rows(options, 0, range(120))
    for size in (1, 7):
        apart = Encoder(problem, catalogue)
        parts = [apart.rows(options[i : i + size], 0, range(i, min(i + size, 120))) for i in range(0, 120, size)]
        assert (np.vstack(parts) == whole).all()
    assert len(np.unique(whole[:, :-1], axis=0)) > 60


@given(st.integers(0, 1000), st.sampled_from([(9,), (1, 3, 9)]))
@settings(max_examples=15, deadline=None)
def test_kernel_is_positive_semidefinite(seed: int, rungs: tuple[int, ...]) -> None:
    layout, x = encoded(25, seed, rungs)
    kernel = StudentKernel(layout).double()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter.add_(torch.randn_like(parameter))
        rows = torch.from_numpy(x)
        matrix = kernel.forward(rows, rows)
        assert torch.allclose(matrix, matrix.T)
        assert torch.linalg.eigvalsh(matrix).min() > -1e-8
        assert torch.allclose(matrix.diagonal(), kernel.forward(rows, rows, diag=True), atol=1e-5)


@pytest.mark.parametrize(("trials", "rows"), [(12, 40), (280, 330)])
@pytest.mark.parametrize("rungs", [(9,), (1, 3, 9)])
def test_the_rungs_of_a_trial_share_what_is_computed_once(trials: int, rows: int, rungs: tuple[int, ...]) -> None:
    """The matrix is that of every two rows alone: of a record with itself, with a part of it, and with new students."""
    problem = landscape_problem(rungs=rungs, seed=7)
    catalogue = Catalogue(problem, generator)
    encoder, rng = Encoder(problem, catalogue), np.random.default_rng(7)
    options = catalogue.fresh(0, trials)
    picks = np.concatenate([rng.permutation(trials), rng.integers(trials, size=rows - trials)])
    seen = encoder.rows([options[i] for i in picks], 0, [int(i) for i in picks])
    seen[:, -3] = rng.integers(len(rungs), size=rows)
    new = encoder.rows(options[:9], len(rungs) - 1, list(range(-1, -10, -1)))
    kernel = StudentKernel(encoder.layout).double()
    torch.manual_seed(7)
    record = torch.from_numpy(seen)
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for first in (record, record[5:25].flip(0), torch.from_numpy(np.vstack([new, seen[:3]])), record[:0]):
            matrix = kernel.forward(first, record)
            i, j = (places.flatten() for places in torch.meshgrid(*map(torch.arange, matrix.shape), indexing="ij"))
            alone = kernel.forward(first[i], record[j], diag=True)
            assert matrix.shape == (len(first), rows)
            assert torch.allclose(matrix.flatten(), alone, rtol=0, atol=1e-7)


def test_gradients_are_those_of_every_two_rows_alone() -> None:
    layout, x = encoded(40, 9, (1, 3, 9))
    record = torch.from_numpy(x)
    weights = torch.from_numpy(np.random.default_rng(9).normal(size=(40, 40)))
    i, j = (places.flatten() for places in torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij"))
    found = []
    for alone in (False, True):
        kernel = StudentKernel(layout).double()
        values = (
            kernel.forward(record[i], record[j], diag=True).view(40, 40) if alone else kernel.forward(record, record)
        )
        (values * weights).sum().backward()
        found.append([parameter.grad for parameter in kernel.parameters()])
    for together, apart in zip(*found, strict=True):
        assert together is not None
        assert apart is not None
        assert torch.allclose(together, apart, rtol=1e-5, atol=1e-8)


def test_inactive_variables_are_neither_imputed_nor_dead() -> None:
    """Two plain recipes ignore the temperature; a plain and a teaching one differ the same at all temperatures."""
    problem = landscape_problem()
    encoder = Encoder(problem, Catalogue(problem, generator))
    base = {"block0": "thin", "block1": "thin", "block2": "wide", "block3": "none", "width": 20, "lr": 0.5}
    catalogue = Catalogue(problem, generator)

    def row(trial: int, **recipe: object) -> np.ndarray:
        from autostudent.records import Candidate

        option = catalogue.option(Candidate({**base, **recipe}, 0))  # type: ignore[dict-item]
        assert option is not None
        return encoder.rows([option], 0, [trial])[0]

    plain = row(0, loss="plain")
    cold, hot = row(1, loss="early", temperature=0.0), row(2, loss="early", temperature=1.0)
    kernel = StudentKernel(encoder.layout).double()
    with torch.no_grad():
        k = kernel.forward(*[torch.from_numpy(np.stack([plain, cold, hot]))] * 2)
    assert k[0, 1] == pytest.approx(k[0, 2].item())
    assert k[1, 2] < k[1, 1]
    assert not np.isnan(plain).any()


def test_fast_likelihood_is_gpytorchs() -> None:
    layout, x = encoded(30, 3)
    z = np.random.default_rng(0).normal(size=30)
    likelihood = GaussianLikelihood()
    rows, values = torch.from_numpy(x), torch.from_numpy(z)
    model = SingleTaskGP(rows, values[:, None], likelihood=likelihood, covar_module=StudentKernel(layout))
    model.outcome_transform = None
    mll = ExactMarginalLogLikelihood(likelihood, model.train())
    loss, gradients = _closure(mll, rows, values)()
    assert loss.item() == pytest.approx(-mll(model(rows), values).item())
    assert all(gradient is not None for gradient in gradients)


def test_posterior_is_the_models_own() -> None:
    layout, x = encoded(20, 4, (1, 3, 9))
    z = np.random.default_rng(1).normal(size=20)
    hyper = fit(layout, x[:15], z[:15])
    posterior = Posterior(hyper, x[:15], z[:15], x[:0])
    mean, sd = posterior.predict(x[15:])
    k = hyper.kernel
    with torch.no_grad():
        seen, new = torch.from_numpy(x[:15]), torch.from_numpy(x[15:])
        gram = k.forward(seen, seen) + hyper.noise * torch.eye(15)
        gain = torch.linalg.solve(gram, k.forward(seen, new)).T
        expected = hyper.mean + gain @ torch.from_numpy(z[:15] - hyper.mean)
        variance = (k.forward(new, new) - gain @ k.forward(seen, new)).diagonal()
    assert mean == pytest.approx(expected.numpy())
    assert sd**2 == pytest.approx(variance.numpy(), abs=1e-6)


def test_believing_pending_rows_leaves_means_and_shrinks_variances() -> None:
    layout, x = encoded(20, 5)
    z = np.random.default_rng(2).normal(size=12)
    hyper = fit(layout, x[:12], z)
    alone, believed = Posterior(hyper, x[:12], z, x[:0]), Posterior(hyper, x[:12], z, x[12:15])
    fantasy = Posterior(hyper, x[:15], np.concatenate([z, alone.predict(x[12:15])[0]]), x[:0])
    for part in (0, 1):
        assert believed.predict(x[15:])[part] == pytest.approx(fantasy.predict(x[15:])[part], abs=1e-6)
    assert believed.predict(x[15:])[0] == pytest.approx(alone.predict(x[15:])[0])


def test_a_look_takes_from_the_variance_what_it_moves_the_mean() -> None:
    layout, x = encoded(14, 6, (1, 9))
    z = np.random.default_rng(3).normal(size=10)
    hyper = fit(layout, x[:10], z)
    final, look = x[10:11].copy(), x[10:11].copy()
    final[:, -3], look[:, -3] = 1, 0
    before, after = Posterior(hyper, x[:10], z, x[:0]), Posterior(hyper, x[:10], z, look)
    lost = before.predict(final)[1] ** 2 - after.predict(final)[1] ** 2
    assert before.look(final, look)[2] ** 2 == pytest.approx(lost, abs=1e-6)


def test_fits_repeat_and_tied_or_single_values_are_no_problem() -> None:
    layout, x = encoded(12, 7)
    z = np.random.default_rng(4).normal(size=12)
    a, b = fit(layout, x, z), fit(layout, x, z)
    assert a.noise == b.noise
    assert Posterior(a, x, z, x[:0]).predict(x)[0].tolist() == Posterior(b, x, z, x[:0]).predict(x)[0].tolist()
    for values in (np.zeros(12), np.zeros(1), np.zeros(0)):
        rows = x[: len(values)]
        mean, sd = Posterior(fit(layout, rows, values), rows, values, x[:2]).predict(x)
        assert np.isfinite(mean).all()
        assert np.isfinite(sd).all()


def test_refits_happen_at_fixed_counts() -> None:
    counts = [rows_to_fit(n) for n in range(3000)]
    assert counts[:21] == list(range(21))
    assert all(later >= earlier for earlier, later in pairwise(counts))
    assert len(set(counts)) < 120


def test_what_trials_share_grows_with_the_record_and_is_the_same_bits_as_anew() -> None:
    layout, x = encoded(600, 3, (1, 3, 9))
    x[:, -1] = np.arange(600)
    hyper = fit(layout, x[:40], np.sin(np.arange(40.0)))
    hyper.shared(x[:550])
    kept = dict(hyper.tiles)
    assert len(kept) == 3  # two full blocks of rows
    grown = hyper.shared(x)
    assert all(hyper.tiles[key] is tile for key, tile in kept.items())
    assert torch.equal(grown, fit(layout, x[:40], np.sin(np.arange(40.0))).shared(x))
    rows = torch.from_numpy(x)
    with torch.no_grad():
        assert torch.allclose(hyper.kernel.across_rungs(grown, rows, rows), hyper.kernel.forward(rows, rows), atol=1e-9)


@pytest.mark.parametrize("rungs", [(9,), (1, 3, 9)])
def test_predictions_for_known_trials_are_those_of_the_kernel(rungs: tuple[int, ...]) -> None:
    """Measured, pending and new students, at rungs that were seen or not, in any order."""
    layout, x = encoded(40, 8, rungs)
    x, asked, pending = x[:25], x[[3, 30, 0, 24, 3, 11]].copy(), x[25:28]
    asked[:, -3] = len(rungs) - 1
    z = np.random.default_rng(8).normal(size=25)
    hyper = fit(layout, x, z)
    posterior = Posterior(hyper, x, z, pending)
    for rows in (asked, pending, asked[:1]):
        assert set(rows[:, -1]) <= set(x[:, -1]) | set(pending[:, -1])
        with torch.no_grad():
            seen = torch.from_numpy(np.vstack([x, pending]))
            new = torch.from_numpy(rows)
            cross = hyper.kernel.forward(new, seen).numpy()
            noisy = (hyper.kernel.forward(seen, seen) + hyper.noise * torch.eye(28)).numpy()
            prior = hyper.kernel.forward(new, new, diag=True).numpy()
        expected = hyper.mean + cross[:, :25] @ np.linalg.solve(noisy[:25, :25], z - hyper.mean)
        variance = prior - (cross * np.linalg.solve(noisy, cross.T).T).sum(axis=1)
        assert posterior.mean(rows) == pytest.approx(expected, abs=1e-8)
        assert posterior.predict(rows)[0] == pytest.approx(expected, abs=1e-8)
        assert posterior.predict(rows)[1] == pytest.approx(np.sqrt(np.maximum(variance, 1e-10)), abs=1e-5)
    unknown = asked.copy()
    unknown[:, -1] = -1 - np.arange(len(unknown))
    with_new = posterior.predict(np.vstack([asked, unknown]))
    for part in (0, 1):
        assert with_new[part][:6] == pytest.approx(posterior.predict(asked)[part], abs=1e-8)
        assert with_new[part][6:] == pytest.approx(posterior.predict(unknown)[part], abs=1e-8)


def test_likelihood_before_a_fit_is_that_of_a_normal_vector() -> None:
    layout, x = encoded(9, 3)
    z = np.random.default_rng(3).normal(size=9)
    with torch.no_grad():
        rows = torch.from_numpy(x)
        covariance = StudentKernel(layout).double().forward(rows, rows) + NOISE * torch.eye(9)
    normal = torch.distributions.MultivariateNormal(torch.zeros(9, dtype=torch.double), covariance)
    expected = normal.log_prob(torch.from_numpy(z)).item() + 4.5 * np.log(2 * np.pi)
    assert log_likelihood(layout, x, z) == pytest.approx(expected)


def test_a_trend_in_cost_goes_on_beyond_the_record() -> None:
    """Of students that get better with size, one smaller than all is not predicted to be average."""
    block = Block((), (), ())
    layout = Layout(block, block, 0, 1, 0, 1)
    x = np.zeros((12, 4))
    x[:, 0], x[:, -1] = np.linspace(-0.5, 1.5, 12), np.arange(12)
    z = -(x[:, 0] - x[:, 0].mean()) / x[:, 0].std()
    posterior = Posterior(fit(layout, x, z), x, z, np.zeros((0, 4)))
    assert posterior.mean(np.array([[-2.0, 0, 0, -1]]))[0] > z.max() + 1.0
