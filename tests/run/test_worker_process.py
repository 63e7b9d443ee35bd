"""What a worker process does for itself: answers that travel, a broken GPU, notes that cannot be left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autostudent.errors import AssetError
from autostudent.records import Candidate, Cause, Segment

worker = pytest.importorskip("autostudent.run.ray_worker")
ray_tune = pytest.importorskip("autostudent.run.ray_tune")
lost_result = pytest.importorskip("autostudent.run.ray_loop").lost_result


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
