"""A training step never waits for its device: on "meta", where numbers cannot be read, every method goes through."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from autostudent.distill.fit import Fit
from autostudent.distill.method import Method, Wrapper
from autostudent.distill.methods import METHODS
from autostudent.distill.methods.kd import KD
from autostudent.distill.optim import SGD, Optim
from autostudent.testing.toys import toy_job


class Plain(Optim):
    """SGD without the fused kernel, which "meta" does not have."""

    def sgd(self, groups: list[dict[str, Any]], device: torch.device) -> SGD:
        return SGD(groups, self.lr, self.momentum, fused=False)


def meta_fit(method: Method) -> Fit:
    job = toy_job(method, teachers=method.needs.teachers[0])
    for source in job.sources:
        assert source.module is not None
        source.module.to("meta")
    return Fit(dataclasses.replace(job, device=torch.device("meta"), optim=Plain(epochs=9, batch_size=16)))


@pytest.mark.parametrize("name", METHODS)
def test_no_step_reads_a_number_from_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
    kind: Any = METHODS[name]
    fit = meta_fit(kind(inner=KD()) if issubclass(kind, Wrapper) else kind())
    for batch in fit._batches(0):
        assert fit._train_step(batch).device.type == "meta"
    assert fit.step == fit.steps_per_epoch


def test_a_step_that_reads_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
    fit = meta_fit(METHODS["none"]())
    monkeypatch.setattr(fit, "_update", lambda roles: fit._labels.sum().item())
    with pytest.raises((RuntimeError, NotImplementedError)):
        fit._train_step(next(fit._batches(0)))
