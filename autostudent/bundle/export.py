"""`export`: one trained student of a study as a folder of checked files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autostudent.assets import write_atomic
from autostudent.build.network import Network, build
from autostudent.bundle.card import card, gather, pictures_of
from autostudent.bundle.formats import (
    INPUT,
    OUTPUT,
    Parity,
    compare,
    require_onnx,
    run_onnx,
    run_pt2,
    to_onnx,
    to_pt2,
    traced,
)
from autostudent.bundle.manifest import (
    CARD,
    GRAPH,
    MANIFEST,
    NAMES,
    ONNX,
    PREPROCESSING,
    PT2,
    WEIGHTS,
    read_manifest,
    seal,
    student_of,
)
from autostudent.bundle.student import rebuild
from autostudent.errors import AssetError, ConfigError, DataError, unknown_name
from autostudent.settings import store_file
from autostudent.space.graph import Architecture
from autostudent.store.rows import Row, row_of
from autostudent.store.store import Store

if TYPE_CHECKING:
    from autostudent.data.datasets import Dataset
    from autostudent.study import Study

FORMATS = {"safetensors": WEIGHTS, "onnx": ONNX, "pt2": PT2}
UNFINISHED = ".part-"  # how the names of files begin that `write_atomic` was killed over
PICTURES = 512  # of the validation split, on which exports are compared with the original

Say = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """A finished bundle: its ``folder``, and what its ``manifest.json`` holds."""

    folder: Path
    manifest: Mapping[str, Any]


def export(
    study: Study,
    trial: int,
    formats: str | Sequence[str] = ("safetensors",),
    to: str | Path | None = None,
    say: Say = lambda text: None,
) -> Exported:
    """Writes one student as a folder that needs neither the study nor this program's search code.

    Always there: weights, graph, preprocessing, a model card, and a manifest with the SHA-256 of every file. Every
    format is read back and run beside the original on validation pictures before anything is written.

    Args:
        study: as `autostudent.load_study` gives it; its store and its data must be there.
        trial: number of a student whose weights were kept: one of the front (with ``retention: all`` any).
        formats: one or more of "safetensors", "onnx" (the extra ``onnx``), "pt2" (a torch.export program), "all".
        to: the folder; by default ``student-N`` beside the store. An earlier export of this student is replaced.
        say: told what is being done.

    Raises:
        ConfigError: unknown format, a student without weights, or a folder that holds something else.
        DataError: the data is no longer what the study was begun with.
        ExtraMissing: for "onnx" without its packages.
        ExportMismatch: an exported file gives other answers than the student.
    """
    wanted = wanted_formats(formats)
    settings = study.settings
    folder = target(settings.store, settings.study, trial, to)
    require_free(folder, settings.study, trial)
    with Store.read(settings.store, settings.study, study.assets) as store:
        row = row_with_weights(store, trial, study)
        if store.resolved().get("data_fingerprint") != study.dataset.fingerprint:
            raise DataError(f"{study.dataset.name}: the data changed since the study was begun; restore it")
        facts = gather(store, row, study.dataset)
    original = network_of(study, row)
    files = base_files(original, study.dataset)
    checks = add_formats(files, wanted, original, spread(study.dataset.validation.x), say)
    about = {
        "study": settings.study,
        "trial": trial,
        "fingerprint": original.architecture.fingerprint,
        "checks": {name: parity.to_json() for name, parity in checks.items()},
        "versions": dict(facts.versions),
    }
    files[CARD] = card(facts, checks).encode()
    place(folder, files, seal(files, about))
    return Exported(folder, read_manifest(folder))


def wanted_formats(given: str | Sequence[str]) -> list[str]:
    """The formats in the order of `FORMATS`, safetensors always among them. Raises `ConfigError`, `ExtraMissing`."""
    given = (given,) if isinstance(given, str) else given
    for name in given:
        if name not in (*FORMATS, "all"):
            raise unknown_name("--format", name, (*FORMATS, "all"))
    chosen = [name for name in FORMATS if name == "safetensors" or name in given or "all" in given]
    if "onnx" in chosen:
        require_onnx()
    return chosen


def target(store: str, study: str, trial: int, to: str | Path | None) -> Path:
    """Where the bundle goes."""
    if to is not None:
        return Path(to).expanduser()
    file = store_file(store)
    return file.parent / f"student-{trial}" if file is not None else Path(f"{study}-student-{trial}")


def require_free(folder: Path, study: str, trial: int) -> None:
    """Raises `ConfigError` unless the folder is new, empty, or holds an earlier export of the same student.

    One whose manifest is lost or unreadable is taken for it where nothing foreign lies there, and more than a graph.
    """
    if not folder.exists():
        return
    if folder.is_dir():
        files = {path.name for path in folder.iterdir()}
        names = {name for name in files if not name.startswith(UNFINISHED)}
        owner = student_of(folder)
        broken = GRAPH in names <= {*NAMES, MANIFEST} and (names != files or bool({WEIGHTS, MANIFEST} & names))
        if not names or owner == (study, trial) or (owner is None and broken):
            return
    raise ConfigError("--to", str(folder), f"a new or empty folder, or an earlier export of student {trial}")


def row_with_weights(store: Store, trial: int, study: Study) -> Row:
    """The student's row. Raises `ConfigError` naming the students of the front, `AssetError` for lost weights."""
    front = {row["trial"]: row for row in store.front()}
    row = front[trial] if trial in front else row_of(store.trial(trial), store.about(trial))
    weights = row["assets"].get("weights")
    if weights is not None and trial in front and not study.assets.has(weights):
        again = f"autostudent distill --student STUDY.yaml#{trial} --out FOLDER trains it again"
        raise AssetError(f"the weights of student {trial} ({weights}) are not in {study.assets.root} any more; {again}")
    if weights is None or not study.assets.has(weights):
        named = ", ".join(map(str, front)) or "none yet"
        raise ConfigError("TRIAL", trial, f"a student whose weights were kept; those of the front: {named}")
    return row


