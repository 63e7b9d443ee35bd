"""Losses on what the teacher holds inside: their terms, whom they look at, and what learns beside the student."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autostudent.distill import map_losses
from autostudent.distill.fit import Fit
from autostudent.distill.hinted import Hinted
from autostudent.distill.job import Job
from autostudent.distill.methods import METHODS
from autostudent.distill.methods.at import AT
from autostudent.distill.methods.fitnets import FitNets
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.modality_gram import ModalityGram
from autostudent.distill.methods.pursuhint import Matched, PursuHint, matched
from autostudent.distill.methods.rkd import RKD
from autostudent.distill.methods.sp import SP
from autostudent.distill.types import Output, State, View
from autostudent.errors import ConfigError
from autostudent.testing.methods import Bench, toy_info, toy_spec
from autostudent.testing.toys import ToyNet, toy_job
from tests.distill.bench import only

NAMES = ("fitnets", "at", "sp", "rkd", "pursuhint", "modality_gram")


def made(name: str, **knobs: float) -> Hinted:
    kind: Any = METHODS[name]
    method: Hinted = kind(**knobs)
    return method


def silent(name: str) -> dict[str, float]:
    return {"distance": 0.0, "angle": 0.0} if name == "rkd" else {"beta": 0.0}


def with_maps(view: View, own: Callable[[Tensor], Tensor], teacher: Callable[[Tensor], Tensor]) -> View:
    """The view with each tap changed."""

    def changed(output: Output, change: Callable[[Tensor], Tensor]) -> Output:
        return dataclasses.replace(output, taps={name: change(tap) for name, tap in output.taps.items()})

    sources = tuple(changed(source, teacher) for source in view.sources)
    return dataclasses.replace(view, own=changed(view.own, own), sources=sources)


def same(x: Tensor) -> Tensor:
    return x


def as_teacher(bench: Bench, method: Hinted) -> tuple[View, State]:
    """A view in which the student has the teacher's maps, and the state of a student as wide as the teacher."""
    spec = toy_spec(method)
    shown = bench.view.sources[0].taps
    taps = dict(zip(method.needs.taps, shown.values(), strict=True))
    view = dataclasses.replace(bench.view, own=dataclasses.replace(bench.view.own, taps=taps))
    return view, method.init(dataclasses.replace(spec, student=toy_info("student", 6)))


@pytest.mark.parametrize("name", NAMES)
def test_without_hints_it_is_kd(name: str) -> None:
    bench, plain = only(made(name, labels=0.3, weight=0.7, temperature=2.0, **silent(name))), only(KD(2.0, 0.7))
    view = dataclasses.replace(plain.view, own=dataclasses.replace(bench.view.own, logits=plain.view.logits))
    view = dataclasses.replace(
        view, sources=(dataclasses.replace(plain.view.sources[0], taps=bench.view.sources[0].taps),)
    )

    assert torch.allclose(dataclasses.replace(bench, view=view).objective(), plain.objective())


@pytest.mark.parametrize("name", NAMES)
def test_without_a_weight_the_teachers_logits_do_not_count(name: str) -> None:
    bench = only(made(name, weight=0.0))
    mute = dataclasses.replace(bench.view.sources[0], logits=None)
    view = dataclasses.replace(bench.view, sources=(mute,))

    assert torch.equal(bench.method.loss(view, bench.state), bench.method.loss(bench.view, bench.state))


@pytest.mark.parametrize("name", NAMES)
def test_a_student_like_its_teacher_has_nothing_to_learn(name: str) -> None:
    method = made(name, weight=0.0)
    view, state = as_teacher(only(method), method)
    if name == "fitnets":
        state.regressor = nn.ReLU()  # the identity on what comes after a ReLU
    if name == "pursuhint":
        state.regressors = nn.ModuleList([nn.ReLU()] * 3)

    assert method.loss(view, state).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["at", "sp", "rkd", "modality_gram"])
def test_scales_of_maps_do_not_matter(name: str) -> None:
    method = made(name, weight=0.0)
    bench = only(method)
    louder = with_maps(bench.view, lambda x: 3 * x, lambda x: 0.2 * x)

    assert torch.allclose(method.loss(louder, bench.state), method.loss(bench.view, bench.state), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["fitnets", "at", "sp", "pursuhint", "modality_gram"])
def test_maps_count_as_the_next_layer_reads_them(name: str) -> None:
    method = made(name, weight=0.0)
    bench = only(method)
    rectified = with_maps(bench.view, torch.relu, torch.relu)

    assert torch.equal(method.loss(rectified, bench.state), method.loss(bench.view, bench.state))


