"""What each method promises beyond the conformance suite: its own law, schedule or roles."""

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
from autostudent.distill.methods.amal import AMAL
from autostudent.distill.methods.bd_kd import BDKD
from autostudent.distill.methods.ca_mkd import CAMKD
from autostudent.distill.methods.ces_kd import CESKD
from autostudent.distill.methods.continuation_kd import ContinuationKD, annealed_share, label_share
from autostudent.distill.methods.ctkd import CTKD, adversary_strength
from autostudent.distill.methods.dgkd import DGKD
from autostudent.distill.methods.dist import DIST
from autostudent.distill.methods.dkd import DKD, warmed
from autostudent.distill.methods.dml import DML
from autostudent.distill.methods.eskd import ESKD
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.nkd import NKD
from autostudent.distill.methods.none import NoTeacher
from autostudent.distill.methods.self_kd import SelfKD
from autostudent.distill.methods.sokd import SOKD, trunk_tap
from autostudent.distill.methods.takd import TAKD
from autostudent.distill.types import Batch, NetworkInfo, Output, State, View
from autostudent.errors import ConfigError
from autostudent.testing.methods import BATCH, benches, toy_spec
from autostudent.testing.toys import toy_job
from tests.distill.bench import at, only


def test_kd_mixes_labels_and_teacher() -> None:
    bench = only(KD(temperature=2.0, weight=0.7))
    labels = torch.nn.functional.cross_entropy(bench.view.logits, bench.view.batch.target, reduction="none")
    expected = 0.3 * labels + 0.7 * losses.kd(bench.view.logits, bench.view.teacher_logits[0], 2.0)

    assert torch.allclose(bench.objective(), expected)


def test_kd_averaged_over_classes_is_torchs_default_as_in_the_code_of_takd_and_dgkd() -> None:
    bench = only(KD(temperature=2.0, weight=0.7, kl_reduction="elementmean"))
    own, taught = bench.view.logits, bench.view.teacher_logits[0]
    divergence = torch.nn.functional.kl_div((own / 2).log_softmax(1), (taught / 2).softmax(1), reduction="none").mean()
    summed = only(DGKD(drop=0)).method
    averaged = dataclasses.replace(summed, kl_reduction="elementmean")
    view = only(summed).view

    assert torch.allclose(bench.method.loss(bench.view, bench.state).mean(), 0.7 * 4 * divergence)
    assert torch.allclose(averaged.loss(view, State()) * view.logits.shape[1], summed.loss(view, State()))


def test_takd_is_its_loss_under_another_name() -> None:
    plain, assisted = only(KD()), only(TAKD(inner=KD()))

    assert torch.equal(plain.objective(), assisted.objective())


def test_eskd_is_the_loss_before_its_stop_and_labels_after() -> None:
    method = ESKD(inner=KD(), stop=0.6)
    before, after, plain = only(method, 0.59), only(method, 0.6), only(KD(), 0.59)

    assert torch.equal(before.objective(), plain.objective())
    assert after.method.label_weight(after.view, after.state) == 1.0
    assert after.method.loss(after.view, after.state).abs().sum() == 0


def test_eskd_at_its_ends_is_the_loss_or_labels() -> None:
    assert torch.equal(only(ESKD(inner=KD(), stop=1.0)).objective(), only(KD()).objective())
    assert torch.equal(only(ESKD(inner=KD(), stop=0.0)).objective(), only(NoTeacher()).objective())


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


@pytest.mark.parametrize("inner", [NKD(), NKD(gamma=0.25)], ids=repr)
def test_ctkd_moves_the_temperature_of_a_cross_entropy_as_slowly_as_that_of_a_divergence(inner: Method) -> None:
    def pull(method: Method) -> float:
        bench = only(CTKD(inner=method, rise=0.01), 0.5)
        bench.method.loss(bench.view, bench.state).mean().backward()
        return abs(float(bench.state.raw.grad))  # type: ignore[union-attr, arg-type]

    assert pull(inner) < 10 * pull(KD(weight=1.0))


def test_nkd_under_a_learned_temperature_teaches_the_student_the_same() -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 8, 5, generator=draw)
    target = torch.eye(5)[torch.arange(8) % 5]
    told = []
    for heat in (4.0, torch.tensor(4.0, requires_grad=True)):
        own = student.clone().requires_grad_()
        loss = losses.nkd(own, teacher, target, heat, 1.5)
        told.append((loss.detach(), torch.autograd.grad(loss.sum(), own)[0]))
    for fixed, learned in zip(*told, strict=True):
        torch.testing.assert_close(fixed, learned)


