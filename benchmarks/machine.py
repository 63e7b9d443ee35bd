"""Where, when and with what something was measured: what all benchmarks share."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("autostudent", "torch", "torchvision", "numpy", "scipy", "optuna", "ray", "botorch", "gpytorch", "networkx")


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def facts() -> dict[str, Any]:
    """Machine, its load now, versions and day, for a file of figures."""
    return {
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: number for name in PACKAGES if (number := installed(name))},
    }


def installed(name: str) -> str:
    """The version of a package, nothing where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def environment() -> str:
    """The same in one line, for a page."""
    known = facts()
    packages = ", ".join(f"{name} {number}" for name, number in known["packages"].items())
    load = ", ".join(str(value) for value in known["load"])
    gpu = f"{known['gpu']}, " if known["gpu"] else ""
    return (
        f"Measured on {known['day']}: {gpu}{known['processor']}, {known['cores']} cores, "
        f"load over 1, 5, 15 minutes {load}; Python {known['python']}, {packages}."
    )
