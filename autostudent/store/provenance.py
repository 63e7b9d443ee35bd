"""Which code and which packages worked on a study."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import autostudent

PACKAGES = (
    *("autostudent", "torch", "torchvision", "numpy", "networkx", "scipy", "scikit-learn"),
    *("gpytorch", "botorch", "optuna", "ray"),
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a study finds, as installed, none of them imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def revision() -> str | None:
    """The commit of the source tree that this package runs from, with ``-dirty`` when it was edited.

    None for an installed package: a repository that merely contains the environment says nothing about it.
    """
    package = Path(autostudent.__file__).resolve().parent
    if not (package.parent / ".git").exists():
        return None
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(package.parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
