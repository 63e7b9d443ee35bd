"""The training loop: cuts change nothing, roles and stages behave as planned, divergence is named."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from autostudent.distill.fit import Diverged, Fit
from autostudent.distill.job import derive_seed
from autostudent.distill.method import Method
from autostudent.distill.types import (
    Batch,
    Cadence,
    CopyOf,
    Needs,
    Plan,
    Probe,
    Role,
    Spec,
    Stage,
    State,
    TeacherCopy,
    TopOf,
    View,
)
from autostudent.errors import AutostudentError, ConfigError
from autostudent.testing.toys import ToyNet, toy_job


@dataclass(frozen=True)
class Labels(Method):
    def loss(self, view: View, state: State) -> Tensor:
        return torch.zeros(len(view.batch.index))


@dataclass(frozen=True)
class Match(Method):
    """Squared distance to the mean of the sources."""

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, None), access="logits")

    def loss(self, view: View, state: State) -> Tensor:
        target = torch.stack(view.teacher_logits).mean(0)
        return (view.logits - target).square().mean(1)


@dataclass(frozen=True)
class Roles(Match):
    """Any plan, with `Match` as everybody's loss."""

    stages: tuple[Stage, ...] = ()

    def plan(self, spec: Spec) -> Plan:
        return Plan(self.stages)


PLANS = {
    "peer": (
        Stage(
            (Role("student", learns_from=("peer",)), Role("peer", CopyOf("student"), ("student",))),
        ),
    ),
    "alternate": (
        Stage(
            (Role("student", learns_from=("teachers", "peer")), Role("peer", CopyOf("student"), ("student",))),
            order="alternate",
        ),
    ),
    "learning teacher": (
        Stage((Role("student", learns_from=("coach",)), Role("coach", TeacherCopy(), ("student",), method=Labels()))),
    ),
    "bridge": (
        Stage(
            (
                Role("student", learns_from=("bridge",)),
                Role("bridge", TopOf(0, "stage1"), ("teachers", "student"), input="teacher:0.stage1"),
            )
        ),
    ),
    "generations": (
        Stage((Role("first", CopyOf("student")),), epochs=0.4, schedule="stage", metric_valid=False),
        Stage((Role("student", learns_from=("first",)),), epochs=0.6, schedule="stage"),
    ),
}


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Forgetful(ToyNet):
    """A network from outside with dropout."""

    def features(self, x: Tensor, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        return super().features(torch.nn.functional.dropout(x, 0.3, self.training), taps)


def test_dropout_of_a_learning_teacher_is_drawn_by_seed_and_step_alone() -> None:
    job = toy_job(Roles(stages=PLANS["learning teacher"]), epochs=3)
    source = dataclasses.replace(job.sources[0], fresh=lambda s: Forgetful(s, 12))
    job = dataclasses.replace(job, sources=(source,))
    torch.manual_seed(1)
    whole = Fit(job)
    whole.run(3)

    torch.manual_seed(2)
    cut = Fit(job)
    cut.run(2)
    cut.annealed()
    cut = Fit.restore(job, cut.save())
    torch.rand(7)
    cut.run(3)
    assert same(whole.student, cut.student)
    other = Fit(dataclasses.replace(job, sources=job.sources, seed=6))
    other.run(3)
    assert not same(whole.student, other.student)
    plain = Fit(toy_job(Roles(stages=PLANS["learning teacher"]), epochs=3))
    plain.run(3)
    assert not same(whole.student, plain.student)  # there is dropout


@dataclass(frozen=True)
class Hearing(Labels):
    """Fails unless the labels that it is shown are whole."""

    def loss(self, view: View, state: State) -> Tensor:
        assert torch.equal(view.batch.target.amax(1), torch.ones(len(view.batch.index)))
        return super().loss(view, state)


def test_label_smoothing_is_the_cross_entropy_s_and_methods_see_the_labels() -> None:
    Fit(toy_job(Hearing(), 0, epochs=1, smoothing=0.3)).run(1)
    sharp, smooth = Fit(toy_job(Labels(), 0, epochs=2)), Fit(toy_job(Labels(), 0, epochs=2, smoothing=0.3))
    sharp.run(2)
    smooth.run(2)
    assert not same(sharp.student, smooth.student)


@pytest.mark.parametrize("name", [*PLANS, "single", "labels"])
def test_a_cut_training_ends_bit_for_bit_like_an_uncut_one(name: str) -> None:
    method: Method = Roles(stages=PLANS[name]) if name in PLANS else Match() if name == "single" else Labels()
    job = toy_job(method, teachers=0 if name == "labels" else 1)
    whole = Fit(job)
    whole.run(9)

    cut = Fit(job)
    for until in (1, 3, 9):
        cut.run(until)
        cut.annealed()
        cut = Fit.restore(job, cut.save())

    assert same(whole.student, cut.student)
    assert cut.epoch == 9


def test_training_learns_and_differs_by_seed() -> None:
    job = toy_job(Labels(), teachers=0, epochs=12)
    fit = Fit(job)
    fit.run(12)
    student = fit.annealed()
    accuracy = (student(job.images(job.bank.plain())).argmax(1) == job.labels).float().mean()
    other = Fit(dataclasses.replace(job, seed=6))
    other.run(12)

    assert accuracy > 0.9
    assert not same(fit.student, other.student)


def test_annealed_copy_leaves_the_training_alone_and_differs_from_raw_weights() -> None:
    fit = Fit(toy_job(Labels(), teachers=0, epochs=9))
    fit.run(3)
    before = {name: tensor.clone() for name, tensor in fit.student.state_dict().items()}

    scored = fit.annealed()

    assert all(torch.equal(before[name], tensor) for name, tensor in fit.student.state_dict().items())
    assert not same(scored, fit.student)
    assert not scored.training


def test_a_rung_is_scored_at_a_rate_that_falls_to_zero_from_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Fit(toy_job(Labels(), teachers=0, epochs=9))
    fit.run(8)
    now, rates, update = fit.lr, [], Fit._update

    def noted(self: Fit, roles: Sequence[Role]) -> None:
        rates.append(self.lr)
        update(self, roles)

    monkeypatch.setattr(Fit, "_update", noted)
    fit.annealed()
    assert 0 < now < 0.1
    assert rates == pytest.approx([now * 2 / 3, now / 3])  # 0.04 of 27 steps


def test_a_rung_at_the_end_of_a_stage_is_scored_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    role = Role("student", method=Labels())
    again = dataclasses.replace(role, start="role:student")
    fit = Fit(toy_job(Roles(stages=(Stage((role,), epochs=1 / 3), Stage((again,), epochs=2 / 3)))))
    fit.run(3)
    stages, step = [], Fit._train_step

    def noted(self: Fit, batch: Batch) -> Tensor:
        stages.append(self.stage_number)
        return step(self, batch)

    monkeypatch.setattr(Fit, "_train_step", noted)
    fit.annealed()
    assert set(stages) == {1}
    assert fit.stage_number == 0


def test_learning_rate_is_constant_in_the_middle_and_zero_at_the_end() -> None:
    fit = Fit(toy_job(Labels(), teachers=0, epochs=9))
    rates = []
    for epoch in range(1, 10):
        fit.run(epoch)
        rates.append(fit.lr)

    assert rates[0] == rates[3] == 0.1
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)
    assert sorted(rates, reverse=True) == rates


