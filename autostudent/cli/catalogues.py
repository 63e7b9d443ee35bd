"""``methods`` and ``spaces``: what a study file may name."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from autostudent.cli.options import AsJson
from autostudent.cli.shown import as_json, out

if TYPE_CHECKING:
    from autostudent.distill.method import Method, Paper
    from autostudent.records import Value
    from autostudent.space.params import Param


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[ID]", help="One method in detail.")] = None,
    json: AsJson = False,
) -> None:
    """The distillation methods, with their papers, needs and hyperparameters."""
    from autostudent.distill.methods import METHODS, find_method, plugins

    if name is not None:
        rows = [row_of(name, find_method("method", name))]
    else:
        rows = [row_of(key, method) for key, method in METHODS.items()] + [outside(key) for key in sorted(plugins())]
    if json:
        as_json(rows if name is None else rows[0])
    elif name is not None:
        show_method(rows[0])
    else:
        grid = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("id", "paper", "needs", "knobs"):
            grid.add_column(title)
        for row in rows:
            needs, names = "; ".join(row["needs"]), ", ".join(knob["name"] for knob in row["hyperparameters"])
            paper = short(METHODS[row["id"]].paper) if row["id"] in METHODS else row["paper"]
            grid.add_row(row["id"], escape(paper), escape(needs), escape(names))
        out.print(grid)


def row_of(name: str, method: type[Method]) -> dict[str, Any]:
    """A method's row: paper, needs, hyperparameters."""
    from autostudent.report.cite import citation

    return {"id": name, "paper": citation(method), **details(method)}


def outside(name: str) -> dict[str, Any]:
    """The row of a plug-in's method; of one that cannot be used, why."""
    from autostudent.distill.methods import find_method

    try:
        return row_of(name, find_method("method", name))
    except Exception as error:  # whatever a plug-in raises; the others are still shown
        return {"id": name, "paper": "", "about": "", "needs": [f"cannot be used: {error}"], "hyperparameters": []}


def short(paper: Paper) -> str:
    """A paper in a cell: first author, year, arXiv number."""
    first = paper.authors.split(" and ")[0].split(" ")[-1]
    return f"{first} {paper.year}, {paper.arxiv}".rstrip(", ") if paper.authors else "–"


def details(method: type[Method]) -> dict[str, Any]:
    """What a method says of itself: its needs in words, its hyperparameters with their ranges."""
    from autostudent.distill.method import Wrapper, knobs
    from autostudent.distill.methods.kd import KD

    ranges = [
        {
            "name": knob,
            "default": default,
            **{key: value for key, value in allowed.items() if value not in (None, "", ())},
        }
        for knob, default, allowed in knobs(method)
    ]
    parts = {"inner": KD()} if issubclass(method, Wrapper) else {}
    needs = needs_of(method(**parts))
    for knob, default, allowed in knobs(method):
        for value in allowed["choices"] or (allowed["low"], allowed["high"]):
            more = set(needs_of(method(**parts, **{knob: value}))) - set(needs)
            spoken = sorted(need for need in more if ": " not in need)  # no facts
            needs += [f"{need} (where {knob} is not {default})" for need in spoken]
    return {"about": inspect.getdoc(method) or "", "needs": list(dict.fromkeys(needs)), "hyperparameters": ranges}


def needs_of(method: Method) -> list[str]:
    """What must be there before the method can start, in words; a wrapper's inner loss is plain distillation."""
    from autostudent.distill.method import Wrapper

    needs = method.needs
    least, most = needs.teachers
    found = []
    if isinstance(method, Wrapper):
        found.append("another loss" if method.wants else "another loss, and what it needs")
    found += [method.wants] if method.wants else []
    if isinstance(method, Wrapper) and method.own_needs().teachers == (0, None):
        pass  # as many as the other loss
    elif most == 0:
        found.append("no frozen teacher")
    elif (least, most) == (1, 1):
        found.append("1 teacher")
    else:
        who = {"flat": "flat assistants", "dense": "teacher and dense assistants"}.get(method.family, "teachers")
        found.append(f"{least} or more: {who}" if most is None else f"{least} to {most} {who}")
    found += [f"the teacher's {needs.access}"] if needs.access in ("taps", "heads") else []
    found += ["a meta split"] if needs.meta_split else []
    found += ["pictures that are not mixed"] if needs.one_label else []
    found += [f"derived: {fact}" for fact in needs.derived if not fact.startswith("ensemble_")]
    return found


def show_method(row: dict[str, Any]) -> None:
    out.print(f"[bold]{row['id']}[/bold]\n{escape(row['about'])}\n{escape(row['paper'])}", soft_wrap=True)
    out.print(escape("needs: " + "; ".join(row["needs"])), soft_wrap=True)
    for knob in row["hyperparameters"]:
        allowed = f"{knob['low']} to {knob['high']}" if "low" in knob else ", ".join(map(str, knob.get("choices", ())))
        scale = ", on a log scale" if knob.get("log") else ""
        doc = f": {knob['doc']}" if "doc" in knob else ""
        out.print(escape(f"  {knob['name']} = {knob['default']} ({allowed}{scale}){doc}"), soft_wrap=True)


def spaces(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One space in detail.")] = None,
    json: AsJson = False,
) -> None:
    """The search spaces that ship with autostudent, or the variables of one of them."""
    from autostudent.space.space import list_spaces

    if name is not None:
        one_space(name, json)
        return
    rows = list_spaces()
    if json:
        as_json(rows)
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("name", "kind", "variables", "about"):
        grid.add_column(title)
    for row in rows:
        grid.add_row(row["name"], row["kind"], str(row["params"]), escape(row["about"]))
    out.print(grid)


def one_space(name: str, json: bool) -> None:
    """The variables of one space with their domains and conditions."""
    from autostudent.space.files import read_file

    file = read_file(name, None)
    rules = list(file.forbid)
    if json:
        rows = [{"name": p.name, "domain": p.domain.describe(), "when": conditions(p)} for p in file.params]
        as_json({"name": file.name, "kind": file.kind, "about": file.about, "params": rows, "forbid": rules})
        return
    out.print(f"[bold]{escape(file.name)}[/bold] ({file.kind}): {escape(file.about)}", soft_wrap=True)
    for param in file.params:
        when = "; ".join(f"{key} in {', '.join(map(str, values))}" for key, values in conditions(param).items())
        line = f"  {param.name}: {param.domain.describe()}" + (f"  when {when}" if when else "")
        out.print(line, markup=False, soft_wrap=True)
    for rule in rules:
        out.print(f"  never: {rule}", markup=False, soft_wrap=True)


def conditions(param: Param) -> dict[str, list[Value]]:
    """When a variable is active: values of others."""
    return {parent: list(values) for parent, values in param.when.items()}
