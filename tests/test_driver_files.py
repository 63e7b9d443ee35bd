"""What a driver keeps of a study's files, and what it refuses to go on without."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autostudent.driver import StudyDriver, require_same_teachers
from autostudent.errors import AssetError, StoreError
from autostudent.records import Result, Segment, TrialState
from tests import test_driver
from tests.test_driver import RUNGS, Bench, counts


@pytest.mark.parametrize("retention", ["front", "all"])
def test_weights_of_dominated_students_stay_where_all_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retention: str
) -> None:
    bench = Bench(tmp_path)

    def train(segment: Segment) -> Result:
        """The smaller the better: one student is the whole front."""
        size = bench.catalogue.describe(segment.candidate).costs["params"]
        return replace(bench.train(segment), values={"accuracy": 0.9 - 1e-6 * size})

    monkeypatch.setattr(test_driver, "StudyDriver", partial(StudyDriver, retention=retention))
    done = [trial for trial in bench.drive(train) if trial.state is TrialState.COMPLETE]
    kept = [bench.assets.has(trial.results[-1].assets["weights"]) for trial in done]
    assert kept.count(True) == (1 if retention == "front" else len(done))
    assert len(done) > 1


def test_a_lost_graph_that_is_drawn_otherwise_by_now_stops_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    candidate, _ = next(iter(bench.catalogue.probe(1)))
    strange = bench.catalogue.architecture(candidate)

    def train(segment: Segment) -> Result:
        assert segment.graph is not None
        bench.assets.remove(segment.graph)
        monkeypatch.setattr(bench.catalogue, "architecture", lambda candidate: strange)
        return bench.train(segment)

    with pytest.raises(AssetError):
        bench.drive(train)


def test_a_lost_graph_is_drawn_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    seen: dict[int, list[str]] = {}

    def train(segment: Segment) -> Result:
        assert segment.graph is not None
        assert json.loads(bench.assets.get(segment.graph))
        seen.setdefault(segment.trial, []).append(segment.graph)
        bench.assets.remove(segment.graph)
        return bench.train(segment)

    assert counts(bench.drive(train)).get("fail", 0) == 0
    assert max(map(len, seen.values())) == len(RUNGS)
    assert all(len(set(graphs)) == 1 for graphs in seen.values())


def test_a_checkpoint_that_a_kill_left_of_a_student_underway_is_removed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def train(segment: Segment) -> Result:
        if segment.from_epoch == RUNGS[1]:
            raise KeyboardInterrupt
        return bench.train(segment)

    with pytest.raises(KeyboardInterrupt):
        bench.drive(train)
    earlier = next(trial.results[0] for trial in bench.stored() if trial.epoch == RUNGS[1])
    left = bench.assets.path(earlier.assets["checkpoint"])
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"as if the driver was killed before it removed this")
    bench.drive(bench.train)
    assert not left.exists()


def test_teachers_may_change_until_there_is_a_student() -> None:
    store: Any = SimpleNamespace(study="s", url="u", trials=list, described=lambda: {"teachers": {"main": "old"}})
    require_same_teachers(store, {"main": "new"})
    store.trials = lambda: [1]
    require_same_teachers(store, {"main": "old", "other": "new"})
    with pytest.raises(StoreError, match="begun with another teacher 'main'"):
        require_same_teachers(store, {"main": "new"})