def test_frozen_teacher_is_never_changed() -> None:
    job = toy_job(Match())
    module = job.sources[0].module
    assert module is not None
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    Fit(job).run(3)

    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_divergence_is_named() -> None:
    job = toy_job(Labels(), teachers=0)
    fit = Fit(dataclasses.replace(job, optim=dataclasses.replace(job.optim, lr=1e30)))

    with pytest.raises(Diverged, match="epoch"):
        fit.run(9)


def test_missing_teachers_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="0 teachers"):
        Fit(toy_job(Match(), teachers=0))


def test_a_checkpoint_of_another_length_is_refused() -> None:
    fit = Fit(toy_job(Labels(), teachers=0, epochs=9))
    fit.run(1)

    with pytest.raises(AutostudentError, match="steps"):
        Fit.restore(toy_job(Labels(), teachers=0, epochs=10), fit.save())


def test_private_cost_is_kept_apart() -> None:
    fit = Fit(toy_job(Roles(stages=PLANS["peer"])))
    fit.run(2)

    assert fit.seconds["private"] > 0
    assert fit.seconds["student"] > 0


class Clock:
    """Seconds that pass with work alone: one a forward pass, two a backward pass."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        forward, backward = Fit._forward, Tensor.backward
        patch.setattr(time, "perf_counter", lambda: self.now)
        patch.setattr(Fit, "_forward", lambda *given: self.passed(1, forward(*given)))
        patch.setattr(Tensor, "backward", lambda *given: self.passed(2, backward(*given)))

    def passed(self, seconds: float, result: object) -> object:
        self.now += seconds
        return result


@pytest.mark.parametrize(
    ("name", "student", "private"),
    [
        ("single", 3, 0),
        ("peer", 2, 2),  # one backward pass on the sum of both losses
        ("alternate", 3, 5),  # the peer looks twice, and asks the student again after its update
        ("generations", 3, 1),  # the generation before is asked for every batch
    ],
)
def test_seconds_stand_in_the_column_of_the_network_they_are_spent_on(
    name: str, student: float, private: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Fit(toy_job(Roles(stages=PLANS[name]) if name in PLANS else Match()))
    fit.run(4)  # past the first stage of the generations
    before = dict(fit.seconds)
    Clock(monkeypatch)
    fit.run(5)
    steps = fit.steps_per_epoch

    assert fit.seconds["student"] - before["student"] == pytest.approx(student * steps)
    assert fit.seconds["private"] - before["private"] == pytest.approx(private * steps)


def test_generation_metrics_are_not_ranked_before_the_student_trains() -> None:
    fit = Fit(toy_job(Roles(stages=PLANS["generations"])))
    fit.run(1)
    early = fit.metric_valid
    fit.run(9)

    assert (early, fit.metric_valid) == (False, True)


def test_peers_start_from_different_weights() -> None:
    fit = Fit(toy_job(Roles(stages=PLANS["peer"])))

    assert not same(fit.networks["student"], fit.networks["peer"])
    assert isinstance(fit.student, ToyNet)


@pytest.mark.parametrize("order", ["joint", "alternate"])
def test_a_student_does_not_move_the_peer_that_it_learns_from(order: str) -> None:
    def peer(method: Method) -> torch.nn.Module:
        student = Role("student", learns_from=("peer",), method=method)
        stage = Stage((student, Role("peer", CopyOf("student"), (), method=Labels())), order=order)
        fit = Fit(toy_job(Roles(stages=(stage,))))
        fit.run(2)
        return fit.networks["peer"]

    assert same(peer(Match()), peer(Labels()))


def test_a_role_has_its_own_share_of_the_learning_rate() -> None:
    def moved(share: float) -> float:
        peer = Role("peer", CopyOf("student"), (), Labels(), lr_scale=share)
        stage = Stage((Role("student", learns_from=("peer",)), peer))
        fit = Fit(toy_job(Roles(stages=(stage,))))
        before = fit.networks["peer"].linear.weight.clone()
        fit._train_step(next(fit._batches(0)))
        return float((fit.networks["peer"].linear.weight - before).detach().norm())

    whole = moved(1.0)
    assert moved(0.0) == 0.0
    assert moved(0.5) == pytest.approx(whole / 2, rel=1e-3)


@dataclass(frozen=True)
class Looking(Labels):
    """Goes through its samples at the start."""

    @property
    def cadence(self) -> Cadence:
        return Cadence(start=True)

    def adapt(self, probe: Probe, state: State) -> None:
        assert not any(view.logits.requires_grad for views in probe.train(2) for view in views)


def test_a_look_at_the_samples_leaves_the_network_as_it_was() -> None:
    fit = Fit(toy_job(Looking(), teachers=0))
    before = {name: tensor.clone() for name, tensor in fit.student.state_dict().items()}
    fit._adapt()
    assert all(torch.equal(before[name], tensor) for name, tensor in fit.student.state_dict().items())
    assert fit.student.training


def test_seeds_are_functions_of_their_arguments() -> None:
    assert derive_seed(1, "a") == derive_seed(1, "a") != derive_seed(1, "b")


@pytest.mark.parametrize("order", ["joint", "alternate"])
def test_the_loss_that_counts_is_the_students_wherever_it_stands(order: str) -> None:
    @dataclass(frozen=True)
    class Loud(Match):
        def loss(self, view: View, state: State) -> Tensor:
            return super().loss(view, state) + 1e6

    peer = Role("peer", CopyOf("student"), ("student",), method=Loud())
    stage = Stage((peer, Role("student", learns_from=("peer",))), order=order)
    fit = Fit(toy_job(Roles(stages=(stage,))))

    assert float(fit._train_step(next(fit._batches(0)))) < 1e3
