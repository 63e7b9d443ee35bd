"""What a recipe's label says: ids of methods, ``takd`` or ``ctkd(dkd)``, from the outside in."""

from __future__ import annotations

import re

QUIET = ("takd", "ces_kd", "ta_ensemble", "teacher_sweet_spot")  # do not repeat that their loss is plain ``kd``


def methods_in(label: str) -> list[str]:
    """Ids of the methods behind a label; one that ends in who teaches stands for plain distillation by it."""
    ids = re.findall(r"[^\s()+]+", label)
    return [*ids, "kd"] if ids and ids[-1] in QUIET else ids
