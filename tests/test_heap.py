"""Memory of the process: no collections while a record is read, freed pages returned."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from autostudent import heap
from autostudent.heap import give_back, uncollected
from autostudent.propose import make
from autostudent.propose.history import History
from autostudent.records import Candidate, Cause, Result, Segment
from autostudent.run import base
from autostudent.store import record
from autostudent.store.trials import Trials


def test_no_collection_inside_and_as_before_afterwards() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collections_that_were_off_stay_off_and_errors_put_them_back() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ValueError, match="inside"), uncollected():
        raise ValueError("inside")
    assert gc.isenabled()


@pytest.mark.skipif(heap._malloc_trim() is None, reason="the C library cannot return memory")
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="another allocator may be loaded")
def test_freed_memory_between_pieces_in_use_is_returned() -> None:
    resident = psutil.Process().memory_info
    pieces = [bytearray(b"x") * 100_000 for _ in range(2000)]  # below glibc's threshold for pages of their own
    kept_alive = pieces[::2]
    del pieces
    before = resident().rss
    give_back()
    assert before - resident().rss > 50 * 2**20
    assert len(kept_alive) == 1000


def test_a_platform_without_it_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_malloc_trim", lambda: None)
    give_back()


def test_every_segment_gives_back_what_it_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(base, "give_back", lambda: given.append(1))
    segment = Segment(0, Candidate({}, 0), 0, 1)

    class Fine:
        def run(self, segment: Segment) -> Result:
            return Result(epoch=1)

    class Broken:
        def run(self, segment: Segment) -> Result:
            raise ValueError("no")

    assert base.guarded(Fine, segment).failure is None
    failure = base.guarded(Broken, segment).failure
    assert failure is not None
    assert failure.cause is Cause.BUG
    assert len(given) == 2


def test_reading_a_record_and_proposals_of_bayes_pause_collections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[bool] = []

    def read(*given: Any) -> None:
        running.append(gc.isenabled())

    def of(problem: Any, trials: Sequence[Any]) -> None:
        running.append(gc.isenabled())
        raise InterruptedError

    monkeypatch.setattr(record, "read", read)
    monkeypatch.setattr(History, "of", of)
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    Trials(study._storage, study.study_name, None).load()
    with pytest.raises(InterruptedError):
        make("bayes").ask(None, [])  # type: ignore[arg-type]
    assert running == [False, False]
    assert gc.isenabled()
