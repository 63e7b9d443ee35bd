"""The one place that imports torchvision.

A torchvision wheel built for another torch build (a CUDA wheel beside a CPU torch, for example) cannot load its
compiled operators, and then its own import fails, because it attaches fake kernels to ``torchvision::nms``. Data sets
and classifiers need none of these operators; declaring their signatures is enough for the import to succeed.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DECLARED: list[torch.library.Library] = []  # a declaration ends when its Library object is collected


def vision(part: str = "") -> ModuleType:
    """The torchvision package, or its module ``part`` ("datasets", "models", "transforms.functional")."""
    name = f"torchvision.{part}" if part else "torchvision"
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if _DECLARED or "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + _BOXES)
    _DECLARED.append(library)
    return importlib.import_module(name)
