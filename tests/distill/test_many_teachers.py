"""What methods with several teachers or learned weights promise beyond the conformance suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.fit import Fit
from autostudent.distill.methods.amal import AMAL, EDGE, hypergradient, logit_gradients
from autostudent.distill.methods.ca_mkd import CAMKD, resized
from autostudent.distill.methods.continuation_kd import ContinuationKD
from autostudent.distill.methods.ctkd import CTKD
from autostudent.distill.methods.dgkd import DGKD
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.ta_ensemble import TAEnsemble
from autostudent.distill.methods.teacher_sweet_spot import TeacherSweetSpot, shuffled
from autostudent.distill.types import Output
from autostudent.testing.methods import BATCH, toy_spec
from autostudent.testing.toys import toy_job
from tests.distill.bench import at, only


def test_an_ensemble_of_one_voice_is_that_voice() -> None:
    bench, plain = only(TAEnsemble(inner=KD())), only(KD())
    first = torch.zeros(BATCH, len(bench.view.sources))
    first[:, 0] = 1.0
    view = dataclasses.replace(bench.view, facts={"ensemble_probabilities_accuracy": first})
    single = dataclasses.replace(plain.view, own=bench.view.own, sources=bench.view.sources[:1])

    assert torch.allclose(bench.method.loss(view, bench.state), plain.method.loss(single, plain.state), atol=1e-5)


def test_an_ensemble_of_one_voice_has_the_logits_of_that_voice() -> None:
    bench = only(TAEnsemble(inner=ContinuationKD(margin=0.0)))
    high = dataclasses.replace(bench.view.sources[0], logits=bench.view.teacher_logits[0] + 7.0)
    first = torch.zeros(BATCH, 3)
    first[:, 0] = 1.0
    view = dataclasses.replace(
        bench.view, sources=(high, *bench.view.sources[1:]), facts={"ensemble_probabilities_accuracy": first}
    )
    plain = only(ContinuationKD(margin=0.0))
    single = dataclasses.replace(plain.view, own=bench.view.own, sources=(high,))

    assert torch.allclose(bench.method.loss(view, bench.state), plain.method.loss(single, plain.state), atol=1e-4)


def test_an_ensemble_of_equal_teachers_does_not_care_for_weights() -> None:
    for mix in ("probabilities", "logits"):
        bench, plain = only(TAEnsemble(mix=mix, inner=KD())), only(KD())
        same = dataclasses.replace(bench.view, sources=bench.view.sources[:1] * 3)
        single = dataclasses.replace(plain.view, own=bench.view.own, sources=bench.view.sources[:1])

        assert torch.allclose(bench.method.loss(same, bench.state), plain.method.loss(single, plain.state), atol=1e-5)


def test_a_curriculum_over_an_ensemble_heats_the_voices_before_they_are_mixed() -> None:
    bench = only(CTKD(lowest=2.0, span=5.0, raw=-2.0, inner=TAEnsemble(inner=KD(weight=1.0))))
    method = bench.method
    assert isinstance(method, CTKD)
    heat = float(method.temperature(bench.state, 1.0).detach())
    weights = bench.view.facts["ensemble_probabilities_accuracy"][0]
    voices = torch.stack([(t / heat).softmax(1) for t in bench.view.teacher_logits])
    log_s = (bench.view.logits / heat).log_softmax(1)
    mixed = (weights[:, None, None] * voices).sum(0)
    expected = heat**2 * (mixed * (mixed.log() - log_s)).sum(1)

    assert torch.allclose(method.loss(bench.view, bench.state), expected, atol=1e-4)


def test_permuting_keeps_the_label_and_the_set_of_other_probabilities() -> None:
    rng = torch.Generator().manual_seed(1)
    logits, target = torch.randn(7, 6, generator=rng), torch.eye(6)[torch.tensor([0, 5, 2, 2, 1, 4, 3])]
    mixed = shuffled(logits, target, torch.rand(7, 6, generator=rng))
    label = target.argmax(1, keepdim=True)

    assert torch.equal(mixed.gather(1, label), logits.gather(1, label))
    assert torch.equal(mixed.sort(1).values, logits.sort(1).values)
    assert not torch.equal(mixed, logits)


def test_a_sample_is_always_permuted_in_the_same_way() -> None:
    bench = only(TeacherSweetSpot(permute=True, inner=KD()))
    first = bench.method.loss(bench.view, bench.state)
    again = bench.method.loss(dataclasses.replace(bench.view, seed=99), bench.state)

    assert torch.equal(first, again)
    assert torch.equal(only(TeacherSweetSpot(inner=KD())).objective(), only(KD()).objective())


def test_amal_step_is_what_autograd_finds_through_the_virtual_step() -> None:
    rng = torch.Generator().manual_seed(0)
    n, v, dim, classes, lr, heat = 6, 5, 4, 3, 0.3, 4.0

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    weight, bias = draw(classes, dim).requires_grad_(), draw(classes).requires_grad_()
    features, held = draw(n, dim), draw(v, dim)
    teachers = [draw(n, classes), draw(n, classes)]
    target, wanted = (
        torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1, 2]],
        torch.eye(3, dtype=torch.float64)[[2, 1, 0, 1, 0]],
    )
    mixing = torch.rand(n, 3, generator=rng, dtype=torch.float64).requires_grad_()

    student = features @ weight.T + bias
    terms = torch.stack([losses.cross_entropy(student, target), *(losses.kd(student, t, heat) for t in teachers)], 1)
    slopes = torch.autograd.grad((mixing * terms).sum() / n, (weight, bias), create_graph=True)
    moved = held @ (weight - lr * slopes[0]).T + bias - lr * slopes[1]
    (expected,) = torch.autograd.grad(losses.cross_entropy(moved, wanted).mean(), mixing)

    gradients = logit_gradients(student.detach(), teachers, target, heat)
    found = hypergradient(mixing.detach(), gradients, features, (held @ weight.T + bias).detach(), held, wanted, lr)

    assert torch.allclose(found, expected, atol=1e-12)


def amal_by_hand(
    student: np.ndarray,
    teacher: np.ndarray,
    features: np.ndarray,
    target: np.ndarray,
    held: tuple[np.ndarray, np.ndarray, np.ndarray],
    rate: float,
    step: float,
    inner: int,
) -> list[np.ndarray]:
    """λ after each inner step, its slope by central differences through the virtual step of bias and weight."""

    def softmax(z: np.ndarray) -> np.ndarray:
        p = np.exp(z - z.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    def meta_loss(table: np.ndarray) -> float:
        labels, likeness = softmax(student) - target, 4 * (softmax(student / 4) - softmax(teacher / 4))
        pull = (table[:, :1] * labels + table[:, 1:] * likeness) / len(student)
        moved = held[0] - rate * (pull.sum(0) + held[1] @ (features.T @ pull))
        return float(-np.log(softmax(moved)[held[2] > 0]).mean())

    table, seen = np.tile([0.1, 0.9], (len(student), 1)), []
    for _ in range(inner):
        slope = np.zeros_like(table)
        for place in np.ndindex(*table.shape):
            nudge = np.zeros_like(table)
            nudge[place] = 1e-5
            slope[place] = (meta_loss(table + nudge) - meta_loss(table - nudge)) / 2e-5
        table = np.clip(table - step * slope, 1e-7, 2 - 1e-7)
        seen.append(table)
    return seen


@pytest.mark.parametrize("meta_lr", [150.0, 1500.0, 15000.0])
def test_amal_table_moves_as_in_a_twin_by_hand(meta_lr: float) -> None:
    rng = torch.Generator().manual_seed(3)
    bench = only(AMAL(meta_lr=meta_lr))
    view = dataclasses.replace(
        bench.view,
        own=Output(torch.randn(BATCH, 5, generator=rng), {"penultimate": torch.randn(BATCH, 4, generator=rng)}),
        sources=bench.view.sources[:1],
    )
    held = dataclasses.replace(
        view,
        own=Output(torch.randn(BATCH, 5, generator=rng), {"penultimate": torch.randn(BATCH, 4, generator=rng)}),
        batch=dataclasses.replace(view.batch, target=view.batch.target.roll(1, 0)),
    )
    by_hand = amal_by_hand(
        view.logits.double().numpy(),
        view.teacher_logits[0].double().numpy(),
        view.own.taps["penultimate"].double().numpy(),
        view.batch.target.double().numpy(),
        (held.logits.double().numpy(), held.own.taps["penultimate"].double().numpy(), held.batch.target.numpy()),
        rate=0.05,
        step=meta_lr * BATCH / 128,
        inner=5,
    )
    for inner in range(1, 6):
        method = AMAL(meta_lr=meta_lr, inner=inner)
        state = method.init(dataclasses.replace(toy_spec(method), teachers=toy_spec(method).teachers[:1]))
        method.refresh([view], held, 0.05, state)
        assert isinstance(state.table, Tensor)
        assert state.table.numpy() == pytest.approx(by_hand[inner - 1], abs=2e-3)
    assert np.ptp(by_hand[-1]) > 0.05


def test_amal_refresh_touches_the_rows_of_its_samples_and_keeps_them_in_bounds() -> None:
    method = AMAL(meta_lr=15000.0)
    fit = Fit(toy_job(method, teachers=2, epochs=9))
    table = fit.states["student"].table
    assert isinstance(table, Tensor)
    untouched = table.clone()
    fit.run(1)

    held = set(fit.held.tolist())
    moved = (table != untouched).any(1)
    assert untouched[0].tolist() == pytest.approx([0.1, 0.9, 0.9])
    assert all(not moved[i] for i in held)
    assert all(moved[i] for i in range(len(table)) if i not in held)
    assert table.min() >= EDGE
    assert table.max() <= 2 - EDGE


def test_amal_lowers_the_meta_loss_by_moving_weights() -> None:
    rng = torch.Generator().manual_seed(4)
    n, dim, classes = 30, 6, 3
    features, held = torch.randn(n, dim, generator=rng), torch.randn(40, dim, generator=rng)
    student, teachers = torch.randn(n, classes, generator=rng), [torch.randn(n, classes, generator=rng)]
    target, wanted = torch.eye(3)[torch.arange(n) % 3], torch.eye(3)[torch.arange(40) % 3]
    gradients = logit_gradients(student, teachers, target, 4.0)
    logits, mixing = torch.randn(40, classes, generator=rng), torch.full((n, 2), 0.5)

    def meta_loss(table: Tensor) -> float:
        mixed = torch.einsum("nm,nmc->nc", table, gradients)
        moved = logits - 0.1 * (mixed.sum(0) + held @ (features.T @ mixed))
        return float(losses.cross_entropy(moved, wanted).mean())

    better = mixing - 10 * hypergradient(mixing, gradients, features, logits, held, wanted, 0.1)

    assert meta_loss(better) < meta_loss(mixing)


def test_dgkd_drops_by_lot_and_never_everyone() -> None:
    bench = only(DGKD(drop=1, weight=1.0, temperature=4.0))
    each = torch.stack([losses.kd(bench.view.logits, t, 4.0) for t in bench.view.teacher_logits])
    pairs = {tuple(kept) for kept in ((0, 1), (0, 2), (1, 2))}
    seen = set()
    for seed in range(20):
        wrong = bench.method.loss(dataclasses.replace(bench.view, seed=seed), bench.state)
        seen |= {kept for kept in pairs if torch.allclose(wrong, each[list(kept)].sum(0), atol=1e-5)}
    lonely = only(DGKD(drop=4, weight=1.0, temperature=4.0))
    alone = lonely.method.loss(lonely.view, lonely.state)

    assert seen == pairs
    assert any(torch.allclose(alone, one, atol=1e-5) for one in each)


def test_ca_mkd_with_average_weights_is_the_mean_of_kd() -> None:
    bench = only(CAMKD(weights="average"))
    each = torch.stack([losses.kd(bench.view.logits, t, 4.0) for t in bench.view.teacher_logits])

    assert torch.allclose(bench.method.loss(bench.view, bench.state), each.mean(0), atol=1e-5)


def test_ca_mkd_with_equal_teachers_does_not_care_which() -> None:
    bench = only(CAMKD())
    same = dataclasses.replace(bench.view, sources=(bench.view.sources[0],) * 3)

    expected = losses.kd(bench.view.logits, bench.view.teacher_logits[0], 4.0) / 3
    assert torch.allclose(bench.method.loss(same, bench.state), expected, atol=1e-5)


def test_ca_mkd_maps_wait_for_their_start_and_are_zero_on_equal_maps() -> None:
    bench = only(CAMKD(feature=50.0, feature_from=0.5, tap="stage1"))
    plain = only(CAMKD())
    early = bench.method.loss(at(bench, 0.49), bench.state)
    logits_only = plain.method.loss(
        dataclasses.replace(plain.view, own=bench.view.own, sources=bench.view.sources), plain.state
    )

    assert torch.allclose(early, logits_only)
    assert (bench.method.loss(bench.view, bench.state) > early).all()


def test_ca_mkd_weighs_alike_but_learns_otherwise_where_the_weights_are_detached() -> None:
    found = []
    for detach in (False, True):
        bench = only(CAMKD(feature=50.0, feature_from=0.0, tap="stage1", detach=detach))
        loss = bench.method.loss(bench.view, bench.state)
        found.append((loss.detach(), torch.autograd.grad(loss.sum(), list(bench.state.parameters()))[0]))
    (whole, flowing), (same, cut) = found

    assert torch.allclose(whole, same)
    assert not torch.allclose(flowing, cut)


def test_ca_mkd_compares_maps_as_heads_read_them() -> None:
    bench = only(CAMKD(feature=50.0, feature_from=0.0, tap="stage1"))

    def shown(change: Callable[[Tensor], Tensor]) -> Tensor:
        sources = tuple(
            dataclasses.replace(source, taps={**source.taps, "stage1": change(source.taps["stage1"] - 0.5)})
            for source in bench.view.sources
        )
        return bench.method.loss(dataclasses.replace(bench.view, sources=sources), bench.state)

    raw = shown(lambda maps: maps)
    assert torch.equal(raw, shown(torch.relu))
    assert not torch.allclose(raw, shown(torch.abs))


def test_amal_descends_the_loss_that_labels_have_in_training() -> None:
    job = toy_job(AMAL())
    fit = Fit(dataclasses.replace(job, optim=dataclasses.replace(job.optim, smoothing=0.1)))
    probe = fit._probe(fit.stage.roles[0])
    for views in probe.train(2):
        for view in views:
            [one_hot] = torch.eye(3)[fit.job.labels[view.batch.index]][None]
            assert torch.allclose(view.batch.target, 0.9 * one_hot + 0.1 / 3)
    held = probe.meta().batch
    assert torch.equal(held.target, torch.eye(3)[fit.job.labels[held.index]])


def test_maps_are_averaged_down_and_interpolated_up() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)

    assert resized(x, 2, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resized(x, 8, 8).shape == (1, 1, 8, 8)
    assert resized(x, 4, 4) is x
