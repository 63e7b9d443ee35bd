"""Verification: fresh seeds, the same outcome when it is run again, no training twice, the test split only here."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autostudent.cli.proving import verify as command
from autostudent.data.datasets import Dataset
from autostudent.distill.fit import Fit
from autostudent.errors import AutostudentError, ConfigError, DataError
from autostudent.measure.intervals import pack
from autostudent.records import Candidate
from autostudent.settings import RivalSettings, SearchSettings
from autostudent.space.architecture import InputShape, freeze
from autostudent.space.space import load_space
from autostudent.store.store import Store
from autostudent.testing.studies import InlineStudy, small_settings
from autostudent.trial import TrialWorker
from autostudent.verify import proof, verify
from autostudent.verify.claims import Measured, claims_of
from autostudent.verify.contenders import Contender, controls, student_of
from autostudent.verify.rivals import SMALL, rivals_of, torchvision_models, torchvision_rivals
from autostudent.verify.tasks import Bench, run_task


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> InlineStudy:
    """A finished small study, of a seed whose front has several students, one of them taught."""
    folder = tmp_path_factory.mktemp("verify")
    data, search = {"name": "digits", "limit": 300}, SearchSettings("random", 3)
    study = InlineStudy(small_settings(folder, data=data, search=search))
    assert len(study.run().rows()) > 1
    return study


def taught(study: InlineStudy) -> int:
    """A front member that a teacher taught."""
    return next(row["trial"] for row in study.rows() if row["method"] != "none")


def test_a_search_never_reads_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Dataset) -> Any:
        raise AssertionError("the search read the test split")

    monkeypatch.setattr(Dataset, "test", property(forbidden))
    InlineStudy(small_settings(tmp_path, trials=3)).run()


def test_a_test_split_that_cannot_be_read_costs_nothing(study: InlineStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(self: Dataset) -> Any:
        raise DataError("3.png is not a readable picture")

    monkeypatch.setattr(Dataset, "test", property(torn))
    monkeypatch.setattr("autostudent.verify.tasks.Fit", None)
    with pytest.raises(DataError, match=r"3\.png"):
        verify(study, [taught(study)], seeds=2)
    assert taught(study) not in proof.already(Store.read(study.settings.store, study.settings.study))


def test_a_training_without_memory_says_what_to_change(study: InlineStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError("CUDA out of memory")

    monkeypatch.setattr("autostudent.verify.tasks.Fit", full)
    with pytest.raises(
        AutostudentError, match=r"student \d+ ran out of memory \(CUDA out of memory\): lower run\.workers"
    ):
        verify(study, [taught(study)], seeds=3, compare=False)


@pytest.mark.slow
def test_students_stand_beside_controls_rival_teacher_and_baseline(study: InlineStudy) -> None:
    proof = verify(study, [taught(study)], seeds=2)

    kinds = [row["kind"] for row in proof.rows]
    assert kinds == ["teacher", "student", "control", "control", "control", "rival", "baseline"]
    student, rival = proof.rows[1], proof.rows[5]
    assert student["seeds"] == 2
    timed = {row["name"] for row in proof.rows if row.get("latency_ms", 0) > 0}
    assert timed == {"main", student["name"], rival["name"]}
    assert 0.7 * student["params"] <= rival["params"] <= student["params"]
    assert all(0 <= row["accuracy"] <= 1 for row in proof.rows)
    assert [claim["seeds"] for claim in proof.claims] == [2] * 5
    json.dumps(dataclasses.asdict(proof))
    stored = Store.read(study.settings.store, study.settings.study).references()
    assert stored[f"verified: {student['name']}"]["accuracy"] == student["accuracy"]


@pytest.mark.slow
def test_a_second_run_trains_nothing_and_says_the_same(study: InlineStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = dataclasses.replace(study.settings, budget=dataclasses.replace(study.settings.budget, trials=1))
    first = verify(InlineStudy(fewer), [taught(study)], seeds=2)  # the file's, after a search with more --trials

    def forbidden(*_: Any) -> Any:
        raise AssertionError("trained again")

    monkeypatch.setattr("autostudent.verify.tasks.Fit", forbidden)
    second = verify(study, [taught(study)], seeds=2)

    assert [row["accuracy"] for row in second.rows] == [row["accuracy"] for row in first.rows]
    assert second.claims == first.claims


def test_finished_trials_are_left_alone(study: InlineStudy) -> None:
    reader = Store.read(study.settings.store, study.settings.study)
    before = [trial.results for trial in reader.trials()]
    verify(study, [taught(study)], seeds=2, compare=False)

    assert [trial.results for trial in reader.trials()] == before


def test_strangers_and_a_fourth_student_are_refused(study: InlineStudy) -> None:
    front = [row["trial"] for row in study.rows()]
    with pytest.raises(ConfigError, match=f"got {max(front) + 100}; expected students of the front"):
        verify(study, [max(front) + 100])
    with pytest.raises(ConfigError, match="shortlist: got 4; expected 1 to 3"):
        verify(study, shortlist=4)
    for seeds in (0, -1, 2.5, True):
        with pytest.raises(ConfigError, match=f"seeds: got {seeds}; expected a whole number from 1"):
            verify(study, seeds=seeds)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"trials: got \[\]; expected numbers of trials"):
        verify(study, [])
    with study.open_store() as store:
        before = store.described().get("verified", [])
        store.describe({"verified": [101, 102, 103]})
    try:
        with pytest.raises(ConfigError, match=r"at most 3 students of a study in all.*verified before: 101, 102, 103"):
            verify(study, [front[0]])
    finally:
        with study.open_store() as store:
            store.describe({"verified": before})


def test_the_store_knows_who_was_verified_before_the_test_split_is_read(
    study: InlineStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    front = {row["trial"] for row in study.rows()}
    fresh = max(front - {taught(study)})
    monkeypatch.setattr("autostudent.verify.proof.trained", killed)
    with pytest.raises(KeyboardInterrupt):
        verify(study, [fresh], seeds=2, compare=False)

    assert fresh in Store.read(study.settings.store, study.settings.study).described()["verified"]


@pytest.mark.slow
def test_claims_of_an_earlier_student_stay(study: InlineStudy) -> None:
    first = taught(study)
    verify(study, [first], seeds=2)
    other = next(row["trial"] for row in study.rows() if row["trial"] != first)
    verify(study, [other], seeds=2, compare=False)

    kept = Store.read(study.settings.store, study.settings.study).described()["claims"]
    named = [claim["difference"] for claim in kept]
    assert len(named) == len(set(named)) == 6
    assert {f"main - student {first}", f"main - student {other}"} <= set(named)


def bench(study: InlineStudy) -> Bench:
    with study.runner() as runner:
        return Bench(TrialWorker(study.prepare(runner).setup))


def test_a_control_of_twice_the_epochs_sees_a_new_view_in_each(study: InlineStudy) -> None:
    student = student_of(study, next(row for row in study.rows() if row["method"] != "none"))
    same, longer, _ = (control.tasks(1, None)[0] for control in controls(student))
    jobs = bench(study)

    assert jobs.job(longer).bank.views == jobs.job(longer).optim.epochs == 12
    assert jobs.job(same).bank.views == 6
    short, long = jobs.job(same).bank, jobs.job(longer).bank
    assert bool((short.view(5) == long.view(5)).all())  # and the first views are those of the student

    few = dataclasses.replace(jobs.worker.setup, training=dataclasses.replace(jobs.worker.setup.training, views=2))
    assert {Bench(TrialWorker(few)).job(task).bank.views for task in (same, longer)} == {2}
    assert not bool((long.view(3) == long.view(9)).all())


def test_a_rival_is_taught_plainly_with_the_optimiser_of_the_student(study: InlineStudy) -> None:
    plainly = {"kd.loss": "kd", "kd.temperature": 7.0, "kd.weight": 0.5, "kd.kl_reduction": "elementmean"}
    recipe = {**plainly, "teach.scheme": "experts", "optim.lr": 0.03}
    student = dataclasses.replace(student_of(study, study.rows()[0]), config=recipe)
    rival = rivals_of(study, student)[0]

    assert rival.config == {**plainly, "optim.lr": 0.03}
    assert rival.how == f"kd, optimised like {student.name}"
    plain = rivals_of(study, dataclasses.replace(student, config={"kd.loss": "none", "optim.lr": 0.2}))[0]
    assert plain.config == {"kd.loss": "kd", "optim.lr": 0.2}


def with_rivals(study: InlineStudy, limit: float | None, *names: str) -> InlineStudy:
    """The study with torchvision rivals of these names, and another limit on parameters."""
    quality, params, *others = study.settings.objectives
    objectives = (quality, dataclasses.replace(params, limit=limit), *others)
    rivals = RivalSettings(trials=2, torchvision=names or None)
    return InlineStudy(dataclasses.replace(study.settings, objectives=objectives, rivals=rivals))


def test_torchvision_models_that_fit_are_rivals_and_the_others_are_named(study: InlineStudy) -> None:
    said: list[str] = []
    assert torchvision_models(with_rivals(study, 20_000), said.append) == {}
    assert len(said) == len(SMALL)
    assert said[0] == "shufflenet_v2_x0_5 is no rival here: 352 k parameters, more than 20.0 k"
    assert said[1].startswith("squeezenet1_1 is no rival here: the network cannot read pictures of shape (1, 8, 8)")

    found = torchvision_models(with_rivals(study, 400_000), lambda text: None)
    assert list(found) == ["shufflenet_v2_x0_5"]
    student = dataclasses.replace(student_of(study, study.rows()[0]), config={"kd.loss": "none", "optim.lr": 0.2})
    (rival,) = torchvision_rivals(found, student)
    assert rival.kind == "rival"
    assert rival.costs["params"] == 352_042  # torchvision's 1,366,792 with a head of 10 classes instead of 1,000
    assert rival.config == {"kd.loss": "kd", "optim.lr": 0.2}
    with pytest.raises(ConfigError, match=r"rivals.torchvision: got 'resnet19'.*did you mean 'resnet18'"):
        torchvision_models(with_rivals(study, None, "resnet19"), lambda text: None)


@pytest.mark.slow
def test_a_torchvision_rival_is_trained_and_measured_the_same_each_time(study: InlineStudy, tmp_path: Path) -> None:
    models = torchvision_models(with_rivals(study, 400_000, "shufflenet_v2_x0_5"), lambda text: None)
    (rival,) = torchvision_rivals(models, student_of(study, study.rows()[0]))
    task = rival.tasks(1, "split")[0]
    again = tmp_path / "assets"
    shutil.copytree(study.assets.root, again, ignore=shutil.ignore_patterns("verified"))
    setup = bench(study).worker.setup
    first, second = (
        run_task(dataclasses.replace(setup, artifacts=str(root)), task) for root in (setup.artifacts, again)
    )

    row = Measured(rival, (first,)).row()
    assert (row["name"], row["kind"], row["params"]) == (rival.name, "rival", 352_042)
    assert 0 < row["accuracy"] < 1
    assert second["test"] == first["test"]


@pytest.mark.slow
def test_fresh_graphs_of_the_generator_show_its_spread(study: InlineStudy) -> None:
    proof = verify(study, [taught(study)], seeds=2, compare=False, family=2)

    family = next(row for row in proof.rows if row["kind"] == "family")
    assert family["seeds"] == 2
    assert family["accuracy_sd"] >= 0
    assert proof.claims[-1]["difference"].endswith(family["name"])
    with pytest.raises(ConfigError, match="family: got 1"):
        verify(study, [taught(study)], family=1)


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on(
    study: InlineStudy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setup = dataclasses.replace(bench(study).worker.setup, artifacts=str(tmp_path / "assets"))
    shutil.copytree(study.assets.root, tmp_path / "assets", ignore=shutil.ignore_patterns("verified"))
    student = student_of(study, study.rows()[0])
    task = dataclasses.replace(student, config={"kd.loss": "none"}).tasks(1, None)[0]
    whole = run_task(dataclasses.replace(setup, artifacts=str(study.assets.root)), task)

    monkeypatch.setattr("autostudent.verify.tasks.KEPT_EVERY_S", 0.0)
    epochs: list[int] = []
    step = Fit._train_step

    def counted(fit: Fit, batch: Any) -> Any:
        epochs.append(fit.epoch)
        if fit.epoch == 4 and 3 in epochs and "cut" not in marks:
            marks.append("cut")
            raise KeyboardInterrupt
        return step(fit, batch)

    marks: list[str] = []
    monkeypatch.setattr(Fit, "_train_step", counted)
    with pytest.raises(KeyboardInterrupt):
        run_task(setup, task)
    epochs.clear()
    resumed = run_task(setup, task)

    assert min(epochs) == 4
    assert resumed["validation"] == whole["validation"]


SCRIPT = """
import sys
from pathlib import Path
from autostudent.testing.studies import InlineStudy, small_settings
from autostudent.verify import proof, verify
study = InlineStudy(small_settings(Path(sys.argv[1]), data={"name": "digits", "limit": 300}))
verify(study, [int(sys.argv[2])], seeds=4, compare=False)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_same_call_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    study = InlineStudy(small_settings(tmp_path, trials=3, data={"name": "digits", "limit": 300}))
    study.run()
    student = study.rows()[0]["trial"]
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(student)]

    def done() -> dict[str, int]:
        return {file.parent.name: file.stat().st_mtime_ns for file in tmp_path.glob("assets/verified/*/manifest.json")}

    first = subprocess.Popen(command)
    while not done() and first.poll() is None:
        time.sleep(0.05)
    first.kill()
    first.wait()
    before = done()
    assert 1 <= len(before) < 4
    subprocess.run(command, check=True)

    after = done()
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    stored = Store.read(study.settings.store, study.settings.study)
    assert stored.references()[f"verified: student {student}"]["seeds"] == 4
    assert stored.described()["verified"] == [student]


