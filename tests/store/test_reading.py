"""Reading the front: light, quick, and while a driver writes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import optuna
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from autostudent.errors import StoreError
from autostudent.records import TrialState
from autostudent.store.backend import open_to_look
from autostudent.store.opening import quiet
from autostudent.store.scan import any_trial, scan, study_attributes, study_ids, trial_attribute

HEAVY = ("torch", "ray", "botorch", "gpytorch", "pandas", "sklearn", "networkx", "plotly", "numpy", "optuna", "alembic")


def test_the_front_is_read_without_heavy_imports(toy, store):
    toy.drive(store)
    code = (
        "import json, sys\n"
        "from autostudent.store.choose import best\nfrom autostudent.store.store import Store\n"
        "with Store.read(sys.argv[1]) as store:\n    rows = store.front()\n"
        "best(rows)\n"
        f"print(json.dumps([[row['trial'] for row in rows], [name for name in {HEAVY} if name in sys.modules]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, toy.url], capture_output=True, text=True, check=True)
    trials, heavy = json.loads(done.stdout)
    assert (trials, heavy) == ([0, 3, 4], [])
    assert done.stderr == ""


def test_choosing_needs_no_storage():
    code = "import sys\nimport autostudent.store.choose\nassert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def median(times) -> float:
    return sorted(times)[len(times) // 2]


def test_a_segment_is_committed_in_milliseconds(toy, store):
    """Processor time, so that neighbours do not count."""
    times = []
    for number in range(8):
        toy.create(store, number)
        for epoch in toy.rungs:
            store.start(number, epoch)
            started = time.process_time()
            store.commit(number, toy.result(number, epoch))
            times.append(time.process_time() - started)
    assert median(times) < 0.15


@pytest.mark.slow
def test_a_thousand_trials_open_in_seconds_and_the_front_at_once(toy, store):
    """Every tenth student is on the front. Seconds of this process, so that neighbours do not count."""
    for n in range(1000):
        store.create(toy.candidate(n % 60), f"f{n}", {"params": n + 1, "memory_bytes": 1}, {"method": "kd"})
        store.start(n, 9)
        store.commit(n, toy.result(n, 9, values={"accuracy": 0.2 + n / 2000 if n % 10 == 0 else 0.15}))
    assert len(store.front()) == 100
    store.close()
    started = time.process_time()
    with toy.open() as again:
        assert time.process_time() - started < 8.0
        assert sum(trial.state is TrialState.COMPLETE for trial in again.trials()) == 1000
    started = time.process_time()
    with toy.read() as reader:
        assert len(reader.front()) == 100
    assert time.process_time() - started < 1.0


@pytest.fixture
def statements():
    """All SQL that any engine executes."""
    said: list[str] = []

    def note(connection, cursor, statement, parameters, context, executemany):
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield said
    event.remove(Engine, "before_cursor_execute", note)


def test_a_driver_opens_many_students_with_the_statements_of_one(toy, statements):
    def opened() -> list[str]:
        statements.clear()
        toy.open().close()
        return list(statements)

    with toy.open() as store:
        toy.train(store, toy.create(store, 0).number, 3)
    one = opened()
    with toy.open() as store:
        for number in range(1, 12):
            toy.create(store, number)
    assert len(opened()) == len(one)
    assert sum("value_json" in said and "FROM trials" in said for said in one) == 1


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_a_scan_finds_what_optuna_finds(toy, scheme):
    toy.url = f"{scheme}:///{toy.file}"
    with toy.open() as store:
        toy.drive(store)
        storage, study = store._opened.storage, store._trials.study_id
        with quiet():
            optuna.create_study(storage=storage, study_name="another").ask()
            empty = storage.get_study_id_from_name(optuna.create_study(storage=storage, study_name="empty").study_name)
        assert any_trial(storage, study)
        assert not any_trial(storage, empty)
        expected = storage.get_all_trials(study)
        for looking in (storage, open_to_look(toy.url)):
            assert scan(looking, empty) == []
            found = [(row.number, row.state, dict(row.attributes)) for row in scan(looking, study)]
            assert found == [(row.number, row.state.name, row.user_attrs) for row in expected]
            assert sorted(study_ids(looking)) == ["another", "empty", "toy"]
            assert study_ids(looking)["toy"] == study
            assert study_attributes(looking, study) == storage.get_study_user_attrs(study)
            failure = trial_attribute(looking, study, toy.fails, "failure")
            assert failure == expected[toy.fails].user_attrs["failure"]
            assert trial_attribute(looking, study, 0, "failure") is None


def test_who_reads_changes_nothing(toy, store):
    """Not even a database that Optuna would bring up to date."""
    toy.drive(store)
    store.close()
    with closing(sqlite3.connect(toy.file)) as database, database:
        database.execute("DELETE FROM version_info")
    before = toy.file.read_bytes()
    with toy.read() as reader:
        assert [row["trial"] for row in reader.front()] == [0, 3, 4]
        assert len(reader.trials()) == toy.students
        assert "Traceback" in reader.traceback(toy.fails)
    assert toy.file.read_bytes() == before
    with closing(sqlite3.connect(toy.file)) as database:
        assert database.execute("SELECT * FROM version_info").fetchall() == []


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_a_trial_that_is_not_there_has_no_traceback(toy, scheme):
    toy.url = f"{scheme}:///{toy.file}"
    with toy.open() as store:
        toy.drive(store)
    with toy.read() as reader, pytest.raises(StoreError, match="no trial 99"):
        reader.traceback(99)


def test_a_study_that_is_deleted_while_somebody_looks_is_named(toy):
    with toy.open() as store:
        toy.drive(store)
    with toy.read() as reader:
        with quiet():
            optuna.delete_study(study_name="toy", storage=toy.url)
        for question in (reader.front, reader.references, reader.trials):
            with pytest.raises(StoreError, match="was deleted"):
                question()


def test_opening_asks_as_much_whatever_the_number_of_other_studies(toy):
    def statements() -> list[int]:
        counts = []
        for opened in (toy.open, toy.read):
            said: list[str] = []
            listener = lambda c, cursor, statement, *rest: said.append(statement)  # noqa: B023, E731
            event.listen(Engine, "before_cursor_execute", listener)
            opened().close()
            event.remove(Engine, "before_cursor_execute", listener)
            counts.append(len(said))
        return counts

    toy.open().close()
    before = statements()
    with quiet():
        for _ in range(20):
            optuna.create_study(storage=toy.url)
    assert statements() == before
