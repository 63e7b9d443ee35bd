"""Every method on a bank with MixUp: soft targets, index and facts of the picture with the larger share."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from autostudent.data.views import Augment, ViewBank
from autostudent.distill.fit import Fit
from autostudent.distill.job import Job
from autostudent.distill.method import Method, Wrapper
from autostudent.distill.methods import METHODS
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.teacher_sweet_spot import TeacherSweetSpot
from autostudent.errors import ConfigError
from autostudent.testing.toys import toy_job


def mixed(method: Method, alpha: float = 1.0, **optim: float) -> Job:
    job = toy_job(method, teachers=max(method.needs.teachers[0], 0), **optim)
    return dataclasses.replace(job, bank=ViewBank(job.bank.plain(), 9, 1, Augment(1, False, alpha), job.meta))


def made(name: str) -> Method:
    kind: Any = METHODS[name]
    method: Method = kind(inner=KD()) if issubclass(kind, Wrapper) else kind()
    return method


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_from_mixed_views_and_can_be_cut(name: str) -> None:
    job = mixed(made(name), smoothing=0.1)
    whole = Fit(job)
    whole.run(9)
    cut = Fit(job)
    cut.run(4)
    cut = Fit.restore(job, cut.save())
    cut.run(9)
    before, after = whole.student.state_dict(), cut.student.state_dict()
    assert all(torch.equal(before[key], after[key]) and bool(torch.isfinite(after[key]).all()) for key in before)


def test_the_largest_entry_of_a_target_is_the_label_of_the_index() -> None:
    fit = Fit(mixed(KD(), smoothing=0.1))
    seen = 0
    for epoch in range(3):
        mixing = fit.job.bank.mixing(epoch)
        assert isinstance(fit.job.bank, ViewBank)
        pictures = fit.job.images(fit.job.bank.view(epoch))
        for batch in fit._batches(epoch):
            assert torch.equal(batch.target.argmax(1), fit.job.labels[batch.index])
            assert torch.equal(batch.x, pictures[batch.index])
            assert torch.allclose(batch.target.sum(1), torch.ones(len(batch.index)))
            assert mixing is not None
            assert torch.equal(batch.target, mixing.targets(fit._soft, fit._labels, batch.index))
            seen += int((batch.target.amax(1) < 0.9).sum())
    assert seen > 20


def test_pictures_of_the_meta_split_are_neither_mixed_nor_trained_on() -> None:
    fit = Fit(mixed(made("amal")))
    assert fit.job.meta is not None
    held = set(fit.job.meta.tolist())
    for batch in fit._batches(0):
        mixing = fit.job.bank.mixing(0)
        assert not held & set(batch.index.tolist())
        assert not held & set(mixing.partner[batch.index].tolist())  # type: ignore[union-attr]
    view = fit._probe(fit.stage.roles[0]).meta()
    assert set(view.batch.index.tolist()) == held
    assert torch.equal(view.batch.x, fit.job.images(fit.job.bank.plain()[view.batch.index]))
    assert torch.equal(view.batch.target, torch.eye(3)[fit.job.labels[view.batch.index]])


def test_what_shuffles_beside_one_label_is_refused() -> None:
    with pytest.raises(ConfigError, match="TeacherSweetSpot: got 'mixed views'; expected views without MixUp"):
        Fit(mixed(TeacherSweetSpot(permute=True, inner=KD())))
    Fit(mixed(TeacherSweetSpot(permute=True, inner=KD()), alpha=0.0))
    assert made("ces_kd").needs.one_label is False
