"""Bundles without a study: what is written is what is read, and what was changed afterwards is refused."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from autostudent.build.network import Network, build
from autostudent.bundle.card import claim_text, plain
from autostudent.bundle.export import base_files, place, require_free, spread, wanted_formats
from autostudent.bundle.formats import ExportMismatch, compare
from autostudent.bundle.manifest import CARD, GRAPH, MANIFEST, ONNX, PREPROCESSING, WEIGHTS, _seal_of, seal
from autostudent.bundle.student import load_student
from autostudent.data import datasets
from autostudent.data.views import images
from autostudent.errors import AssetError, ConfigError, ExtraMissing
from autostudent.space.graph import Architecture, InputShape, Node


@pytest.fixture(scope="module")
def data() -> datasets.Dataset:
    return datasets.load({"name": "digits"})


def network(data: datasets.Dataset, width: int = 4, seed: int = 0) -> Network:
    """A small student with every buffer away from its initial value."""
    nodes = (
        Node("input", 1, 0, 1, "add", ()),
        Node("plain3", width, 0, 2, "add", (0,)),
        Node("conv3", width, 0, 2, "add", (1,)),
        Node("sep3", 2 * width, 1, 4, "sum", (1, 2)),
    )
    made = build(Architecture(InputShape(1, 8, 8, 10), nodes, (2, 3)), seed, data.mean, data.std)
    made.train()
    with torch.no_grad():
        made(images(data.train.x[:64]))
    return made.eval()


@pytest.fixture
def bundle(tmp_path: Path, data: datasets.Dataset) -> Path:
    files = {**base_files(network(data), data), CARD: b"# A student"}
    place(tmp_path / "bundle", files, seal(files, {"study": "s", "trial": 3}))
    return tmp_path / "bundle"


def test_what_is_read_is_what_was_written(bundle: Path, data: datasets.Dataset) -> None:
    before = torch.get_rng_state()
    student = load_student(bundle)
    x = images(data.validation.x)
    with torch.no_grad():
        assert torch.equal(student(x), network(data)(x))
    assert not student.training
    assert torch.equal(torch.get_rng_state(), before)
    named = json.loads((bundle / PREPROCESSING).read_text())
    assert named["output"]["classes"] == list(data.classes)


def cut(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def edit_graph(folder: Path) -> None:
    graph = json.loads((folder / GRAPH).read_text())
    graph["nodes"][2][0] = "conv5"
    (folder / GRAPH).write_text(json.dumps(graph))


def edit_normalisation(folder: Path) -> None:
    path = folder / PREPROCESSING
    path.write_bytes(path.read_bytes().replace(b'"std"', b'"sdt"'))


def swap_a_weight(folder: Path) -> None:
    tensors = load_tensors((folder / WEIGHTS).read_bytes())
    name = next(name for name in sorted(tensors) if not torch.equal(tensors[name], tensors[name].flip(0)))
    (folder / WEIGHTS).write_bytes(save_tensors({**tensors, name: tensors[name].flip(0)}))


def edit_the_manifest(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"trial": 3', b'"trial": 4'))


def another_format(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    about = {name: value for name, value in manifest.items() if name not in ("seal", "files", "format")}
    (folder / MANIFEST).write_bytes(seal({}, {**about, "format": 99}))


def other_list(files: object) -> Callable[[Path], object]:
    """A manifest that lists files in another way, sealed anew."""

    def harm(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        about = {name: value for name, value in manifest.items() if name not in ("seal", "files", "format")}
        whole = {"format": manifest["format"], **about, "files": files}
        (folder / MANIFEST).write_bytes(json.dumps({**whole, "seal": _seal_of(whole)}).encode())

    return harm


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (other_list([]), "does not list files"),
        (other_list(None), "does not list files"),
        (other_list({GRAPH: 5}), "does not list files"),
        (cut, r"weights\.safetensors is truncated: [\d,]+ of [\d,]+ bytes"),
        (edit_graph, r"graph\.json was changed after the export"),
        (edit_normalisation, r"preprocessing\.json was changed after the export"),
        (swap_a_weight, r"weights\.safetensors was changed after the export"),
        (edit_the_manifest, r"manifest\.json was edited after the export"),
        (another_format, r"has format 99, this version reads 1"),
        (lambda folder: (folder / MANIFEST).write_text("{"), r"is not the manifest of an exported student"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 100_000), r"is not the manifest of an exported student"),
        (lambda folder: (folder / MANIFEST).unlink(), r"is no exported student: manifest\.json: No such file"),
        (lambda folder: (folder / GRAPH).unlink(), r"graph\.json cannot be read \(No such file"),
    ],
)
def test_a_changed_bundle_is_refused_in_one_line(bundle: Path, harm: Callable[[Path], object], words: str) -> None:
    harm(bundle)
    with pytest.raises(AssetError, match=words) as refused:
        load_student(bundle)
    assert "\n" not in str(refused.value)


class Bomb:
    """Unpickling this would raise."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('a pickle was opened')",)


