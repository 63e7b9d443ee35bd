"""The layer table of docs/architecture.md, proved on the source: imports point down, vendors stay in their rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import autostudent

ROOT = Path(autostudent.__file__).parent

LAYERS = {
    "errors": 0, "heap": 0, "records": 0,
    "assets": 1, "settings": 1, "space": 1, "front": 1,
    "propose": 2, "build": 2, "data": 2, "problem": 2,
    "distill": 3, "measure": 3,
    "teach": 4,
    "trial": 5, "store": 5, "optuna_samplers": 5,
    "run": 6, "report": 6, "single": 6, "driver": 6, "shares": 6, "warm_start": 6,
    "study": 7, "verify": 7, "bundle": 7,
    "config": 8,
    "cli": 9,
    "__init__": 10, "__main__": 10,
    "testing": 10,
}  # fmt: skip

TORCH = {"build", "data", "distill", "teach", "measure", "trial", "single", "run", "study", "verify", "bundle"}
TORCH |= {"testing", "shares"}
VENDORS = {
    "torch": TORCH | {"propose"},
    "torchvision": {"data", "teach"},
    "safetensors": {"distill", "teach", "trial", "bundle"},
    "botorch": {"propose"},
    "gpytorch": {"propose"},
    "linear_operator": {"propose"},
    "optuna": {"store", "optuna_samplers"},
    "sqlalchemy": {"store"},
    "ray": {"run"},
    "pandas": {"report", "run"},
    "plotly": {"report"},
    "tensorboardX": {"report"},
    "mlflow": {"report"},
    "wandb": {"report"},
    "sklearn": {"data", "verify", "study"},
    "networkx": {"space"},
    "pydantic": {"config"},
    "typer": {"cli"},
    "rich": {"cli"},
    "onnxruntime": {"bundle"},
}
NO_TORCH_IN = {"propose": {"base", "random", "evolution"}}


def room(file: Path) -> str:
    """The name under which a file stands in `LAYERS`."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported, at module level or later; what only a type checker sees is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(other)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{name.name}" for name in node.names)
        else:
            yield from imports(node)


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down_and_vendors_stay_in_their_rooms(file: Path) -> None:
    here = room(file)
    assert here in LAYERS, f"{here} has no layer"
    for name in imports(ast.parse(file.read_text(encoding="utf-8"))):
        top, *rest = name.split(".")
        if name == "autostudent":
            continue  # the package itself, for its location
        if top == "autostudent":
            there = rest[0] if rest and rest[0] in LAYERS else "__init__"
            allowed = there == here or LAYERS[there] < LAYERS[here]
            assert allowed, f"{here} (layer {LAYERS[here]}) imports {name} (layer {LAYERS[there]})"
        elif top in VENDORS:
            assert here in VENDORS[top], f"{here} imports {name}; {top} belongs to {sorted(VENDORS[top])}"
            bare = file.stem in NO_TORCH_IN.get(here, set()) and top == "torch"
            assert not bare, f"{file.name} imports {name}"


LIGHT = {
    "autostudent.space.space": "torch ray botorch optuna sklearn pandas",
    "autostudent.propose": "torch ray botorch optuna",
    "autostudent.store.store": "torch ray botorch pandas sklearn",
    "autostudent.config": "torch ray botorch optuna pandas sklearn",
    "autostudent.bundle.student": "ray botorch optuna pandas sklearn networkx scipy torchvision yaml pydantic",
    "autostudent.report.page": "torch ray botorch optuna sklearn",
    "autostudent.cli": "torch ray botorch optuna pandas sklearn plotly",
    "autostudent": "torch ray botorch optuna pandas sklearn",
}


@pytest.mark.parametrize("module", LIGHT)
def test_a_vendor_is_loaded_only_where_it_is_used(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {LIGHT[module].split()} if name in sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


def test_files_are_small() -> None:
    lengths = sorted((len(file.read_text(encoding="utf-8").splitlines()), file.name) for file in FILES)
    assert [entry for entry in lengths if entry[0] > 400] == []
    assert lengths[len(lengths) // 2][0] <= 150


def test_no_function_is_long() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                statements = sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1
                assert statements <= 60, f"{file.name}: {node.name} has {statements} statements"


def test_no_room_for_odds_and_ends() -> None:
    for file in FILES:
        words = set(file.relative_to(ROOT).with_suffix("").parts)
        assert not words & {"utils", "util", "common", "helpers", "helper", "manager", "misc"}, file