def small_graph() -> dict[str, Any]:
    space = load_space("resnet_family", None)
    config = {**space.sample(np.random.default_rng(0)), "params.target": 5e3}
    return freeze(Candidate(config, 0), space, InputShape(1, 8, 8, 10)).to_json()


def test_seeds_that_diverged_are_counted_and_left_out() -> None:
    graph = small_graph()
    student = Contender("student 1", "student", "kd", (graph,), {}, ("a",), 6)
    control = dataclasses.replace(student, name="student 1, no teacher", kind="control")
    right = torch.tensor([True, True, True, False])

    def outcome(*correct: int) -> dict[str, Any]:
        vector = torch.tensor(correct).bool()
        figures = {"accuracy": float(vector.double().mean()), "nll": 1.0, "ece": 0.1, "agreement": 0.5}
        return {"test": figures, "validation": figures, "correct": pack(vector), "seconds": {"student": 1.0}}

    failed = {"failed": "the loss is nan"}
    ours = Measured(student, (outcome(1, 1, 1, 0), failed, outcome(1, 1, 0, 0)))
    theirs = Measured(control, (outcome(1, 1, 0, 0), outcome(1, 1, 1, 1), outcome(1, 0, 0, 0)))

    assert ours.row()["seeds"] == 2
    assert ours.row()["diverged"] == 1
    assert ours.row()["accuracy"] == pytest.approx(0.625)
    claims = claims_of([ours, theirs], {"name": "main", "params": 10_000}, right)
    assert claims[1]["points"] == pytest.approx(25.0)  # seeds 1 and 3 alone
    assert claims[1]["high"] - claims[1]["low"] > 10  # both seeds say 25, of four pictures
    assert claims[1]["seeds"] == 2
    assert Measured(student, (failed, failed)).row()["accuracy"] is None
    once = [Measured(each.contender, each.outcomes[:1]) for each in (ours, theirs)]
    verdicts = [claim["verdict"] for claim in claims_of(once, {"name": "main", "params": 10_000}, right)]
    assert verdicts == ["unknown", "unknown"]  # one training says nothing, not that nothing is between them