def forged(folder: Path, **files: bytes) -> None:
    """A manifest that vouches for other files."""
    whole = {name: (folder / name).read_bytes() for name in (GRAPH, PREPROCESSING, WEIGHTS)}
    whole |= {name.replace("_", "."): data for name, data in files.items()}
    place(folder, whole, seal(whole, {}))


def test_even_a_forged_manifest_runs_no_code(bundle: Path, data: datasets.Dataset) -> None:
    forged(bundle, weights_safetensors=pickle.dumps(Bomb()))
    with pytest.raises(AssetError, match=r"is not a safetensors file"):
        load_student(bundle)
    forged(bundle, weights_safetensors=base_files(network(data, width=8), data)[WEIGHTS])
    with pytest.raises(AssetError, match=r"belongs to another graph: .* is torch.float32 \(8, "):
        load_student(bundle)
    for graph in (b"[]", b"{}", b'{"format": 1, "input": 3}', b'{"format": 1, "nodes": [["conv3", "x"]]}'):
        forged(bundle, graph_json=graph)
        with pytest.raises(AssetError, match=r"describe no network"):
            load_student(bundle)


def test_an_export_that_answers_otherwise_is_an_error(data: datasets.Dataset) -> None:
    original, pictures = network(data), data.validation.x
    same = compare("same", original, original, pictures)
    assert (same.largest_difference, same.same_class, same.pictures) == (0.0, 1.0, len(pictures))
    assert same.batch_sizes == (1, 2, 7, 64, len(pictures))
    for wrong in (network(data, seed=1), lambda x: original(x) * float("nan"), lambda x: original(x)[:, :9]):
        with pytest.raises(ExportMismatch, match=r"^wrong: "):
            compare("wrong", original, wrong, pictures)
    # One logit of one picture in a large batch is enough.
    with pytest.raises(ExportMismatch, match=r"differs from the original by 0\.0"):
        compare("late", original, lambda x: original(x) + 0.01 * (len(x) > 64), pictures)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_student_without_finite_answers_is_not_exported(data: datasets.Dataset, value: float) -> None:
    broken = network(data)
    with torch.no_grad():
        broken.get_parameter("parts." + list(broken.parts)[-1] + ".bias")[0] = value
    with pytest.raises(ExportMismatch, match=r"^same: the original's answers .* are not all finite"):
        compare("same", broken, broken, data.validation.x)


def test_comparison_pictures_are_spread_over_the_split(data: datasets.Dataset) -> None:
    x = data.train.x
    assert len(spread(x)) == 512
    assert torch.equal(spread(x)[0], x[0])
    assert torch.equal(spread(x)[-1], x[-1])
    assert torch.equal(spread(x[:5]), x[:5])


