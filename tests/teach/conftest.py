import numpy as np
import pytest

from autostudent.assets import Assets
from autostudent.data.datasets import load
from autostudent.teach.teachers import resolve

SMALL = {"resnet": {"depth": 8, "width": 4}, "epochs": 2}


@pytest.fixture(scope="session")
def digits():
    return load({"name": "digits", "limit": 300})


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    return Assets(tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="session")
def teacher(digits, shared):
    return resolve("main", SMALL, digits, shared)


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """Ten classes of 8x8 RGB noise."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "colours.npz"
    np.savez(path, x_train=rng.integers(0, 256, (200, 8, 8, 3), dtype=np.uint8), y_train=np.arange(200) % 10)
    return load({"npz": str(path)})