def test_three_seeds_unless_told_otherwise() -> None:
    assert inspect.signature(verify).parameters["seeds"].default == 3
    assert inspect.signature(command).parameters["seeds"].default == 3


def test_front_is_a_data_frame_with_the_promised_columns(study: InlineStudy) -> None:
    frame = study.front()

    assert frame.index.name == "trial"
    assert list(frame.columns[:6]) == ["accuracy", "params", "macs", "memory_bytes", "method", "teachers"]
    assert (frame["params"] <= 20_000).all()


def test_check_reports_teacher_sizes_and_time_without_a_store(tmp_path: Path) -> None:
    study = InlineStudy(small_settings(tmp_path))
    report = study.check()

    assert [row["name"] for row in report.teachers] == ["main", "ta1", "ta2"]
    least, median, most = report.sizes["params"]
    assert least < median < most <= 20_000
    assert report.seconds > 0
    assert not (tmp_path / "small" / "study.db").exists()


def test_logistic_regression_reads_averaged_pictures_where_all_would_be_too_many(
    study: InlineStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.arange(2 * 16, dtype=torch.uint8).reshape(2, 1, 4, 4)
    assert proof.pixels(x, (4, 4)) == pytest.approx((x.flatten(1) / 255).numpy())
    assert proof.pixels(x, (2, 2))[0] == pytest.approx(np.array([2.5, 4.5, 10.5, 12.5]) / 255)
    whole = proof.logistic_row(study)
    monkeypatch.setattr(proof, "PIXELS", study.dataset.train.x.numel() // 4)
    small = proof.logistic_row(study)
    classes = len(study.dataset.classes)
    assert (whole["params"], small["params"]) == (65 * classes, 17 * classes)
    assert 0.5 < small["accuracy"] <= 1