def test_a_card_may_be_written_in_but_no_exported_file(tmp_path: Path, data: datasets.Dataset) -> None:
    files = {**base_files(network(data), data), CARD: b"# A student", ONNX: b"a program"}
    folder = tmp_path / "bundle"
    place(folder, files, seal(files, {"study": "s", "trial": 3}))
    (folder / CARD).write_text("# My student, with thanks")
    load_student(folder)
    (folder / ONNX).write_bytes(b"a Program")
    with pytest.raises(AssetError, match=r"student\.onnx was changed after the export"):
        load_student(folder)
    (folder / ONNX).unlink()  # which is not needed here
    load_student(folder)


def test_a_folder_with_other_things_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    require_free(tmp_path / "new", "s", 3)
    require_free(bundle, "s", 3)
    (tmp_path / "empty").mkdir()
    require_free(tmp_path / "empty", "s", 3)
    for folder, study, trial in ((bundle, "s", 4), (bundle, "t", 3), (tmp_path, "s", 3), (bundle / CARD, "s", 3)):
        with pytest.raises(ConfigError, match=r"--to: got .* expected a new or empty folder"):
            require_free(folder, study, trial)


def lose_the_manifest(folder: Path) -> None:
    """As a program leaves it that was killed over its second file."""
    (folder / MANIFEST).unlink()
    (folder / WEIGHTS).rename(folder / ".part-0123")


def older_format(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 0'))


@pytest.mark.parametrize(
    "harm", [cut, another_format, older_format, lose_the_manifest, lambda folder: (folder / MANIFEST).write_text("{")]
)
def test_a_damaged_bundle_can_be_exported_again(bundle: Path, harm: Callable[[Path], object]) -> None:
    harm(bundle)
    require_free(bundle, "s", 3)


def test_a_damaged_bundle_of_another_student_or_beside_other_files_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    another_format(bundle)
    with pytest.raises(ConfigError, match=r"an earlier export of student 4"):
        require_free(bundle, "s", 4)
    (bundle / MANIFEST).write_text("{")
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"an earlier export of student 3"):
        require_free(bundle, "s", 3)
    (tmp_path / "project").mkdir()
    for name in (CARD, GRAPH):  # names that anybody may choose
        (tmp_path / "project" / name).write_text("{}")
        with pytest.raises(ConfigError, match=r"an earlier export of student 3"):
            require_free(tmp_path / "project", "s", 3)


def test_a_second_export_removes_formats_that_are_not_asked_for(bundle: Path, data: datasets.Dataset) -> None:
    (bundle / "student.onnx").write_bytes(b"old")
    (bundle / "notes.txt").write_text("mine")
    files = base_files(network(data, seed=5), data)
    place(bundle, files, seal(files, {"study": "s", "trial": 3}))
    assert {path.name for path in bundle.iterdir()} == {MANIFEST, GRAPH, PREPROCESSING, WEIGHTS, "notes.txt"}
    load_student(bundle)


def test_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wanted_formats(()) == ["safetensors"]
    assert wanted_formats(("pt2",)) == wanted_formats("pt2") == ["safetensors", "pt2"]
    with pytest.raises(ConfigError, match=r"--format: got 'onx'; expected one of: .* \(did you mean 'onnx'\?\)"):
        wanted_formats(("onx",))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'autostudent\[onnx\]'"):
        wanted_formats(("all",))


def test_a_claim_of_a_single_training_has_no_interval() -> None:
    claim = {"difference": "main - student 1", "points": 1.0, "low": -0.5, "high": 2.5, "verdict": "tie"}
    assert "(95 % interval -0.50 to +2.50)" in claim_text(claim)
    assert "+1.00 points (95 % interval unknown)" in claim_text({**claim, "low": None, "high": None})


def test_user_text_stands_as_text_in_the_card() -> None:
    assert plain("<b>a|b*\nc</b>") == r"&lt;b&gt;a\|b\* c&lt;/b&gt;"
