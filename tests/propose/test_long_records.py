"""Of a long record the model remembers a part, chosen by the record alone; the stream of draws needs no beginning."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autostudent.front import nondominated
from autostudent.propose import make, memory
from autostudent.propose.base import generator
from autostudent.propose.catalogue import Catalogue
from autostudent.propose.memory import remembered
from autostudent.propose.targets import Measurement
from autostudent.records import Candidate, Trial, TrialState
from autostudent.testing.landscape import landscape_problem
from autostudent.testing.proposers import THREE_RUNGS, TWO_RUNGS, play


def record(rows: int) -> list[Measurement]:
    """Measurements of which every third is of the last of two rungs."""
    rng = np.random.default_rng(0)
    trial = Trial(0, Candidate({}, 0), "", TrialState.COMPLETE)
    return [
        Measurement(trial, int(i % 3 == 0), float(rng.random()), i, (float(rng.random()),), ()) for i in range(rows)
    ]


def test_a_record_of_usual_length_is_remembered_whole() -> None:
    assert remembered(record(memory.MOST), 1).tolist() == list(range(memory.MOST))
    assert remembered([], 1).tolist() == []


def test_a_long_record_keeps_its_front_and_its_newest() -> None:
    rows = record(9_000)
    kept = remembered(rows, 1)
    assert memory.MOST_OF_LONG - memory.STEP <= len(kept) <= memory.MOST_OF_LONG
    assert (np.diff(kept) > 0).all()
    full = [i for i, row in enumerate(rows) if row.level == 1]
    front = nondominated(np.array([[rows[i].loss, *rows[i].others] for i in full]))
    assert {i for i, best in zip(full, front, strict=True) if best} <= set(kept)
    assert set(range(8_700, 9_000)) <= set(kept)
    spread = np.histogram(kept, bins=9, range=(0, 9_000))[0]
    assert spread.min() > 30  # no part of the search is forgotten


def test_old_memories_change_rarely() -> None:
    rows = record(9_249)
    for start in (5_000, 9_000):
        before, after = (remembered(rows[:n], 1) for n in (start, start + 249))
        assert after[: len(before)].tolist() == before.tolist()
        assert after[len(before) :].tolist() == list(range(start, start + 249))


def test_a_record_without_full_trainings_is_spread_evenly() -> None:
    rows = [row for row in record(9_000) if row.level == 0]
    kept = remembered(rows, 1)
    assert len(kept) == len(set(kept)) <= memory.MOST


@pytest.mark.slow
@pytest.mark.parametrize("rungs", [(9,), TWO_RUNGS, THREE_RUNGS])
def test_a_study_that_forgets_is_resumed_as_if_it_had_not_stopped_and_keeps_its_share(
    rungs: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST", 12)
    monkeypatch.setattr(memory, "STEP", 3)
    problem = landscape_problem(24, rungs)
    options = {"fresh": 24, "relatives": 8, "rounds": 1}
    whole, proposals = play(make("bayes", **options), problem)
    half, first = play(make("bayes", **options), problem, segments=20)
    _, rest = play(make("bayes", **options), problem, half)
    assert [p.candidate.key for p in first + rest] == [p.candidate.key for p in proposals]
    assert len(whole) == 24
    assert sum(trial.state is TrialState.COMPLETE for trial in whole) >= math.ceil(24 / 3)


def test_draws_do_not_depend_on_those_before() -> None:
    problem = landscape_problem(limit=3_000)  # half of the draws are over the limit
    whole = Catalogue(problem, generator).fresh(0, 40)
    assert len(whole) == 40
    assert Catalogue(problem, generator).fresh(30, 33) == whole[30:33]
    assert all(option.description.costs["params"] <= 3_000 for option in whole)
