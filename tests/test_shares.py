"""How many trainings share a GPU: the estimate against what torch really keeps, the rule, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

from autostudent import shares
from autostudent.build.network import build
from autostudent.config import build as settings_of
from autostudent.distill.types import Needs
from autostudent.errors import ConfigError
from autostudent.problem import Catalogue
from autostudent.records import Objective
from autostudent.run.cluster import submit
from autostudent.settings import RunSettings, SpaceSettings, StudySettings
from autostudent.shares import Share, given, map_bytes, share_of, student_bytes
from autostudent.space.architecture import InputShape
from autostudent.space.cost import costs
from autostudent.space.schedule import made, peak
from autostudent.space.space import load_space
from autostudent.testing.studies import InlineStudy, small_settings

GIB = 2**30


def graphs(count: int) -> list[Any]:
    objectives = (Objective("accuracy", "maximize"), Objective("params", "minimize", limit=100_000, exact=True))
    catalogue = Catalogue(load_space("hnag_tiny", "kd_basic"), InputShape(3, 16, 16, 10), objectives)
    return [catalogue.architecture(candidate) for candidate, _ in catalogue.probe(0, count)]


@pytest.mark.parametrize("number", range(6))
def test_no_training_keeps_more_than_was_estimated(number: int) -> None:
    graph, batch = graphs(6)[number], 8
    network = build(graph, 0).train()
    kept: dict[int, int] = {}

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        logits = network(torch.rand(batch, 3, 16, 16))
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    measured = sum(size for place, size in kept.items() if place not in own)
    estimated = 4 * batch * made(graph)
    assert 0.4 * estimated < measured <= estimated
    F.cross_entropy(logits, torch.zeros(batch, dtype=torch.long)).backward()


def test_a_students_bytes_follow_from_its_parameters_its_batch_and_its_companions() -> None:
    graph = graphs(1)[0]
    fixed, looking = 24 * costs(graph).params, 4 * shares.at_once(8, 8) * peak(graph)
    assert student_bytes(graph, 1) == fixed + looking  # looking at many pictures takes more than a tiny batch
    large = 10 * shares.at_once(8, 8)
    assert student_bytes(graph, large) == fixed + 4 * large * (made(graph) + peak(graph))
    assert student_bytes(graph, large, networks=3) == 3 * student_bytes(graph, large)
    again = student_bytes(graph, large, recorded=True) - student_bytes(graph, large)
    assert again == 4 * large * (made(graph) + peak(graph)) + looking + shares.POOLS


def test_stored_maps_count_where_recipes_ask_for_them_and_they_are_stored() -> None:
    data = SimpleNamespace(shape=(3, 9, 9), train=SimpleNamespace(y=range(1000)))
    taps = {"stage1": (4, 1), "stage2": (8, 2), "penultimate": (16, 0)}
    teachers = [SimpleNamespace(name=name, info=SimpleNamespace(taps=taps)) for name in ("main", "other")]

    def asks(*taps: str, of_teachers: tuple[str, ...] = ()) -> Any:
        needs = Needs((1, 1), "taps", taps, of_teachers=of_teachers)
        return SimpleNamespace(teachers=("main",), method=SimpleNamespace(needs=needs))

    one, two, vector = 2000 * 4 * 81, 2000 * 8 * 25, 2000 * 16
    for recipes, size in (
        ([asks()], 0),
        ([asks("stage1"), asks("stage1", "stage2")], one + two),
        ([asks("penultimate")], vector),
        ([asks("stage2", of_teachers=("hint1of1",))], one),  # not known yet: the largest
    ):
        assert map_bytes(recipes, teachers, data, 9) == size
    assert map_bytes([asks("stage1", "penultimate")], teachers, data, 5000) == vector  # stage1 is too much to store


@pytest.mark.parametrize(
    ("need", "workers", "devices", "gpus", "together"),
    [
        (2.0, 2, 1, 0.5, 2),  # no more than there are workers
        (2.0, 8, 1, 0.2, 5),  # no more than fit
        (2.0, 3, 1, 0.3333, 3),  # in Ray's ten-thousandths, never beyond the whole
        (2.0, 4, 2, 0.5, 2),  # as many for each GPU
        (2.0, 5, 2, 0.3333, 3),
        (6.0, 4, 1, 1.0, 1),
        (10.0, 1, 1, 1.0, 1),
    ],
)
def test_as_many_share_a_gpu_as_fit(need: float, workers: int, devices: int, gpus: float, together: int) -> None:
    share = share_of(int(need * GIB), [12 * GIB] * (devices - 1) + [10 * GIB], workers)
    assert share == Share(gpus, together, int(need * GIB), 10 * GIB)
    assert share.gpus * together <= 1
    assert share.gpus * 10 * GIB >= need * GIB * 0.999


def test_a_student_that_may_not_fit_is_refused_with_both_sizes() -> None:
    with pytest.raises(ConfigError, match=r"run\.gpus_per_trial: got 'auto'; .* need 12\.0 GiB of a GPU of 10\.0 GiB"):
        share_of(12 * GIB, [10 * GIB], 2)


def test_a_given_share_says_how_many_fit() -> None:
    assert [given(gpus).together for gpus in (0.25, 0.3333, 0.1, 0.6, 1, 2)] == [4, 3, 10, 1, 1, 1]


def auto(folder: Path, **changes: Any) -> StudySettings:
    return small_settings(folder, run=RunSettings(workers=3, gpus_per_trial="auto"), **changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPUs")
@pytest.mark.parametrize("verb", ["check", "run"])
def test_auto_without_a_gpu_is_refused_before_any_training(tmp_path: Path, verb: str) -> None:
    with pytest.raises(ConfigError, match=r"got 'auto'; expected 0 to train on CPUs: this machine has no GPU"):
        getattr(InlineStudy(auto(tmp_path)), verb)()
    assert not (tmp_path / "assets" / "teachers").exists()


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has a GPU of 16 GiB; what runs still runs on its processor."""
    monkeypatch.setattr(shares, "gpus", lambda: [16 * GIB])
    monkeypatch.setattr("autostudent.study.gpus", lambda: [16 * GIB])


