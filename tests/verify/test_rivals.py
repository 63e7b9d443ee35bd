"""What a torchvision model costs as a rival."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autostudent.settings import RivalSettings
from autostudent.teach.origin import blank
from autostudent.verify.networks import costs_of
from autostudent.verify.rivals import torchvision_models


@pytest.mark.slow
def test_heads_that_serve_training_alone_are_left_out() -> None:
    dataset = SimpleNamespace(mean=(0.5,), std=(0.25,), shape=(1, 32, 32), classes=tuple(range(10)))
    settings = SimpleNamespace(objectives=(), rivals=RivalSettings(torchvision=("googlenet",)))
    study: Any = SimpleNamespace(settings=settings, dataset=dataset, device="cpu")
    [origin] = torchvision_models(study, pytest.fail).values()

    assert costs_of(origin)["params"] == 5_610_154  # torchvision's 6,624,904 with a head of 10 classes instead of 1,000
    assert not any(name.startswith("network.aux") for name, _ in blank(origin, 0).named_parameters())
    del origin["auxiliary"]  # a teacher of that name: its checkpoint has them
    assert any(name.startswith("network.aux") for name, _ in blank(origin, 0).named_parameters())