def network_of(study: Study, row: Row) -> Network:
    """The student as the search left it, in evaluation mode."""
    graph = Architecture.from_json(json.loads(study.assets.get(row["graph"])))
    network = build(graph, 0, study.dataset.mean, study.dataset.std)
    network.load_state_dict(load_tensors(study.assets.get(row["assets"]["weights"])))
    return network.eval()


def base_files(network: Network, dataset: Dataset) -> dict[str, bytes]:
    """What every bundle holds: graph, preprocessing, weights."""
    shape = network.architecture.input
    preprocessing = {
        "input": {
            "name": INPUT,
            "layout": "N x channels x height x width",
            "channels": shape.channels,
            "height": shape.height,
            "width": shape.width,
            "dtype": "float32",
            "values": "pixels from 0 to 255, divided by 255",
            "pictures": pictures_of(dataset),
        },
        "normalisation": {"inside_network": True, "mean": list(dataset.mean), "std": list(dataset.std)},
        "output": {"name": OUTPUT, "dtype": "float32", "classes": list(dataset.classes)},
    }
    tensors = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    return {
        GRAPH: json.dumps(network.architecture.to_json()).encode(),
        PREPROCESSING: json.dumps(preprocessing, indent=1, ensure_ascii=False).encode(),
        WEIGHTS: save_tensors(tensors),
    }


def spread(x: Tensor) -> Tensor:
    """At most `PICTURES` of the pictures ``(n, C, H, W)``, evenly spread."""
    return x[torch.linspace(0, len(x) - 1, min(PICTURES, len(x))).long()]


def add_formats(
    files: dict[str, bytes], wanted: Sequence[str], original: Network, pictures: Tensor, say: Say
) -> dict[str, Parity]:
    """Adds the files of other formats to ``files``; runs every one of them beside the original.

    Raises:
        ExportMismatch: an exported file gives other answers.
    """
    say(f"{len(pictures)} validation pictures to compare on")
    checks = {"safetensors": compare(WEIGHTS, original, rebuild(files), pictures)}
    program = traced(original) if len(wanted) > 1 else None
    if program is not None and "pt2" in wanted:
        files[PT2] = to_pt2(program)
        checks["pt2"] = compare(PT2, original, run_pt2(files[PT2]), pictures)
    if program is not None and "onnx" in wanted:
        files[ONNX] = to_onnx(program)
        checks["onnx"] = compare(ONNX, original, run_onnx(files[ONNX]), pictures)
    for name, parity in checks.items():
        say(f"{FORMATS[name]}: largest difference {parity.largest_difference:.1e}")
    return checks


def place(folder: Path, files: Mapping[str, bytes], manifest: bytes) -> None:
    """Writes the bundle; the manifest goes first and comes last, so that half a bundle is never taken for a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in NAMES:
        if name in files:
            write_atomic(folder / name, files[name])
        else:
            (folder / name).unlink(missing_ok=True)
    write_atomic(folder / MANIFEST, manifest)
