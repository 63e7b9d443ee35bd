"""Weights from files: what is in them, before any network is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autostudent.errors import TeacherError
from autostudent.teach.weights import read_state


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, name: str, number: float) -> None:
    path = tmp_path / name
    save = save_file if name.endswith("safetensors") else torch.save
    state = {"seen": torch.tensor(3), "head.bias": torch.zeros(5, dtype=torch.float64)}
    save(state, path)
    assert read_state(path).keys() == state.keys()
    state["head.bias"][2] = number
    save(state, path)
    with pytest.raises(TeacherError, match=f"{name} holds numbers in head.bias that are not finite") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
