"""Students of a real search, exported in every format and opened where nothing else is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import autostudent
from autostudent.build.network import Network, build
from autostudent.bundle.export import network_of, row_with_weights
from autostudent.bundle.formats import compare, run_onnx, run_pt2, to_onnx, to_pt2, traced
from autostudent.bundle.manifest import MANIFEST
from autostudent.cli import main
from autostudent.data.views import images
from autostudent.errors import ConfigError, DataError
from autostudent.measure.predict import predict
from autostudent.space.graph import Architecture, InputShape, Node
from autostudent.space.ops import MERGES, OPS
from autostudent.store.store import Store
from autostudent.testing.studies import InlineStudy, small_settings

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> InlineStudy:
    """A finished small study."""
    study = InlineStudy(small_settings(tmp_path_factory.mktemp("export"), trials=4))
    study.run()
    return study


@pytest.fixture(scope="module")
def formats() -> list[str]:
    """Those that this environment can write."""
    try:
        for part in ("onnx", "onnxscript", "onnxruntime"):
            distribution(part)
    except PackageNotFoundError:
        return ["pt2"]
    return ["pt2", "onnx"]


@pytest.fixture(scope="module")
def bundles(
    study: InlineStudy, formats: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[int, autostudent.bundle.export.Exported]:
    """Every front member, exported."""
    place = tmp_path_factory.mktemp("bundles")
    numbers = [row["trial"] for row in study.rows()]
    return {number: autostudent.export(study, number, formats, place / str(number)) for number in numbers}


def needed_by(*names: str) -> set[str]:
    """Top-level modules of distributions and of all that they require."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.split(r"[^\w.-]", waiting.pop(), maxsplit=1)[0].lower().replace("_", "-")
        if name in found:
            continue
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        waiting += [text for text in required if "extra ==" not in text]
    modules = packages_distributions().items()
    return {top for top, owners in modules if {o.lower().replace("_", "-") for o in owners} & found}


def classes_alone(kind: str, folder: Path, x: Tensor, allowed: Iterable[str]) -> list[int]:
    """What `alone.py` writes."""
    pictures = folder.parent / "pictures.bin"
    x.contiguous().numpy().tofile(pictures)
    given = {"kind": kind, "folder": str(folder), "pictures": str(pictures), "shape": list(x.shape)}
    command = [sys.executable, str(HERE / "alone.py"), json.dumps({**given, "allowed": sorted(allowed)})]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    answer: list[int] = json.loads(done.stdout)
    return answer


def test_every_front_member_says_the_same_where_nothing_else_is_installed(
    study: InlineStudy, bundles: dict[int, autostudent.bundle.export.Exported], formats: list[str]
) -> None:
    x = study.dataset.test.x
    torch_only = needed_by("torch")
    allowed = {
        "safetensors": (torch_only | {"safetensors", "autostudent"}) - {"networkx"},
        "pt2": torch_only,
        "onnx": needed_by("onnxruntime"),
    }
    assert not {"autostudent", "optuna", "ray", "numpy"} & torch_only
    assert not {"torch", "autostudent", "onnx"} & allowed["onnx"]
    for number, bundle in bundles.items():
        with Store.read(study.settings.store, study.settings.study) as store:
            original = network_of(study, row_with_weights(store, number, study))
        expected = predict(original, x).argmax(1).tolist()
        for kind in ("safetensors", *formats):
            assert classes_alone(kind, bundle.folder, images(x), allowed[kind]) == expected, f"student {number}: {kind}"


def test_the_manifest_says_how_close_every_format_is(
    study: InlineStudy, bundles: dict[int, autostudent.bundle.export.Exported], formats: list[str]
) -> None:
    for number, bundle in bundles.items():
        written = json.loads((bundle.folder / MANIFEST).read_text())
        assert written == bundle.manifest
        assert (written["study"], written["trial"]) == ("small", number)
        assert set(written["checks"]) == {"safetensors", *formats}
        assert written["checks"]["safetensors"]["largest_difference"] == 0.0
        for check in written["checks"].values():
            assert check["largest_difference"] <= check["tolerance"]
            assert check["batch_sizes"] == [1, 2, 7, 64, len(study.dataset.validation)]
            assert check["same_class"] == 1.0


def test_nothing_of_this_machine_goes_out(bundles: dict[int, autostudent.bundle.export.Exported]) -> None:
    import zipfile

    root = str(Path(autostudent.__file__).parents[1]).encode()
    for bundle in bundles.values():
        for path in bundle.folder.iterdir():
            texts = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as file:
                    texts += [file.read(name) for name in file.namelist()]
            assert not any(root in text or str(bundle.folder).encode() in text for text in texts), path.name


