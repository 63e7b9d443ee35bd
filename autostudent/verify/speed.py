"""Latency of the finalists, measured again when nothing else runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from autostudent.measure.latency import alone, measure_latency
from autostudent.records import LATENCY, Objective
from autostudent.report.words import cost
from autostudent.verify.claims import Measured
from autostudent.verify.networks import network_of

if TYPE_CHECKING:
    from autostudent.study import Preparation, Study

Times = Mapping[str, Mapping[str, float]]
TIMED = ("student", "rival")  # a control has its student's graph


def latencies(study: Study, prepared: Preparation, measured: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Milliseconds of one picture, with their interquartile range, of teacher, students and rivals by name."""
    data, device = study.dataset, torch.device(study.device)
    networks: dict[str, nn.Module] = {study.settings.teacher: prepared.teachers[study.settings.teacher].module}
    for entry in measured:
        if entry.contender.kind in TIMED:
            networks[entry.contender.name] = network_of(entry.contender.graphs[0], 0, data.mean, data.std)
    x = torch.rand(1, *data.shape, generator=torch.Generator().manual_seed(0)).to(device)
    with alone(device):
        found = {name: measure_latency(network.to(device), x) for name, network in networks.items()}
    return {name: {LATENCY: one.median_ms, "latency_spread_ms": one.spread_ms} for name, one in found.items()}


def too_slow(times: Times, objectives: Sequence[Objective], teacher: str) -> list[str]:
    """A line about each network but the teacher that took longer than the study allows its students."""
    limits = [objective for objective in objectives if objective.name == LATENCY and objective.limit is not None]
    return [
        f"{name} took {cost(LATENCY, found[LATENCY])} for a picture, more than {cost(LATENCY, limit.limit)}"
        for limit in limits
        for name, found in times.items()
        if name != teacher and not limit.admits(found[LATENCY])
    ]
