"""What teachers say of the views, as a study lives with it: killed in the making, altered afterwards, other data."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autostudent.errors import DataError
from autostudent.records import Candidate, Cause, Segment
from autostudent.store.store import Store
from autostudent.testing.studies import InlineStudy, small_settings
from autostudent.trial import TrialWorker

DATA = {"name": "digits", "limit": 300}
TEACHERS, VIEWS = 3, 6

KILLED = """
import os, signal, sys
from pathlib import Path
from autostudent.teach import view_files
from autostudent.testing.studies import InlineStudy, small_settings

folder, moment = Path(sys.argv[1]), int(sys.argv[2])
written, write = [], view_files.write_atomic

def killed(path, data):
    if len(written) == moment:
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / ".part-half").write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)
    written.append(path)

view_files.write_atomic = killed
InlineStudy(small_settings(folder, trials=2, data={"name": "digits", "limit": 300})).run()
"""


def study_in(folder: Path, trials: int = 2) -> InlineStudy:
    return InlineStudy(small_settings(folder, trials=trials, data=DATA))


def shards(folder: Path) -> dict[str, bytes]:
    """Bytes of every stored view, by place; names hold checksums."""
    root = folder / "assets" / "knowledge"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/view-*.npy")}


def found(study: InlineStudy) -> list[Any]:
    """All that students were and reached; not seconds, nor checkpoints and weights, whose headers name their owner."""
    trials = Store.read(study.settings.store, study.settings.study).trials()
    return [
        (t.candidate, t.fingerprint, t.state, t.costs, [(r.epoch, r.values, r.metrics) for r in t.results])
        for t in trials
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> InlineStudy:
    """A search that nothing disturbed."""
    return study_in(tmp_path_factory.mktemp("whole")).run()  # type: ignore[return-value]


def folder_of(study: InlineStudy) -> Path:
    return study.assets.root.parent


@pytest.mark.slow
def test_three_kills_in_the_making_change_neither_bytes_nor_results(whole: InlineStudy, tmp_path: Path) -> None:
    shutil.copytree(folder_of(whole) / "assets" / "teachers", tmp_path / "assets" / "teachers")
    there = 0
    for moment in (0, 4, 9):  # views that this run completes before it is killed in the middle of the next
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(moment)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        there += moment
        assert len(shards(tmp_path)) == there

    cut = study_in(tmp_path).run()
    assert len(shards(tmp_path)) == TEACHERS * VIEWS
    assert shards(tmp_path) == shards(folder_of(whole))
    assert found(cut) == found(whole)


@pytest.mark.slow
def test_a_flipped_byte_is_told_and_mended_before_anything_is_trained(
    whole: InlineStudy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder_of(whole) / "assets" / "teachers", tmp_path / "assets" / "teachers")
    shutil.copytree(folder_of(whole) / "assets" / "knowledge", tmp_path / "assets" / "knowledge")
    for name, data in shards(tmp_path).items():
        if "view-00002" in name:
            (tmp_path / "assets" / "knowledge" / name).write_bytes(data[:-7] + bytes([data[-7] ^ 1]) + data[-6:])

    mended = study_in(tmp_path).run()
    assert caplog.text.count("1 altered or missing views are computed anew") == TEACHERS
    assert shards(tmp_path) == shards(folder_of(whole))
    assert found(mended) == found(whole)


@pytest.mark.slow
def test_a_worker_refuses_other_data_than_the_study_was_prepared_for(whole: InlineStudy) -> None:
    setup = whole.prepare(whole.runner()).setup
    other = dataclasses.replace(setup, data={**setup.data, "limit": 400})
    with pytest.raises(DataError, match="digits: the data changed since the study was prepared"):
        _ = TrialWorker(other).dataset
    assert torch.equal(TrialWorker(setup).dataset.train.x, whole.dataset.train.x)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPUs")
@pytest.mark.slow
def test_a_worker_whose_gpu_never_came_up_blames_no_student(whole: InlineStudy) -> None:
    setup = dataclasses.replace(whole.prepare(whole.runner()).setup, device="cuda")
    config = whole.space.sample(np.random.default_rng(1))
    failure = TrialWorker(setup).run(Segment(0, Candidate(config, 7), 0, setup.rungs[0])).failure
    assert failure is not None
    assert (failure.cause, failure.message) == (Cause.SURROUNDINGS, f"no GPU answers on {platform.node()}")


def test_a_student_whose_checkpoint_is_gone_is_trained_again_and_reaches_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = study_in(tmp_path)
    with study.runner() as runner:
        prepared = study.prepare(runner)
    first, second = prepared.setup.rungs[:2]
    config = study.space.sample(np.random.default_rng(1))
    begun = Segment(0, Candidate(config, 7), 0, first)
    worker = TrialWorker(prepared.setup)
    before = worker.run(begun)
    address = before.assets["checkpoint"]
    going_on = dataclasses.replace(begun, from_epoch=first, until_epoch=second, checkpoint=address)
    whole = worker.run(going_on)

    study.assets.remove(address)
    again = worker.run(going_on)
    assert again.failure is None
    assert (again.values, again.metrics) == (whole.values, whole.metrics)
    assert "student 0 is trained from its first epoch again" in caplog.text

    lost = worker.run(dataclasses.replace(going_on, graph="0" * 40 + ".json"))
    assert lost.failure is not None
    assert lost.failure.cause is Cause.SURROUNDINGS  # nobody's fault: the study stops, the student stays
