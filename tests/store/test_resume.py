"""What may change when a study goes on, and what a refusal says."""

from __future__ import annotations

import pytest

from autostudent.errors import StoreError
from autostudent.store.resume import differences

STORED = {
    "study": "a",
    "space": {"students": "tiny", "forbid": []},
    "objectives": [{"name": "accuracy", "limit": None}, {"name": "params", "limit": 100}],
    "budget": {"trials": 10, "rungs": [3, 9]},
    "run": {"workers": 2, "address": None},
    "retention": "front",
}


def changed(**entries):
    return differences(STORED, {**STORED, **entries})


def test_more_trials_other_workers_other_retention_may_be():
    assert changed() == []
    assert changed(budget={"trials": 11, "rungs": [3, 9]}) == []
    assert changed(run={"workers": 8, "timeout_s": 3}) == []
    assert changed(retention="all") == []


def test_everything_else_is_named():
    assert changed(budget={"trials": 9, "rungs": [3, 9]}) == ["budget.trials was 10, now 9 (it may only grow)"]
    assert changed(budget={"trials": 12, "rungs": [9]}) == ["budget.rungs was [3, 9], now [9]"]
    assert changed(space={"students": "cnn", "forbid": []}) == ["space.students was 'tiny', now 'cnn'"]
    assert changed(objectives=[{"name": "accuracy", "limit": None}, {"name": "params", "limit": 50}]) == [
        "objectives.params.limit was 100, now 50"
    ]
    assert changed(data={"name": "digits"}) == ["data.name was nothing, now 'digits'"]
    assert changed(runner="x") == ["runner was nothing, now 'x'"]


def test_the_store_refuses_another_study_in_one_line(toy):
    with toy.open() as store:
        toy.drive(store)
    with pytest.raises(StoreError) as error:
        toy.open(space={f"param{n}": n for n in range(40)})
    assert str(error.value).startswith(f"study 'toy' in {toy.url} was begun with other settings: space.param0 was")
    assert "and 35 more" in str(error.value)
    assert len(str(error.value)) < 800
    with toy.open(run={"workers": 64}, retention="all"):
        pass
    assert toy.read().resolved()["run"] == {"workers": 64}


def test_a_larger_budget_adds_students_and_leaves_the_pruned(toy):
    with toy.open() as store:
        toy.drive(store)
    with toy.open(trials=6) as store:
        assert [str(trial.state) for trial in store.trials()] == ["complete", "pruned", "fail", "complete", "complete"]
        assert toy.create(store, 5).number == 5
        toy.train(store, 5, 3)
        assert toy.train(store, 5, 9).results[-1].order == 8
        store.finish()
    with pytest.raises(StoreError, match=r"budget\.trials was 6, now 5"):
        toy.open(trials=5)


def test_a_study_without_students_takes_whatever_the_file_says(toy):
    with toy.open():
        pass
    with toy.open(space={"students": "other"}):
        pass
    assert toy.read().resolved()["space"] == {"students": "other"}