def test_the_card_says_where_the_student_comes_from_and_its_code_runs(
    study: InlineStudy,
    bundles: dict[int, autostudent.bundle.export.Exported],
    formats: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = {row["trial"]: row for row in study.rows()}
    taught = next((number for number, row in rows.items() if row["method"] != "none"), min(rows))
    bundle, row = bundles[taught], rows[taught]
    text = (bundle.folder / "README.md").read_text()
    assert f"# Student {taught} of the study small" in text
    assert "arXiv" in text or row["method"] == "none"
    assert "autostudent verify" in text
    assert f"{100 * row['accuracy']:.1f} %" in text
    assert "teacher main" in text
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 1 + len(formats)
    monkeypatch.chdir(bundle.folder)
    for block in blocks:
        names: dict[str, Any] = {}
        exec(block, names)
        assert names["logits"].shape == (1, 10)


def test_a_student_without_weights_and_changed_data_are_refused(study: InlineStudy, tmp_path: Path) -> None:
    front = {row["trial"] for row in study.rows()}
    other = next(number for number in range(4) if number not in front)
    with pytest.raises(ConfigError, match=rf"TRIAL: got {other}; .* those of the front: {min(front)}"):
        autostudent.export(study, other, to=tmp_path / "a")
    changed = InlineStudy(small_settings(study.assets.root.parent, data={"name": "digits", "limit": 500}))
    with pytest.raises(DataError, match="the data changed since the study was begun"):
        autostudent.export(changed, min(front), to=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line(study: InlineStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, number = study.settings, study.rows()[0]["trial"]
    file = tmp_path / "small.yaml"
    file.write_text(
        f"study: small\ndata: {{name: digits, limit: 600}}\nstore: {settings.store}\nartifacts: {settings.artifacts}\n"
        "teachers: {main: {resnet: {depth: 8, width: 8}}}\nspace: {students: hnag_tiny}\n"
        "objectives: {accuracy: maximize, params: minimize}\nbudget: {trials: 4, epochs: 6}\n"
    )
    for options in (["--json"], ["--format", "safetensors"]):
        with pytest.raises(SystemExit) as ended:
            main(["export", str(file), str(number), *options])
        assert ended.value.code == 0
    answer, _, table = capsys.readouterr().out.partition("\n}\n")
    found = json.loads(answer + "}")
    folder = Path(found["folder"])
    assert folder == Path(settings.store.removeprefix("sqlite:///")).parent / f"student-{number}"
    assert set(found["checks"]) == {"safetensors"}
    assert "weights.safetensors" in table
    assert isinstance(autostudent.load_student(folder), Network)
    for arguments, words in (
        ([str(number), "--format", "tflite"], "--format: got 'tflite'"),
        (["77"], "study 'small' has no trial 77"),
        ([str(number), "--to", str(tmp_path)], "--to: got"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["export", str(file), *arguments])
        assert ended.value.code == 2
        assert words in " ".join(capsys.readouterr().err.split())


def everything() -> Architecture:
    """A graph with every operation and every merge, on pictures whose sides are odd."""
    nodes = [Node("input", 3, 0, 1, "add", ()), Node("plain3_relu", 6, 0, 2, "add", (0,))]
    nodes += [Node("plain1", 6, 0, 2, "add", (1,)), Node("plain3", 6, 0, 2, "add", (2,))]
    for op in (name for name, op in OPS.items() if not op.strided and name != "input"):
        nodes.append(Node(op, 6, 0, 2, "add", (len(nodes) - 1,)))
    blocks = [len(nodes) - 1]
    for merge in MERGES:
        last = len(nodes) - 1
        nodes.append(Node("conv3", 8, 1, 4, merge, (last, last - 1, 1)))
    shape = InputShape(3, 19, 13, 7)
    return Architecture(shape, tuple(nodes), (*blocks, len(nodes) - 1))


def test_every_operation_and_merge_survives_every_format(formats: list[str]) -> None:
    network = build(everything(), 0, [0.4] * 3, [0.3] * 3).train()
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (70, 3, 19, 13), dtype=np.uint8))
    with torch.no_grad():
        network(images(pictures))
    network.eval()
    program = traced(network)
    assert compare("pt2", network, run_pt2(to_pt2(program)), pictures).largest_difference <= 1e-6
    if "onnx" in formats:
        assert compare("onnx", network, run_onnx(to_onnx(program)), pictures).largest_difference <= 1e-4
