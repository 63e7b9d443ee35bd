"""Recorded passes on a GPU do what the passes do when they run as they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from autostudent.build.network import build
from autostudent.data import datasets
from autostudent.data.views import ViewBank, images
from autostudent.distill.fit import Fit
from autostudent.distill.job import Job, network_info
from autostudent.distill.job import Source as Frozen
from autostudent.distill.method import Method
from autostudent.distill.methods import METHODS
from autostudent.distill.methods.ca_mkd import CAMKD
from autostudent.distill.optim import Optim
from autostudent.distill.replay import aligned
from autostudent.distill.types import Batch, Output
from autostudent.space.resnet import resnet

GPU = pytest.mark.gpu


def test_gradients_are_laid_out_as_their_parameters() -> None:
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    gradient = torch.rand(4, 3, 2, 2)
    laid = aligned(gradient, weight)
    assert laid is not None
    assert laid.stride() == weight.stride()
    assert torch.equal(laid, gradient)
    assert aligned(laid, weight) is laid
    assert aligned(None, weight) is None


def job_of(method: Method, teachers: int, device: str, epochs: int = 6, batch: int = 60) -> Job:
    """A small ResNet on some digits, with live teachers."""
    dataset = datasets.load({"name": "digits", "limit": 400})
    where = torch.device(device)

    def frozen(seed: int) -> Frozen:
        module = build(resnet(8, 12, dataset.input), seed, dataset.mean, dataset.std).eval().requires_grad_(False)
        module = module.to(where)

        @torch.no_grad()
        def outputs(batch: Batch, taps: object) -> Output:
            logits, tapped = module.features(batch.x, taps)  # type: ignore[arg-type]
            return Output(logits.float(), tapped)

        fresh = lambda s: build(resnet(8, 12, dataset.input), s, dataset.mean, dataset.std)  # noqa: E731
        return Frozen(network_info(f"t{seed}", module, 10), outputs, module, fresh)

    graph = resnet(8, 6, dataset.input)
    return Job(
        student=lambda s: build(graph, s, dataset.mean, dataset.std),
        method=method,
        sources=tuple(frozen(n) for n in range(teachers)),
        bank=ViewBank(dataset.train.x, epochs, 0, dataset.augment),
        labels=dataset.train.y,
        classes=10,
        optim=Optim(epochs=epochs, batch_size=batch, lr=0.05),
        seed=3,
        images=images,
        meta=dataset.meta,
        device=where,
    )


CASES = {
    "none": (METHODS["none"](), 0),
    "kd": (METHODS["kd"](), 1),
    "dml": (METHODS["dml"](), 0),
    "bd_kd": (METHODS["bd_kd"](), 1),
    "sokd": (METHODS["sokd"](), 1),
    "amal": (METHODS["amal"](), 1),
    "self_kd": (METHODS["self_kd"](), 0),
    "ca_mkd": (METHODS["ca_mkd"](feature=10.0), 2),  # type: ignore[call-arg]
    "fitnets": (METHODS["fitnets"](beta=10.0), 1),  # type: ignore[call-arg]
    "at": (METHODS["at"](weight=0.9), 1),  # type: ignore[call-arg]
    "sp": (METHODS["sp"](), 1),
    "rkd": (METHODS["rkd"](), 1),
    "modality_gram": (METHODS["modality_gram"](), 1),
    "ctkd": (METHODS["ctkd"](inner=METHODS["kd"]()), 1),  # type: ignore[call-arg]
}


RECORDED = {"none", "kd", "at", "sp", "rkd"}  # whose every loss is recorded too
UNRECORDED = {"amal", "ctkd", "ca_mkd", "dml", "fitnets", "modality_gram"}  # with a state, or roles that take turns


@GPU
@pytest.mark.parametrize("name", CASES)
def test_a_replayed_training_follows_the_same_path(name: str) -> None:
    method, teachers = CASES[name]
    job = job_of(method, teachers, "cuda")
    fits = [Fit(dataclasses.replace(job, replay=replay)) for replay in (True, False, False)]
    for fit in fits:
        fit.run(2)
    replayed, plain, again = ([p.detach().double().cpu() for p in fit.student.parameters()] for fit in fits)
    far = sum(float((a - b).square().sum()) for a, b in zip(replayed, plain, strict=True)) ** 0.5
    noise = sum(float((a - b).square().sum()) for a, b in zip(again, plain, strict=True)) ** 0.5
    size = sum(float(b.square().sum()) for b in plain) ** 0.5
    assert fits[0].step == fits[1].step
    passes = [known for replay in fits[0]._replays.values() for known in replay._known.values()]
    assert passes
    recorded = [known.loss is not None for known in passes]
    assert all(recorded) or name not in RECORDED
    assert not any(recorded) or name not in UNRECORDED
    assert far / size < max(0.02, 3 * noise / size), f"replayed {far / size:.2e}, twice the same {noise / size:.2e}"


@GPU
def test_a_loss_that_waits_for_the_device_spoils_no_later_recording() -> None:
    waits = CAMKD(weights="gradient", feature=0.0)
    for method, teachers, recorded in ((waits, 2, False), (METHODS["kd"](), 1, True)):
        fit = Fit(job_of(method, teachers, "cuda"))
        fit.run(2)
        (replay,) = fit._replays.values()
        assert [known.loss is not None for known in replay._known.values()] == [recorded]


@GPU
def test_a_replayed_training_can_be_cut_and_scored() -> None:
    job = job_of(METHODS["none"](), 0, "cuda", epochs=12, batch=30)
    fit = Fit(job)
    fit.run(6)
    score = fit.annealed()
    resumed = Fit.restore(job, fit.save())
    resumed.run(12)
    logits = resumed.student.eval()(images(job.bank.plain().cuda()))
    accuracy = float((logits.argmax(1).cpu() == job.labels).float().mean())
    assert accuracy > 0.9
    assert not score.training


@GPU
def test_momentum_and_statistics_move_as_often_as_steps() -> None:
    job = job_of(METHODS["kd"](), 1, "cuda")
    fit = Fit(job)
    fit.run(4)
    counted = [m.num_batches_tracked for m in fit.student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert counted
    assert all(int(number) == fit.step for number in counted if number is not None)
