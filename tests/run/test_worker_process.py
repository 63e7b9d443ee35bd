"""What a worker process does for itself: answers that travel, a broken GPU, notes that cannot be left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autostudent.errors import AssetError, ConfigError
from autostudent.records import Candidate, Cause, Segment

worker = pytest.importorskip("autostudent.run.ray_worker")
ray_tune = pytest.importorskip("autostudent.run.ray_tune")
ray_loop = pytest.importorskip("autostudent.run.ray_loop")
ray_session = pytest.importorskip("autostudent.run.ray_session")
lost_result = ray_loop.lost_result


class Unreadable:
    """Raises where it is opened."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise AssetError("assets/teachers/1 is missing")


def packed(*parts: Any) -> bytes:
    from ray import cloudpickle

    return bytes(cloudpickle.dumps(parts[0] if len(parts) == 1 else parts))


def test_what_cannot_be_opened_comes_back_as_its_own_error() -> None:
    assert ray_tune._unpack(worker.attempt(packed(abs, 1, 0), packed(-3))) == 3
    for common, item in ((packed(Unreadable(), 1, 0), packed(1)), (packed(abs, 1, 0), packed(Unreadable()))):
        with pytest.raises(AssetError, match="is missing"):
            ray_tune._unpack(worker.attempt(common, item))


LEFT = """
import sys
from types import SimpleNamespace
from autostudent.run import ray_worker

def refuse():
    raise RuntimeError("an illegal memory access was encountered")

sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True, synchronize=refuse))
ray_worker.leave_broken_device("what went wrong", ray_worker.Path(sys.argv[1]))
print("still there")
"""


def test_a_process_ends_when_its_gpu_answers_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment(0, Candidate({}, 0), 0, 3)
    note = str(worker.note_of(str(tmp_path / "notes"), segment))
    done = subprocess.run([sys.executable, "-c", LEFT, note], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "what went wrong")
    lost = lost_result(segment, worker.Plan(1, 1, None, str(tmp_path / "notes")), "died", 1.0).failure
    assert (lost.cause, lost.message) == (Cause.WORKER_LOST, "The GPU answered no more. what went wrong")
    for started in (False, True):
        cuda = SimpleNamespace(is_initialized=lambda started=started: started, synchronize=lambda: None)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        worker.leave_broken_device("a bug")


def test_a_segment_is_watched_where_no_note_can_be_left(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a file")
    trainable = worker.SegmentTrainable.__new__(worker.SegmentTrainable)
    trainable._plan = worker.Plan(1, 0, 60.0, str(tmp_path / "notes"))
    segment = Segment(0, Candidate({}, 0), 0, 3)
    with trainable._watched(segment):
        assert not trainable._note.closed
    assert trainable._note.closed
    trainable._plan = worker.Plan(1, 0, 60.0, str(tmp_path / "others"))
    with trainable._watched(segment):
        assert Path(trainable._note.name) == worker.note_of(str(tmp_path / "others"), segment)
    assert list((tmp_path / "others").iterdir()) == []


def test_a_node_that_dies_is_no_time_out(tmp_path: Path) -> None:
    plan, segment = worker.Plan(1, 0, 300.0, str(tmp_path / "notes")), Segment(0, Candidate({}, 0), 0, 3)
    causes = {}
    for error in ("The actor died unexpectedly.", "The actor died because its node has died."):
        causes[error] = lost_result(segment, plan, error, 350.0).failure.cause
    assert list(causes.values()) == [Cause.TIMEOUT, Cause.WORKER_LOST]


@pytest.mark.parametrize(
    ("total", "gpus", "most"), [(2, 0.6, 2), (2, 0.4, 4), (4, 0.3, 12), (2, 0.5, 4), (1, 0.3333, 3)]
)
def test_no_share_lies_on_two_gpus(total: int, gpus: float, most: int) -> None:
    whole = ray_loop.in_whole_shares({"CPU": 8.0, "GPU": float(total)}, gpus)
    assert whole["CPU"] == 8.0
    assert int(whole["GPU"] / gpus) == most
    assert whole["GPU"] <= total + 1e-3
    assert ray_loop.in_whole_shares({"GPU": 2.0}, 1.0) == {"GPU": 2.0}


def test_one_machine_must_have_all_of_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"CPU": 64.0}, {"CPU": 4.0, "GPU": 1.0}]
    monkeypatch.setattr(ray_session.ray, "nodes", lambda: [{"Alive": True, "Resources": has} for has in nodes])
    ray_session.check_share(64, 0)
    ray_session.check_share(4, 1)
    with pytest.raises(ConfigError, match=r"run\.cpus_per_trial: got 8; expected at most 4, the CPUs of the largest"):
        ray_session.check_share(8, 1)
    with pytest.raises(ConfigError, match=r"run\.gpus_per_trial: got 2; expected at most 1, the GPUs of the largest"):
        ray_session.check_share(1, 2)


def test_a_segment_that_no_worker_was_told_of_is_given_to_another_a_few_times() -> None:
    study = ray_loop.StudyThread(2)
    given: list[Any] = []
    study.give = lambda segment, result: given.append(result.failure)
    searcher = ray_loop.SegmentSearcher(study, worker.Plan(1, 0, None, ""), 2, -1, lambda: False)
    study._offer([Segment(7, Candidate({}, 0), 0, 3)])
    for name in ("a", "b"):
        assert searcher.suggest(name) is not None
        searcher.unstarted(name, "The actor died")
        assert (given, searcher.running) == ([], {})
    assert searcher.suggest("c") is not None
    searcher.unstarted("c", "The actor died")
    assert [failure.cause for failure in given] == [Cause.WORKER_LOST]
    study._offer([Segment(8, Candidate({}, 0), 0, 3)])
    searcher.suggest("d")
    searcher.unstarted("d", "raised in its creation task")
    assert given[1].cause is Cause.BUG
