"""Networks of a proof from plain data: an architecture's JSON, or the origin of a torchvision model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from autostudent.build.network import build
from autostudent.space.architecture import Architecture
from autostudent.space.cost import costs
from autostudent.teach.making import measured_costs
from autostudent.teach.origin import blank


def foreign(graph: Mapping[str, Any]) -> bool:
    """Whether it is an origin (`autostudent.teach.origin`) and not an architecture."""
    return "kind" in graph


def network_of(graph: Mapping[str, Any], seed: int, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """An untrained network, normalising with ``mean`` and ``std`` unless the graph's origin says how.

    Raises:
        TeacherError: for a torchvision model that cannot read the data's pictures.
    """
    return blank(graph, seed) if foreign(graph) else build(Architecture.from_json(graph), seed, mean, std)


def costs_of(graph: Mapping[str, Any]) -> dict[str, int]:
    """Parameters, MACs and memory in bytes: exact ones of an architecture, measured ones of a foreign network.

    Raises:
        TeacherError: see `network_of`.
    """
    if not foreign(graph):
        return costs(Architecture.from_json(graph)).as_dict()
    measured = measured_costs(blank(graph, 0).eval(), torch.zeros(1, *graph["shape"]))
    return {name: round(value) for name, value in measured.items()}
