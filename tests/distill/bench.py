"""The method under test on one toy batch, at one moment of its training."""

from __future__ import annotations

import dataclasses

from autostudent.distill.method import Method
from autostudent.distill.types import View
from autostudent.testing.methods import Bench, benches


def only(method: Method, progress: float = 0.5) -> Bench:
    return benches(method, progress=progress)[0]


def at(bench: Bench, progress: float) -> View:
    return dataclasses.replace(bench.view, progress=progress)
