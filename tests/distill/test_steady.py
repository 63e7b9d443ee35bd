"""Losses are recorded only where they read nothing that changes from step to step but tensors."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from autostudent.distill.job import generator
from autostudent.distill.method import Method, Wrapper
from autostudent.distill.methods import METHODS
from autostudent.distill.methods.ctkd import CTKD
from autostudent.distill.methods.dkd import DKD
from autostudent.distill.methods.kd import KD
from autostudent.distill.steady import MOVING, Unsteady, fill, form, is_fixed, read_steadily, slopes, steadied, tensors
from autostudent.distill.types import State, View
from autostudent.testing.methods import Bench, benches

STEADY = {"none", "kd", "nkd", "dist", "bd_kd", "tf_nkd", "takd", "dml", "at", "sp", "rkd"}  # at least these


def made(name: str) -> Method:
    kind: Any = METHODS[name]
    return kind(inner=KD()) if issubclass(kind, Wrapper) else kind()


def value(bench: Bench, view: View) -> torch.Tensor:
    return dataclasses.replace(bench, view=view).objective().mean()


@pytest.mark.parametrize("name", METHODS)
def test_a_steady_loss_is_the_loss_whatever_moves(name: str) -> None:
    tried = False
    for progress in (0.02, 0.5, 0.98):
        for bench in (b for b in benches(made(name), progress=progress) if is_fixed(b.state)):
            view = dataclasses.replace(bench.view, seed=int(1000 * progress), lr=progress)
            steady = steadied(view)
            told = read_steadily(lambda given, bench=bench: value(bench, given), steady)
            if told is None:
                continue
            tried = True
            assert torch.equal(told, value(bench, view))
            for mine, own in zip(slopes(told, steady.own), slopes(value(bench, view), view.own), strict=True):
                assert (mine is None) == (own is None)
                assert mine is None or torch.equal(mine, own)
    assert tried or name not in STEADY


def test_a_steadied_view_reads_what_it_is_filled_with() -> None:
    first, second = benches(KD(), seed=1)[0], benches(KD(), seed=2)[0]
    steady = dataclasses.replace(steadied(first.view), own=second.view.own)
    assert not torch.equal(value(first, steady), value(first, second.view))

    fill(steady, second.view)

    assert torch.equal(value(first, steady), value(first, second.view))
    assert all(not any(a is b for b in tensors(second.view)) for a in tensors(steady))


def test_views_of_another_form_are_told_apart() -> None:
    view = benches(KD())[0].view
    shorter = dataclasses.replace(view, batch=dataclasses.replace(view.batch, index=view.batch.index[:-1]))

    assert form(view) == form(steadied(view))
    assert form(view) != form(shorter)
    assert form(view) != form(dataclasses.replace(view, facts={"difficulty": torch.zeros(3)}))
    assert form(view) != form(dataclasses.replace(view, sources=()))
    plain = dataclasses.replace(view, batch=dataclasses.replace(view.batch, view=None))
    assert form(view) != form(plain)
    assert steadied(plain).batch.view is None


def test_a_loss_that_fails_on_what_moves_is_not_steady() -> None:
    def careful(view: View) -> torch.Tensor:
        assert isinstance(view.progress, float)
        return view.logits.sum()

    assert read_steadily(careful, steadied(benches(KD())[0].view)) is None


def test_a_loss_on_a_schedule_is_not_steady() -> None:
    bench = benches(DKD(warmup=0.2))[0]
    assert read_steadily(lambda given: value(bench, given), steadied(bench.view)) is None


def test_what_learns_or_remembers_is_not_recorded() -> None:
    assert is_fixed(benches(KD())[0].state)
    assert not is_fixed(benches(CTKD(inner=KD()))[0].state)
    counting = State()
    counting.calls = 0  # type: ignore[assignment]
    assert not is_fixed(counting)
    filling = State()
    filling.register_buffer("later", None)
    assert not is_fixed(filling)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x + 1, lambda x: 1 - x, lambda x: 2 * x, lambda x: x / 2, lambda x: x >= 0.5, lambda x: x == 1, float,
        int, bool, lambda x: min(1.0, x), lambda x: torch.ones(1) * x, lambda x: torch.Generator().manual_seed(x),
        lambda x: {x: 1}, lambda x: x.shape, len, str, repr, "{}".format, lambda x: f"{x}",
        lambda x: generator(x, "drop"),
    ],
)  # fmt: skip
def test_nothing_can_be_done_with_what_moves(read: Any) -> None:
    with pytest.raises((Unsteady, TypeError, RuntimeError)):
        read(MOVING)