def test_ctkd_strength_follows_half_a_cosine() -> None:
    epochs = [adversary_strength(e / 240, 10 / 240) for e in (1, 5, 10, 200)]

    assert epochs == pytest.approx([0.0245, 0.5, 1.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("inner", [NoTeacher(), ContinuationKD()])
def test_ctkd_is_refused_over_a_loss_without_temperature(inner: Method) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        CTKD(inner=inner)


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


def test_bd_kd_trains_a_teacher_of_its_own_beside_the_student() -> None:
    fit = Fit(toy_job(BDKD(), epochs=4))
    before = {name: t.clone() for name, t in fit.networks["coach"].state_dict().items()}
    fit.run(2)

    assert fit.networks["coach"].width == 12  # the main teacher's architecture
    assert any(not torch.equal(before[name], t) for name, t in fit.networks["coach"].state_dict().items())
    assert fit.seconds["private"] > 0


def test_bd_kd_turns_to_the_divergence_of_its_direction_and_its_coach_hears_the_student() -> None:
    view = only(KD()).view
    student, teacher, told = view.logits, view.teacher_logits[0], []
    for direction, opposite in (("forward_when_sure", False), ("reverse_when_sure", True)):
        method = BDKD(temperature=2.0, emphasis=3.0, weight=0.5, direction=direction)
        told.append(method.loss(view, State()))
        by_hand = 0.5 * 4 * losses.balanced_divergence(student, teacher, 2.0, 3.0, opposite=opposite)
        assert torch.allclose(told[-1], by_hand)
    assert not torch.allclose(*told)
    coach = method.plan(toy_spec(method)).stages[0].roles[1].method
    assert torch.allclose(coach.loss(view, State()), 0.5 * 4 * losses.forward_kl(student, teacher, 2.0))


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


@pytest.mark.parametrize("wrapped", [ESKD(inner=SelfKD(), stop=0.5), CTKD(inner=SelfKD(), rise=0.5)], ids=repr)
def test_schedules_of_a_taught_generation_are_counted_over_its_own_training(wrapped: Method) -> None:
    fit = Fit(toy_job(wrapped, teachers=0, epochs=8))
    seen = []
    for epoch in range(8):
        fit.run(epoch + 1)
        role = fit.stage.roles[0]
        batch = next(fit._batches(epoch))
        fit.step -= fit.steps_per_epoch  # as it was when this epoch began
        seen.append(fit._view(role, batch, fit._forward(role, batch, ()), {}).progress)
        fit.step += fit.steps_per_epoch

    assert seen == [0, 0.25, 0.5, 0.75] * 2


def test_sokd_bridge_takes_the_last_stages() -> None:
    teacher = NetworkInfo("t", 10, 1, 8, {f"stage{n}": (8, 1) for n in range(1, 12)})
    shallow = NetworkInfo("t", 10, 1, 8, {"stage1": (8, 1), "penultimate": (8, 0)})

    assert (trunk_tap(teacher, 1), trunk_tap(teacher, 2), trunk_tap(shallow, 2)) == ("stage10", "stage9", "stage1")
    bridge = SOKD().plan(toy_spec(SOKD())).stages[0].roles[1]
    assert bridge.input == "teacher:0.stage2"
    assert bridge.learns_from == ("teachers", "student")
    assert SOKD(bridge_lr=0.5).plan(toy_spec(SOKD())).stages[0].roles[1].lr_scale == 0.5


def test_sokd_weighs_labels_teacher_and_student_each_for_itself() -> None:
    method = SOKD(labels=0.5, bridge_labels=3.0, bridge_teacher=2.0, bridge_student=0.25)
    bridge = method.plan(toy_spec(method)).stages[0].roles[1].method
    first = only(KD()).view
    student = Output(first.teacher_logits[0].flip(1))
    view = dataclasses.replace(first, sources=(*first.sources[:1], student))
    parts = [losses.kd(view.logits, teacher, 4.0) for teacher in view.teacher_logits]

    assert torch.allclose(bridge.loss(view, State()), 2.0 * parts[0] + 0.25 * parts[1])
    assert (method.label_weight(view, State()), bridge.label_weight(view, State())) == (0.5, 3.0)


def test_views_of_the_suite_hold_only_what_is_needed() -> None:
    view = only(CESKD(inner=KD())).view

    assert set(view.facts) == {"difficulty"}
    assert view.own.taps == {}
    assert len(view.batch.index) == BATCH


def test_a_moved_temperature_does_not_let_correlations_explode() -> None:
    """DIST under a temperature that an adversary drives up: its gradient stays of the size that its own one gives."""
    draw = torch.Generator().manual_seed(0)
    teacher = torch.randn(32, 10, generator=draw) * 3
    own = (torch.randn(32, 10, generator=draw) * 3).requires_grad_()
    method = DIST(temperature=2.0)
    sizes = []
    for heat in (None, 2.0, 30.0):
        batch = Batch(torch.zeros(32, 1), torch.full((32, 10), 0.1), torch.arange(32))
        view = View(batch, Output(own), (Output(teacher),), 0.5, temperature=heat)
        (gradient,) = torch.autograd.grad(method.loss(view, State()).sum(), own)
        sizes.append(float(gradient.norm()))
    assert sizes[0] == pytest.approx(sizes[1])
    assert sizes[2] < 5 * sizes[1]


@pytest.mark.parametrize("stop", [1 / 3, 1.0])
def test_after_the_stop_nothing_is_learned_of_how_to_mix(stop: float) -> None:
    fit = Fit(toy_job(ESKD(inner=AMAL(every=0.1), stop=stop)))
    fit.run(3)
    table = fit.states["student"].inner.table.clone()  # type: ignore[union-attr, operator]
    fit.run(9)
    assert torch.equal(table, fit.states["student"].inner.table) == (stop < 1)  # type: ignore[union-attr, arg-type]
