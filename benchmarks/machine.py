"""Where and when something was measured, said in one line: what the benchmarks of speed share."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "optuna", "ray", "botorch")


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def environment() -> str:
    """Machine, its load now, versions and day."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {processor()}, {os.cpu_count()} cores, load over 1, 5, 15 minutes "
        f"{load} (other programs were running); Python {platform.python_version()}, {packages}."
    )