def test_one_share_for_the_study_from_its_largest_student_and_its_teachers(tmp_path: Path, one_gpu: None) -> None:
    study = InlineStudy(auto(tmp_path))
    share = study.share
    assert share.device == 16 * GIB
    assert share.need is not None
    assert shares.CONTEXT < share.need < 16 * GIB
    assert (share.together, share.gpus) == (3, 0.3333)
    training = dataclasses.replace(study.settings.training, batch_size=400)
    larger = InlineStudy(dataclasses.replace(study.settings, training=training)).share.need
    assert larger is not None
    assert larger > share.need
    assert study.check().gpu == dataclasses.asdict(share)


RECIPES = """
params:
  kd.loss: {choice: [kd, METHOD], default: kd}
  optim.lr: {float: [0.02, 0.3], log: true, default: 0.1}
"""


def of_method(folder: Path, method: str) -> InlineStudy:
    """A study of which some students learn by this method."""
    file = folder / f"{method}.yaml"
    file.write_text(RECIPES.replace("METHOD", method))
    return InlineStudy(auto(folder, space=SpaceSettings("hnag_tiny", str(file)), ladder=None))


def test_students_that_are_trained_beside_the_student_are_counted(tmp_path: Path, one_gpu: None) -> None:
    alone, peers = of_method(tmp_path, "dkd"), of_method(tmp_path, "dml")
    networks = [
        shares.trained_together(
            study.recipes,
            list(study.teachers().values()),
            build(study.catalogue.architecture(study.drawn[0][0]), 0),
            study.dataset,
        )
        for study in (alone, peers)
    ]
    assert networks == [1, 2]


def test_a_teacher_that_is_trained_again_is_refused(tmp_path: Path, one_gpu: None) -> None:
    with pytest.raises(ConfigError, match=r"got 'auto'; expected a number: \w+ trains a copy of a teacher"):
        of_method(tmp_path, "bd_kd").share  # noqa: B018


FILE = """
study: s
data: {name: digits}
teachers: {main: {resnet: {depth: 8, width: 8}}}
space: {students: hnag_tiny}
objectives: {accuracy: maximize, params: minimize}
budget: {trials: 2, epochs: 3}
store: sqlite:////shared/study.db
run: {gpus_per_trial: auto}
"""


def test_a_study_file_may_say_auto_but_not_for_a_cluster() -> None:
    raw = yaml.safe_load(FILE)
    assert settings_of(raw).run.gpus_per_trial == "auto"
    with pytest.raises(ConfigError, match=r"run\.gpus_per_trial: got 'auto'; expected a number with run\.address"):
        settings_of({**raw, "run": {"gpus_per_trial": "auto", "address": "auto"}})
    with pytest.raises(ConfigError, match=r"run\.gpus_per_trial: got 'auto'; expected a number for a cluster"):
        submit(raw)
    for wrong in ("all", "0.5", True, -1, 1.5):
        with pytest.raises(ConfigError, match=r"run\.gpus_per_trial"):
            settings_of({**raw, "run": {"gpus_per_trial": wrong}})


def test_torch_may_allocate_what_the_process_itself_leaves_of_the_share() -> None:
    ray_worker = pytest.importorskip("autostudent.run.ray_worker")
    assert ray_worker.allocated(0.5, 8 * GIB) == 0.5 - 0.5 / 8
    assert ray_worker.allocated(0.25, GIB) == 0.125
