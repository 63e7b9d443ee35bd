"""What each method promises beyond the conformance suite: its own law, table, schedule or roles."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.fit import Fit
from autostudent.distill.method import Method
from autostudent.distill.methods.amal import AMAL, EDGE, hypergradient, logit_gradients
from autostudent.distill.methods.bd_kd import BDKD
from autostudent.distill.methods.ca_mkd import CAMKD, resized
from autostudent.distill.methods.ces_kd import CESKD
from autostudent.distill.methods.continuation_kd import ContinuationKD, annealed_share, label_share
from autostudent.distill.methods.ctkd import CTKD, adversary_strength
from autostudent.distill.methods.dgkd import DGKD
from autostudent.distill.methods.dkd import DKD, warmed
from autostudent.distill.methods.dml import DML
from autostudent.distill.methods.eskd import ESKD
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.none import NoTeacher
from autostudent.distill.methods.self_kd import SelfKD
from autostudent.distill.methods.sokd import SOKD, trunk_tap
from autostudent.distill.methods.ta_ensemble import TAEnsemble
from autostudent.distill.methods.takd import TAKD
from autostudent.distill.methods.teacher_sweet_spot import TeacherSweetSpot, shuffled
from autostudent.distill.types import NetworkInfo, Output, View
from autostudent.errors import ConfigError
from autostudent.testing.methods import BATCH, Bench, benches, toy_spec
from autostudent.testing.toys import toy_job


def only(method: Method, progress: float = 0.5) -> Bench:
    return benches(method, progress=progress)[0]


def at(bench: Bench, progress: float) -> View:
    return dataclasses.replace(bench.view, progress=progress)


def test_kd_mixes_labels_and_teacher() -> None:
    bench = only(KD(temperature=2.0, weight=0.7))
    labels = torch.nn.functional.cross_entropy(bench.view.logits, bench.view.batch.target, reduction="none")
    expected = 0.3 * labels + 0.7 * losses.kd(bench.view.logits, bench.view.teacher_logits[0], 2.0)

    assert torch.allclose(bench.objective(), expected)


def test_takd_is_its_loss_under_another_name() -> None:
    plain, assisted = only(KD()), only(TAKD(inner=KD()))

    assert torch.equal(plain.objective(), assisted.objective())


# ---- early stop ------------------------------------------------------------------------------------------------------


def test_eskd_is_the_loss_before_its_stop_and_labels_after() -> None:
    method = ESKD(inner=KD(), stop=0.6)
    before, after, plain = only(method, 0.59), only(method, 0.6), only(KD(), 0.59)

    assert torch.equal(before.objective(), plain.objective())
    assert after.method.label_weight(after.view, after.state) == 1.0
    assert after.method.loss(after.view, after.state).abs().sum() == 0


def test_eskd_at_its_ends_is_the_loss_or_labels() -> None:
    assert torch.equal(only(ESKD(inner=KD(), stop=1.0)).objective(), only(KD()).objective())
    assert torch.equal(only(ESKD(inner=KD(), stop=0.0)).objective(), only(NoTeacher()).objective())


# ---- curriculum temperature ------------------------------------------------------------------------------------------


def ctkd_by_hand(student: np.ndarray, teacher: np.ndarray, steps: int, rate: float, force: float) -> list[float]:
    """T of each step: r under SGD with momentum .9 and decay 5e-4, ascending the loss by central differences."""

    def temperature(r: float) -> float:
        return 1 + 20 / (1 + math.exp(-r))

    def objective(r: float) -> float:
        heat = temperature(r)
        logs = [z / heat - np.log(np.exp(z / heat).sum(1, keepdims=True)) for z in (teacher, student)]
        return float(0.9 * heat**2 * (np.exp(logs[0]) * (logs[0] - logs[1])).sum(1).mean())

    r, velocity, trajectory = 1.0, 0.0, [temperature(1.0)]
    for _ in range(steps):
        slope = (objective(r + 1e-5) - objective(r - 1e-5)) / 2e-5
        velocity = 0.9 * velocity - force * slope + 5e-4 * r
        r -= rate * velocity
        trajectory.append(temperature(r))
    return trajectory


@pytest.mark.parametrize("progress", [10 / 240, 1 / 240])
def test_ctkd_temperature_moves_as_in_a_twin_by_hand(progress: float) -> None:
    bench = only(CTKD(inner=KD()), progress)
    bench.state.double()
    view = dataclasses.replace(
        bench.view,
        own=dataclasses.replace(bench.view.own, logits=bench.view.logits.detach().double()),
        sources=tuple(dataclasses.replace(s, logits=s.logits.double()) for s in bench.view.sources),  # type: ignore[union-attr]
    )
    sgd = torch.optim.SGD(bench.state.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    method = bench.method
    assert isinstance(method, CTKD)
    seen = [float(method.temperature(bench.state, 1.0).detach())]
    for _ in range(30):
        sgd.zero_grad()
        method.loss(view, bench.state).mean().backward()
        sgd.step()
        seen.append(float(method.temperature(bench.state, 1.0).detach()))
    force = (1 - math.cos(math.pi * min(progress * 24, 1))) / 2
    by_hand = ctkd_by_hand(view.logits.numpy(), view.teacher_logits[0].numpy(), 30, 0.05, force)

    assert seen[0] == pytest.approx(15.6212, abs=1e-4)
    assert seen == pytest.approx(by_hand, abs=1e-6)
    assert abs(seen[-1] - seen[0]) < 1.0  # it moves slowly


def test_ctkd_ascends_in_temperature_while_the_student_descends() -> None:
    bench = only(CTKD(inner=KD(weight=1.0), rise=0.01), 0.5)
    bench.method.loss(bench.view, bench.state).sum().backward()
    plain = benches(KD(weight=1.0))[0]
    heat = torch.tensor(1 + 20 * torch.sigmoid(torch.tensor(1.0)).item(), requires_grad=True)
    view = dataclasses.replace(plain.view, temperature=heat)
    plain.method.loss(view, plain.state).sum().backward()
    assert heat.grad is not None
    sigmoid = 1 / (1 + math.exp(-1))
    raw = bench.state.raw
    assert isinstance(raw, Tensor)

    assert torch.allclose(bench.view.logits.grad, plain.view.logits.grad)  # type: ignore[arg-type]
    assert float(raw.grad) == pytest.approx(-float(heat.grad) * 20 * sigmoid * (1 - sigmoid), rel=1e-4)  # type: ignore[arg-type]


def test_ctkd_strength_follows_half_a_cosine() -> None:
    epochs = [adversary_strength(e / 240, 10 / 240) for e in (1, 5, 10, 200)]

    assert epochs == pytest.approx([0.0245, 0.5, 1.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("inner", [NoTeacher(), ContinuationKD()])
def test_ctkd_is_refused_over_a_loss_without_temperature(inner: Method) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        CTKD(inner=inner)


# ---- experts ---------------------------------------------------------------------------------------------------------


def test_ces_gives_easy_images_small_experts_and_opens_from_easy_to_hard() -> None:
    bench = only(CESKD(inner=KD(), start=1 / 3, until=0.5))
    method = bench.method
    assert isinstance(method, CESKD)
    experts = {p: method.expert(at(bench, p))[0].tolist() for p in (0.0, 0.25, 0.5, 1.0)}

    assert experts[0.0] == [2] * 12
    assert experts[0.25] == [2] * 4 + [1] * 8
    assert experts[0.5] == experts[1.0] == [2] * 4 + [1] * 4 + [0] * 4


def test_ces_without_curriculum_is_a_loss_for_each_bin() -> None:
    bench = only(CESKD(inner=KD(), start=1.0), 0.0)
    chosen = [2] * 4 + [1] * 4 + [0] * 4
    teacher = torch.stack([bench.view.teacher_logits[m][i] for i, m in enumerate(chosen)])
    expected = 0.9 * losses.kd(bench.view.logits, teacher, 4.0)

    assert torch.allclose(bench.method.loss(bench.view, bench.state), expected)


def test_ces_by_agreement_takes_the_expert_of_the_fact() -> None:
    method = CESKD(inner=KD(), score="ladder_agreement", start=1.0)
    bench = only(method)

    assert method.expert(bench.view)[0].tolist() == bench.view.facts["ladder_agreement"].tolist()


@pytest.mark.parametrize(("locked", "alone"), [("ce_only", 1.0), ("skip", 0.0)])
def test_ces_locked_images_hear_labels_or_nothing(locked: str, alone: float) -> None:
    bench = only(CESKD(inner=KD(), locked=locked), 0.0)
    weight = bench.method.label_weight(bench.view, bench.state)
    wrong = bench.method.loss(bench.view, bench.state)
    assert isinstance(weight, Tensor)

    assert weight.tolist() == pytest.approx([0.1] * 4 + [alone] * 8, abs=1e-6)
    assert wrong[4:].abs().sum() == 0
    assert (wrong[:4] > 0).all()


def test_ces_with_one_expert_is_kd() -> None:
    bench, plain = only(CESKD(inner=KD())), only(KD())
    view = dataclasses.replace(bench.view, sources=plain.view.sources, own=plain.view.own)

    assert torch.allclose(bench.method.loss(view, bench.state), plain.method.loss(plain.view, plain.state))


@pytest.mark.parametrize("inner", [NoTeacher(), DML(), CAMKD()])
def test_ces_is_refused_over_losses_that_do_not_take_one_teacher(inner: Method) -> None:
    with pytest.raises(ConfigError, match="one frozen teacher"):
        CESKD(inner=inner)


# ---- schedules -------------------------------------------------------------------------------------------------------


def test_continuation_climbs_the_stairs_of_its_paper() -> None:
    epochs, top = 200, 20
    by_paper, temperature = [], top
    for i in range(1, epochs + 1):  # Algorithm 1 with k = n / T_max, T held at 1
        temperature = temperature - 1 if i % (epochs // top) == 0 else temperature
        by_paper.append(1 - (max(temperature, 1) - 1) / top)

    assert [annealed_share(i / epochs, top) for i in range(1, epochs + 1)] == pytest.approx(by_paper)
    assert annealed_share(0.0, top) == pytest.approx(0.05)


def test_continuation_label_weight_ramps_jumps_or_steps() -> None:
    cifar = [label_share(i / 200, 0.75, 1.0, "ramp") for i in (1, 75, 150, 199)]
    glue = [label_share(i / 30, 40 / 30, 20.5 / 30, "ramp") for i in (1, 20, 21, 30)]
    annealing = [label_share(p, 0.75, 1.0, "step") for p in (0.0, 0.74, 0.76)]

    assert cifar == pytest.approx([1 / 150, 0.5, 1.0, 1.0])
    assert glue == pytest.approx([1 / 40, 0.5, 1.0, 1.0])
    assert annealing == [0.0, 0.0, 1.0]


def test_continuation_mixes_labels_and_distance() -> None:
    bench = only(ContinuationKD(margin=0.0), 0.5)
    share = 1 - 9 / 20
    distance = (bench.view.logits - share * bench.view.teacher_logits[0]).square().mean(1)

    assert torch.allclose(bench.method.loss(bench.view, bench.state), distance / 3)
    assert bench.method.label_weight(bench.view, bench.state) == pytest.approx(2 / 3)


def test_dkd_turns_the_teacher_up_epoch_by_epoch_as_in_its_code() -> None:
    assert [warmed(epoch / 240, 20 / 240) for epoch in range(1, 31)] == pytest.approx(
        [min(epoch / 20, 1.0) for epoch in range(1, 31)]
    )


def test_dkd_warms_up() -> None:
    bench = only(DKD())
    whole = bench.method.loss(at(bench, 0.5), bench.state)

    assert bench.method.loss(at(bench, 0.0), bench.state).abs().sum() == 0
    assert torch.allclose(bench.method.loss(at(bench, 10 / 240), bench.state), whole / 2)
    assert torch.equal(only(DKD(warmup=0.0), 0.0).objective(), only(DKD(warmup=0.0), 0.5).objective())


# ---- who teaches -----------------------------------------------------------------------------------------------------


def test_an_ensemble_of_one_voice_is_that_voice() -> None:
    bench, plain = only(TAEnsemble(inner=KD())), only(KD())
    first = torch.zeros(BATCH, len(bench.view.sources))
    first[:, 0] = 1.0
    view = dataclasses.replace(bench.view, facts={"ensemble_probabilities_accuracy": first})
    single = dataclasses.replace(plain.view, own=bench.view.own, sources=bench.view.sources[:1])

    assert torch.allclose(bench.method.loss(view, bench.state), plain.method.loss(single, plain.state), atol=1e-5)


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


# ---- tables and weights ----------------------------------------------------------------------------------------------


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
    bench = only(CAMKD(feature=50.0, tap="stage1"))
    plain = only(CAMKD())
    early = bench.method.loss(at(bench, 0.0), bench.state)
    logits_only = plain.method.loss(
        dataclasses.replace(plain.view, own=bench.view.own, sources=bench.view.sources), plain.state
    )

    assert torch.allclose(early, logits_only)
    assert (bench.method.loss(bench.view, bench.state) > early).all()


def test_maps_are_averaged_down_and_interpolated_up() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)

    assert resized(x, 2, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resized(x, 8, 8).shape == (1, 1, 8, 8)
    assert resized(x, 4, 4) is x


# ---- roles -----------------------------------------------------------------------------------------------------------


def test_bd_kd_trains_a_teacher_of_its_own_beside_the_student() -> None:
    fit = Fit(toy_job(BDKD(), epochs=4))
    before = {name: t.clone() for name, t in fit.networks["coach"].state_dict().items()}
    fit.run(2)

    assert fit.networks["coach"].width == 12  # the main teacher's architecture
    assert any(not torch.equal(before[name], t) for name, t in fit.networks["coach"].state_dict().items())
    assert fit.seconds["private"] > 0


def test_dml_peers_are_of_one_graph_and_learn_from_each_other() -> None:
    stage = DML().plan(toy_spec(DML())).stages[0]

    assert {role.name: role.learns_from for role in stage.roles} == {"student": ("peer",), "peer": ("student",)}
    assert stage.order == "alternate"


def test_self_kd_generations_share_the_run_and_learn_from_the_one_before() -> None:
    fit = Fit(toy_job(SelfKD(generations=2), teachers=0, epochs=9))
    fit.run(9)

    assert fit.stage_ends == (3, 6, 9)
    assert [stage.roles[0].learns_from for stage in fit.plan.stages] == [(), ("generation0",), ("generation1",)]
    assert {"generation0", "generation1", "student"} <= set(fit.networks)


def test_sokd_bridge_takes_the_last_stages() -> None:
    teacher = NetworkInfo("t", 10, 1, 8, {f"stage{n}": (8, 1) for n in range(1, 12)})
    shallow = NetworkInfo("t", 10, 1, 8, {"stage1": (8, 1), "penultimate": (8, 0)})

    assert (trunk_tap(teacher, 1), trunk_tap(teacher, 2), trunk_tap(shallow, 2)) == ("stage10", "stage9", "stage1")
    bridge = SOKD().plan(toy_spec(SOKD())).stages[0].roles[1]
    assert bridge.input == "teacher:0.stage2"
    assert bridge.learns_from == ("teachers", "student")


def test_views_of_the_suite_hold_only_what_is_needed() -> None:
    view = only(CESKD(inner=KD())).view

    assert set(view.facts) == {"difficulty"}
    assert view.own.taps == {}
    assert len(view.batch.index) == BATCH
