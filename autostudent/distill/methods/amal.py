"""Adaptive mixing of auxiliary losses. Sivasubramanian et al. 2023, arXiv 2202.03250."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Cadence, Needs, Probe, Spec, State, View

EDGE = 1e-7  # mixing weights stay in [EDGE, 2 - EDGE]
PAPER_BATCH = 128  # batch size for which the official step is meant


def logit_gradients(student: Tensor, teachers: Sequence[Tensor], target: Tensor, temperature: float) -> Tensor:
    """``(B, 1+M, C)``: gradients for the student's logits of the batch mean of each sample's CE and T² KL.

    The first is (p_s - target) / B, those of the teachers T (p_s(T) - p_t(T)) / B.
    """
    own = torch.softmax(student / temperature, 1)
    parts = [torch.softmax(student, 1) - target]
    parts += [temperature * (own - torch.softmax(teacher / temperature, 1)) for teacher in teachers]
    return torch.stack(parts, 1) / len(student)


def hypergradient(
    mixing: Tensor,
    gradients: Tensor,
    features: Tensor,
    meta_logits: Tensor,
    meta_features: Tensor,
    meta_target: Tensor,
    lr: float,
) -> Tensor:
    """d CE_meta / d mixing ``(n, 1+M)`` after one virtual step of size ``lr`` of the last layer alone.

    ``mixing`` ``(n, 1+M)``, ``gradients`` ``(n, 1+M, C)``, ``features`` ``(n, D)`` of n training samples; ``meta_*`` of
    V held-out ones. With G_b, G_W the mixed gradients of bias and weight and z' = z - lr (G_b + h G_W), the derivative
    is <-lr (Σ_v R_v + h_i (h_metaᵀ R)), gradient_i>, R = (softmax(z') - target) / V.
    """
    mixed = torch.einsum("nm,nmc->nc", mixing, gradients)
    moved = meta_logits - lr * (mixed.sum(0) + meta_features @ (features.T @ mixed))
    residual = (torch.softmax(moved, 1) - meta_target) / len(meta_target)
    pull = -lr * (residual.sum(0) + features @ (meta_features.T @ residual))
    return torch.einsum("nc,nmc->nm", pull, gradients)


@dataclass(frozen=True)
class AMAL(Method):
    """λ_0 CE + Σ_m λ_m T² KL(p_m ‖ p_s), with its own λ for each training sample, learned on the meta split.

    Every ``every`` of the run a table ``(N, 1+M)`` of λ takes ``inner`` steps down the meta split's loss after a
    virtual step of the student's last layer, in closed form, for ``group`` mini-batches at a time.

    Note: the step is scaled by B / 128, the batch size that it is meant for. One meta batch serves a whole refresh (the
    student does not change during it); the official code cycles through several. With several teachers the terms add
    up, to M times 2 T² at most, and λ tends to grow, because a longer step lowers the meta loss too: a toy network with
    three teachers learned its samples with every seed at learning rate 0.05 and with few at 0.1.
    """

    paper = Paper(
        "Adaptive Mixing of Auxiliary Losses in Supervised Learning",
        "Durga Sivasubramanian and Ayush Maheshwari and Pradeep Shenoy and Prathosh AP and Ganesh Ramakrishnan",
        2023,
        arxiv="2202.03250",
        venue="AAAI",
        note="last-layer gradients in closed form; the meta step scaled by B / 128; one meta batch a refresh",
    )
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    teacher_weight: float = hp(0.9, low=0.1, high=0.95, doc="λ of every teacher at the beginning; labels get the rest")
    meta_lr: float = hp(1500.0, low=150.0, high=15000.0, log=True, doc="step on λ")
    inner: int = hp(5, low=1, high=5, doc="steps a refresh")
    every: float = hp(0.05, low=0.02, high=0.5, log=True, doc="share of the run between refreshes")
    group: int = hp(3, low=1, high=8, doc="mini-batches that are mixed in one virtual step")

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, None), access="logits", meta=True)

    @property
    def cadence(self) -> Cadence:
        return Cadence(every=self.every)

    def init(self, spec: Spec) -> State:
        table = torch.full((spec.samples, 1 + len(spec.teachers)), self.teacher_weight)
        table[:, 0] = 1 - self.teacher_weight
        state = State()
        state.register_buffer("table", table)
        return state

    def loss(self, view: View, state: State) -> Tensor:
        mixing, heat = mixing_of(view, state), view.heat(self.temperature)
        terms = [losses.kd(view.logits, teacher, heat) for teacher in view.teacher_logits]
        return (mixing[:, 1:] * torch.stack(terms, 1)).sum(1)

    def label_weight(self, view: View, state: State) -> Tensor:
        return mixing_of(view, state)[:, 0]

    def adapt(self, probe: Probe, state: State) -> None:
        held = probe.meta()
        for views in probe.train(self.group):
            self.refresh(views, held, probe.lr, state)

    def refresh(self, views: Sequence[View], held: View, lr: float, state: State) -> None:
        """Moves the λ of the samples in ``views`` by ``inner`` steps, in place."""
        index = torch.cat([view.batch.index for view in views])
        gradients = torch.cat(
            [
                logit_gradients(v.logits, v.teacher_logits, v.batch.target, float(v.heat(self.temperature)))
                for v in views
            ]
        )
        features = torch.cat([view.own.taps["penultimate"] for view in views]).flatten(1)
        meta_features = held.own.taps["penultimate"].flatten(1)
        table = state.table
        assert isinstance(table, Tensor)
        mixing = table[index.to(table.device)]
        step = self.meta_lr * len(views[0].batch.index) / PAPER_BATCH
        for _ in range(self.inner):
            slope = hypergradient(mixing, gradients, features, held.logits, meta_features, held.batch.target, lr)
            mixing = (mixing - step * slope).clamp(EDGE, 2 - EDGE)
        table[index.to(table.device)] = mixing


def mixing_of(view: View, state: State) -> Tensor:
    """The λ ``(B, 1+M)`` of the samples of a batch."""
    assert isinstance(state.table, Tensor)
    return state.table[view.batch.index.to(state.table.device)]
