"""Papers behind the methods that a study used."""

from __future__ import annotations

from collections.abc import Iterable


def citation(method: type) -> str:
    """One method class's paper: authors, year, title, where; a reconstruction or deviation is named."""
    paper = method.paper  # type: ignore[attr-defined]
    where = ", ".join(text for text in (paper.venue, f"arXiv {paper.arxiv}" if paper.arxiv else "") if text)
    note = f" Note: {paper.note}" if paper.note else ""
    who = f"{paper.authors} ({paper.year}). " if paper.authors else ""
    return f"{who}{paper.title}." + (f" {where}." if where else "") + note


def citations(labels: Iterable[str]) -> list[str]:
    """One text for each paper behind recipe labels such as ``takd`` or ``ctkd(kd)``, sorted by method.

    A label that ends in who teaches stands for plain distillation by it: ``takd`` cites ``kd`` too.
    """
    from autostudent.distill.methods import METHODS
    from autostudent.distill.recipe import QUIET

    ids: set[str] = set()
    for label in labels:
        parts = label.replace("(", " ").replace(")", " ").replace("+", " ").split()
        ids |= {*parts, *(("kd",) if parts and parts[-1] in QUIET else ())}
    return list(dict.fromkeys(citation(METHODS[name]) for name in sorted(ids) if name in METHODS and name != "none"))
