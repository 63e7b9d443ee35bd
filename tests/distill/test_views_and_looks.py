"""Which pictures a step sees, which of them teachers are asked about, and when a method looks around."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from autostudent.distill.fit import Fit
from autostudent.distill.method import Method
from autostudent.distill.types import Batch, Cadence, Needs, Output, Probe, State, View
from autostudent.testing.toys import ToyBank, toy_job


@dataclass(frozen=True)
class Watching(Method):
    """Asks one teacher, and notes how far the run is whenever it may look."""

    live: bool = False
    every: float = 0.0
    seen: list[float] = dataclasses.field(default_factory=list)

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="logits", live=self.live)

    @property
    def cadence(self) -> Cadence:
        return Cadence(every=self.every)

    def adapt(self, probe: Probe, state: State) -> None:
        self.seen.append(probe.progress)

    def loss(self, view: View, state: State) -> Tensor:
        return (view.logits - view.teacher_logits[0]).square().mean(1)


def test_every_epoch_has_its_view_until_they_begin_anew() -> None:
    job = toy_job(Watching(), epochs=5)
    fit = Fit(dataclasses.replace(job, bank=ToyBank(job.bank.plain(), 3)))
    batches = [next(fit._batches(epoch)) for epoch in range(5)]
    assert [batch.view for batch in batches] == [0, 1, 2, 0, 1]
    for batch in batches:
        assert torch.equal(batch.x, job.images(fit.job.bank.view(batch.view)[batch.index]))


def test_a_method_looks_as_often_as_it_asked_for() -> None:
    method = Watching(every=0.25)
    Fit(toy_job(method, epochs=9)).run(9)
    assert [round(progress * 27) for progress in method.seen] == [7, 14, 21]


@pytest.mark.parametrize("live", [False, True])
def test_a_teacher_is_asked_anew_where_what_is_stored_does_not_do(live: bool) -> None:
    job = toy_job(Watching(live=live), epochs=2)
    asked: list[int | None] = []

    def outputs(batch: Batch, taps: Sequence[str]) -> Output:
        asked.append(batch.view)
        return job.sources[0].outputs(batch, taps)

    Fit(dataclasses.replace(job, sources=(dataclasses.replace(job.sources[0], outputs=outputs),))).run(2)
    assert set(asked) == ({None} if live else {0, 1})
