"""The store's states, what plain Optuna sees of them, and what a reader sees."""

from __future__ import annotations

import json
import sqlite3
import threading

import optuna
import pytest

from autostudent.errors import StoreError
from autostudent.records import Candidate, Cause, Edit, Failure, Objective, TrialState
from autostudent.store.attributes import LIMIT
from autostudent.store.rows import nondominated_rows
from autostudent.store.store import Store


def optuna_trials(toy):
    return optuna.load_study(study_name="toy", storage=toy.url).trials


def test_a_study_runs_through_its_states(toy, store):
    assert toy.create(store, 0).state is TrialState.NEW
    started = store.start(0, 3)
    assert (started.state, started.until_epoch, started.attempt) == (TrialState.TRAINING, 3, 1)
    paused = store.commit(0, toy.result(0, 3))
    assert (paused.state, paused.epoch, paused.results[0].order) == (TrialState.PAUSED, 3, 0)
    assert {row.state.name for row in optuna_trials(toy)} == {"RUNNING"}
    store.start(0, 9)
    done = store.commit(0, toy.result(0, 9))
    assert (done.state, done.epoch, done.attempt) == (TrialState.COMPLETE, 9, 1)
    assert done.curve("accuracy") == ((3, 0.53), (9, 0.59))


def test_plain_optuna_sees_a_sound_study(toy, store):
    toy.drive(store)
    study = optuna.load_study(study_name="toy", storage=toy.url)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.metric_names == ["accuracy", "params", "memory_bytes"]
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    last = study.trials[3]
    assert last.values == pytest.approx([0.74, 400, 4093])
    assert last.params == {"width": 4, "kd.loss": "kd", "kd.temperature": 4.0}
    assert "kd.temperature" not in study.trials[0].params
    named = {name: value for name, value in last.constraints.items() if not name.isdecimal()}
    assert named == pytest.approx({"params": -600.0, "accuracy": -0.64})
    assert last.system_attrs["constraints"] == pytest.approx([-600.0, -0.64])  # what optuna-dashboard shows
    assert last.user_attrs["method"] == "kd"
    assert last.user_attrs["cost:macs"] == 5000
    assert last.user_attrs["segment:9:1"]["values"] == {"accuracy": pytest.approx(0.74)}
    assert [trial.number for trial in study.best_trials] == [row["trial"] for row in store.front()]


def test_what_is_read_again_equals_what_was_written(toy):
    with toy.open() as store:
        toy.create(store, 0)
        toy.train(store, 0, 3)
        toy.create(store, 1)
        store.start(1, 3)
        toy.create(store, 2)
        toy.train(store, 2, 3)
        before, labels = store.trials(), store.about(1)
    with toy.open() as store:
        assert store.trials() == before
        assert store.about(1) == labels == {"method": "kd", "teachers": ["main"], "graph": "g1"}
    reader = toy.read()
    assert reader.trials() == before
    assert reader.rows() == store.rows()


def test_front_rows_hold_what_readers_need(toy, store):
    toy.drive(store)
    row = store.front()[0]
    assert {"trial", "state", "accuracy", "params", "macs", "memory_bytes", "method", "teachers"} <= set(row)
    assert row["state"] == "complete"
    assert row["candidate"] == toy.candidate(0).to_json()
    assert row["seconds"] == {"student": 3.0, "private": 0.0}
    assert (row["assets"], row["graph"], row["nll"]) == ({"weights": "w0"}, "g0", 0.4)
    assert toy.read().front() == store.front()
    json.dumps(store.rows())


def test_the_front_holds_the_undominated_within_limits(toy, store):
    kinds = {0: (0.9, 500), 1: (0.8, 600), 2: (0.95, 700), 3: (0.99, 1001), 4: (0.05, 10), 5: (0.9, 500)}
    for number, (accuracy, params) in kinds.items():
        store.create(toy.candidate(number), "f", {"params": params, "memory_bytes": 1}, {})
        store.start(number, 9)
        store.commit(number, toy.result(number, 9, values={"accuracy": accuracy}))
    assert [row["trial"] for row in store.front()] == [0, 2, 5]
    assert store.unreferenced_weights() == ["w1", "w3", "w4"]
    assert store.unreferenced_weights() == []
    assert store.summary()["revision"] == 3


