"""Papers behind the methods that a study used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autostudent.distill.labels import methods_in


def citation(method: type) -> str:
    """One method class's paper: authors, year, title, where; a reconstruction or deviation is named."""
    paper = method.paper  # type: ignore[attr-defined]
    where = ", ".join(text for text in (paper.venue, f"arXiv {paper.arxiv}" if paper.arxiv else "") if text)
    note = f" Note: {paper.note}" if paper.note else ""
    who = f"{paper.authors} ({paper.year}). " if paper.authors else ""
    return f"{who}{paper.title}." + (f" {where}." if where else "") + note


def papers(labels: Iterable[str]) -> dict[str, str]:
    """Citations by method, sorted, of everything behind recipe labels such as ``takd`` or ``ctkd(kd)``.

    Plain training is left out. A method that is not installed here, or names no paper, has an empty text: a citation is
    never worth a crash.
    """
    from autostudent.distill.methods import find_method  # torch, which a page does not need otherwise

    found = {}
    for name in behind(labels):
        try:
            found[name] = citation(find_method("method", name))
        except Exception:  # whatever a plug-in raises when it is loaded
            found[name] = ""
    return found


def citations(labels: Iterable[str], known: Mapping[str, str] | None = None) -> list[str]:
    """One text for each paper behind recipe labels, sorted by method.

    Args:
        labels: of recipes.
        known: what `papers` found when the study began; methods are looked up only where one is missing.
    """
    ids, known = behind(labels), known or {}
    if missing := [name for name in ids if name not in known]:
        known = {**papers(missing), **known}
    return list(dict.fromkeys(known[name] for name in ids if known[name]))


def behind(labels: Iterable[str]) -> list[str]:
    """Ids of all methods behind the labels but plain training, sorted; "unknown" stands for no label."""
    return sorted({name for label in labels for name in methods_in(label)} - {"none", "unknown"})