@pytest.mark.parametrize("name", ["at", "sp", "rkd"])
def test_the_order_of_a_networks_channels_does_not_matter(name: str) -> None:
    method = made(name, weight=0.0)
    bench = only(method)
    mixed = with_maps(bench.view, lambda x: x.flip(1), lambda x: x.roll(1, 1))

    assert torch.allclose(method.loss(mixed, bench.state), method.loss(bench.view, bench.state), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_maps_of_any_two_sizes_can_be_compared(name: str) -> None:
    method = made(name)
    bench = only(method)
    half: Callable[[Tensor], Tensor] = lambda x: nn.functional.avg_pool2d(x, 2) if x.ndim == 4 else x  # noqa: E731

    for view in (with_maps(bench.view, half, same), with_maps(bench.view, same, half)):
        assert method.loss(view, bench.state).isfinite().all()


def test_at_is_the_sum_over_stages() -> None:
    bench = only(AT(stages=3))
    apart = [
        map_losses.attention_transfer(bench.view.own.taps[tap].relu(), bench.view.sources[0].taps[tap].relu())
        for tap in ("stage1", "stage2", "stage3")
    ]

    assert torch.allclose(bench.method.loss(bench.view, bench.state), 1000 * torch.stack(apart).sum(0))


def test_modality_gram_projects_networks_of_one_width_alike_and_every_stage_in_its_own_way() -> None:
    method = ModalityGram(width=16)
    state, again = only(method).state, only(method).state
    wide = method.init(dataclasses.replace(toy_spec(method), student=toy_info("student", 6)))
    buffers = dict(state.named_buffers())

    assert set(buffers) == {f"{who}_stage{n}" for who in ("own", "teacher") for n in (1, 2, 3)}
    assert all(torch.equal(buffers[name], buffer) for name, buffer in again.named_buffers())
    assert torch.equal(wide.get_buffer("own_stage1"), wide.get_buffer("teacher_stage1"))
    assert not torch.equal(wide.get_buffer("own_stage1"), wide.get_buffer("own_stage2"))
    assert not list(state.parameters())


def test_a_regressor_learns_beside_the_student_and_is_no_part_of_it() -> None:
    fit = Fit(toy_job(FitNets(stage=1)))
    state = fit.states["student"]
    before = [parameter.clone() for parameter in state.parameters()]
    alone = {name: tensor.shape for name, tensor in ToyNet(0, 4).state_dict().items()}
    fit.run(2)
    learned = {id(p) for group in fit.optimizers["student"].param_groups for p in group["params"]}

    assert {name: tensor.shape for name, tensor in fit.student.state_dict().items()} == alone
    assert len(before) == 4
    assert {id(parameter) for parameter in state.parameters()} <= learned
    assert all(not torch.equal(a, b) for a, b in zip(before, state.parameters(), strict=True))


@pytest.mark.parametrize("method", [AT(stages=4), FitNets(stage=4), SP(stage=4)], ids=repr)
def test_a_student_or_teacher_with_fewer_stages_is_refused(method: Hinted) -> None:
    def deeper(job: Job) -> Job:
        [source] = job.sources
        info = dataclasses.replace(source.info, taps={**source.info.taps, "stage4": (1, 4)})
        return dataclasses.replace(job, sources=(dataclasses.replace(source, info=info),))

    job = toy_job(method)
    with pytest.raises(ConfigError, match="no stage4'; expected networks that have it; student has stage1, stage2"):
        Fit(deeper(job))
    with pytest.raises(ConfigError, match=r"method .*: got 'no stage4'"):
        Fit(job)


def test_rkd_takes_maps_for_their_means() -> None:
    bench = only(RKD())
    vectors = bench.view
    spread = with_maps(vectors, lambda x: x[:, :, None, None].expand(-1, -1, 2, 2), same)

    assert torch.allclose(bench.method.loss(spread, bench.state), bench.method.loss(vectors, bench.state))


def test_hint_points_go_to_stages_of_like_depth_in_order() -> None:
    thirds = (1 / 3, 2 / 3, 1.0)

    assert matched([0.4], thirds) == (0,)
    assert matched([0.9], thirds) == (2,)
    assert matched([0.1, 0.2, 0.3], thirds) == (0, 1, 2)
    assert matched([0.6, 0.7], thirds) == (0, 1)
    assert matched([0.7, 0.8], thirds) == (1, 2)


def test_four_hint_points_need_four_stages() -> None:
    assert PursuHint(points=1).needs.taps == ("stage1", "stage2", "stage3")
    assert PursuHint(points=4).needs.taps == ("stage1", "stage2", "stage3", "stage4")
    assert PursuHint(points=4).needs.teacher_taps == ("hint1of4", "hint2of4", "hint3of4", "hint4of4")


def test_pursuhint_is_the_sum_over_its_points() -> None:
    method = PursuHint(points=2, hint="at", weight=0.0, beta=10.0)
    bench = only(method)
    state, own, shown = bench.state, bench.view.own.taps, bench.view.sources[0].taps
    assert isinstance(state, Matched)
    pairs = [(own[f"stage{place + 1}"], shown[f"hint{k}of2"]) for k, place in enumerate(state.places, 1)]
    parts = [map_losses.attention_transfer(a.relu(), b.relu()) for a, b in pairs]

    assert set(own) == {"stage1", "stage2", "stage3"}
    assert set(shown) == {"hint1of2", "hint2of2"}
    assert not list(state.parameters())
    assert torch.allclose(method.loss(bench.view, state), 10 * torch.stack(parts).sum(0))