def test_who_misses_a_reference_is_not_on_the_front():
    objectives = (Objective("accuracy", "maximize", reference=0.5), Objective("params", "minimize", exact=True))
    rows = [{"trial": n, "accuracy": a, "params": p} for n, (a, p) in enumerate([(0.4, 1), (0.6, 9), (0.5, 5)])]
    assert [row["trial"] for row in nondominated_rows(rows, objectives)] == [1, 2]


def test_a_dominated_member_leaves_and_its_weights_with_it(toy, store):
    for number, accuracy in enumerate([0.6, 0.7]):
        store.create(toy.candidate(number), "f", {"params": 5, "memory_bytes": 1}, {})
        store.start(number, 9)
        store.commit(number, toy.result(number, 9, values={"accuracy": accuracy}))
        assert [row["trial"] for row in toy.read().front()] == [number]
    assert store.unreferenced_weights() == ["w0"]
    held = optuna.load_study(study_name="toy", storage=toy.url).user_attrs
    assert {name for name, row in held.items() if name.startswith("row:") and row is not None} == {"row:1"}


@pytest.mark.parametrize(
    ("values", "cause"),
    [({"accuracy": float("nan")}, Cause.DIVERGED), ({"accuracy": float("inf")}, Cause.DIVERGED), ({}, Cause.BUG)],
)
def test_an_unusable_value_fails_the_trial_and_never_reaches_tell(toy, store, values, cause):
    toy.create(store, 0)
    store.start(0, 3)
    trial = store.commit(0, toy.result(0, 3, values=values))
    assert (trial.state, trial.failure.cause) == (TrialState.FAIL, cause)
    assert "accuracy" in trial.failure.message
    assert optuna_trials(toy)[0].state.name == "FAIL"


def test_a_metric_that_is_not_finite_is_left_out(toy, store):
    toy.create(store, 0)
    store.start(0, 3)
    trial = store.commit(0, toy.result(0, 3, metrics={"nll": float("inf"), "ece": 0.2}))
    assert (trial.state, trial.results[0].metrics) == (TrialState.PAUSED, {"ece": 0.2})


def test_a_failure_keeps_cause_message_and_traceback(toy, store):
    toy.create(store, 0)
    store.start(0, 3)
    store.commit(0, toy.result(0, 3, failure=Failure(Cause.OUT_OF_MEMORY, "m" * 9000, "line\n" * 9000)))
    reader = toy.read()
    failed = reader.trial(0)
    assert failed == store.trial(0)
    assert failed.failure.cause is Cause.OUT_OF_MEMORY
    assert failed.failure.message.startswith("mmm")
    assert reader.traceback(0) == "line\n" * 9000
    assert reader.summary()["failures"] == {"out_of_memory": 1}


def test_a_second_start_of_a_segment_is_another_attempt(toy, store):
    toy.create(store, 0)
    store.start(0, 3)
    assert store.start(0, 3).attempt == 2
    store.commit(0, toy.result(0, 3))
    assert store.start(0, 9).attempt == 1
    assert "segment:3:2" in optuna_trials(toy)[0].user_attrs


def test_what_cannot_follow_is_refused(toy, store):
    toy.create(store, 0)
    with pytest.raises(StoreError, match="no segment of it is out"):
        store.commit(0, toy.result(0, 3))
    store.start(0, 3)
    with pytest.raises(StoreError, match="epoch 3 is awaited"):
        store.commit(0, toy.result(0, 9))
    with pytest.raises(StoreError, match=r"trials \[0\] are not done"):
        store.finish()
    store.fail(0, Failure(Cause.TIMEOUT, "took 10 s"))
    with pytest.raises(StoreError, match="fail already"):
        store.fail(0, Failure(Cause.TIMEOUT, "took 10 s"))
    with pytest.raises(StoreError, match="cannot train to 9"):
        store.start(0, 9)
    with pytest.raises(StoreError, match="has no trial 7"):
        store.start(7, 3)
    with pytest.raises(StoreError, match="opened to read"):
        toy.read().finish()


def test_no_attribute_is_longer_than_4_kb(toy, store):
    huge = Candidate({"width": 1, "kd.loss": "none"}, 0, tuple(Edit("swap", {"at": f"cell{n}.é"}) for n in range(300)))
    store.create(huge, "f", {"params": 5, "memory_bytes": 1}, {"method": "none", "long": 'x"\\' * 5000})
    store.start(0, 9)
    store.commit(0, toy.result(0, 9, metrics={f"metric{n}": n / 7 for n in range(400)}))
    store.set_reference("teacher", {"note": '"quoted"\\' * 2000})
    rows = sqlite3.connect(toy.file).execute(
        "select key, value_json from trial_user_attributes union select key, value_json from study_user_attributes"
    )
    longest = max(rows, key=lambda row: len(row[1]))
    assert len(longest[1]) <= LIMIT + 2, longest[0]
    reader = toy.read()
    assert reader.trials() == store.trials()
    assert reader.trial(0).candidate == huge
    assert reader.front() == store.front()
    assert reader.references() == {"teacher": {"note": '"quoted"\\' * 2000}}


def test_references_and_facts_are_kept_and_replaced(toy, store):
    store.set_reference("main", {"kind": "teacher", "accuracy": 0.9, "nll": float("nan")})
    store.set_reference("main", {"kind": "teacher", "accuracy": 0.95, "nll": None})
    store.describe({"claims": [{"name": "a"}], "teachers": {"main": "key"}})
    store.describe({"claims": []})
    reader = toy.read()
    assert reader.references() == {"main": {"kind": "teacher", "accuracy": 0.95, "nll": None}}
    assert reader.described() == {"claims": [], "teachers": {"main": "key"}}


def test_the_study_remembers_versions_source_and_history(toy):
    with toy.open() as store:
        toy.drive(store)
    with toy.open(trials=6):
        pass
    events = toy.read().events()
    assert [event["what"] for event in events] == ["opened", "finished", "opened"]
    assert events[0]["versions"].keys() >= {"python", "autostudent", "torch", "optuna"}
    assert "revision" in events[0]


def test_a_row_made_by_another_program_is_set_to_fail(toy):
    with toy.open() as store:
        toy.create(store, 0)
        toy.train(store, 0, 3)
    study = optuna.load_study(study_name="toy", storage=toy.url)
    study.ask()
    study.enqueue_trial({"width": 3})
    with toy.open() as store:
        assert [line for line in store.repaired if "made by another program" in line] == [
            "trial 1: a row without a student, made by another program; set to FAIL",
            "trial 2: a row without a student, made by another program; set to FAIL",
        ]
        assert [trial.number for trial in store.trials()] == [0]
        toy.create(store, 1)
        assert store.trials()[1].number == 3
        study.ask()
        toy.train(store, 3, 3)
        store.finish()
    assert not any(trial.state.name in ("RUNNING", "WAITING") for trial in optuna_trials(toy))


def test_reopen_repairs_without_the_study_file(toy):
    with toy.open() as store:
        toy.create(store, 0)
        store.start(0, 3)
    with Store.reopen(toy.url, None, toy.assets) as store:
        assert store.repaired == ["trial 0: training until epoch 3 was cut off; it is done again"]
        assert store.objectives == toy.objectives


def test_the_journal_file_is_a_store_too(toy, tmp_path):
    journal = type(toy)(tmp_path, scheme="journal")
    with journal.open() as store:
        journal.create(store, 0)
        journal.train(store, 0, 3)
        with pytest.raises(StoreError, match="is driven by process"):
            journal.open()
    whole = journal.file.read_bytes()
    journal.file.write_bytes(whole + b'{"op_code": 8, "torn')
    with journal.open() as store:
        journal.drive(store)
    assert [str(trial.state) for trial in journal.read().trials()] == ["complete", "pruned", "fail"] + ["complete"] * 2
    assert journal.read().front()


def test_a_thread_of_its_own_may_drive(toy, store):
    """Runners commit from a thread that is not the one that opened the store."""
    thread = threading.Thread(target=toy.drive, args=(store,))
    thread.start()
    thread.join()
    assert [row["trial"] for row in store.front()] == [0, 3, 4]
    toy.create(store, 5)
