"""A trial added in a handful of statements is the trial that Optuna would have added."""

from __future__ import annotations

import sqlite3
import threading

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from autostudent.store.insert import add_row

TABLES = {
    "trials": "number, study_id, state, datetime_complete",
    "trial_params": "param_name, param_value, distribution_json",
    "trial_user_attributes": "key, value_json",
    "trial_system_attributes": "key, value_json",
    "trial_values": "objective, value",
    "trial_intermediate_values": "step, intermediate_value",
}

FULL = create_trial(
    state=TrialState.RUNNING,
    params={"width": 12, "loss": "kd", "lr": 0.01},
    distributions={
        "width": IntDistribution(1, 64, log=True),
        "loss": CategoricalDistribution(("none", "kd")),
        "lr": FloatDistribution(1e-4, 1.0, log=True),
    },
    user_attrs={"candidate": {"seed": 3, "text": "ü"}, "cost:params": 812, "teachers": ["main"]},
    constraints={"params": -188.0},
    system_attrs={"constraints": [-188.0]},
)
BARE = create_trial(state=TrialState.RUNNING)


@pytest.fixture
def url(tmp_path):
    """A store with another study in it, whose trials have taken the first ids."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    other = optuna.create_study(storage=url, study_name="other")
    other.ask(), other.ask()
    optuna.create_study(storage=url, study_name="ours", directions=["minimize", "maximize"])
    return url


def rows_of(tmp_path, row: int) -> dict[str, list]:
    with sqlite3.connect(tmp_path / "study.db") as database:
        return {
            table: sorted(database.execute(f"SELECT {columns} FROM {table} WHERE trial_id = ?", (row,)))
            for table, columns in TABLES.items()
        }


@pytest.mark.parametrize("template", [FULL, BARE], ids=["full", "bare"])
def test_the_rows_are_those_that_optuna_writes(tmp_path, url, template):
    storage = RDBStorage(url)
    study = storage.get_study_id_from_name("ours")
    optunas = storage.create_new_trial(study, template)
    ours, number = add_row(storage, study, template)
    assert (storage.get_trial_number_from_id(optunas), number) == (0, 1)
    mine, theirs = rows_of(tmp_path, ours), rows_of(tmp_path, optunas)
    assert mine.pop("trials") == [(1, study, "RUNNING", None)]
    assert theirs.pop("trials") == [(0, study, "RUNNING", None)]
    assert mine == theirs
    read = storage.get_trial(ours)
    assert (read.params, read.distributions) == (template.params, template.distributions)
    assert (read.user_attrs, read.constraints) == (template.user_attrs, template.constraints)
    assert read.datetime_start == template.datetime_start


def test_the_number_of_statements_does_not_grow_with_the_trial(url):
    storage = RDBStorage(url)
    study = storage.get_study_id_from_name("ours")
    counts = []
    for template in (FULL, create_trial(user_attrs={f"a{i}": i for i in range(200)}, state=TrialState.RUNNING)):
        seen: list[str] = []
        listener = lambda c, cursor, statement, *rest: seen.append(statement)  # noqa: B023, E731
        event.listen(storage.engine, "before_cursor_execute", listener)
        add_row(storage, study, template)
        event.remove(storage.engine, "before_cursor_execute", listener)
        counts.append(len(seen))
    assert max(counts) <= 8


def test_no_number_is_given_twice_beside_another_program(url):
    """Another program adds trials through Optuna while ours does: numbers are those of the rows, without a gap."""
    mine: list[int] = []

    def ours() -> None:
        storage = RDBStorage(url)
        study = storage.get_study_id_from_name("ours")
        mine.extend(add_row(storage, study, FULL)[1] for _ in range(20))

    def theirs() -> None:
        study = optuna.load_study(study_name="ours", storage=url)
        for _ in range(20):
            study.add_trial(FULL)

    threads = [threading.Thread(target=ours), threading.Thread(target=theirs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [trial.number for trial in optuna.load_study(study_name="ours", storage=url).trials]
    assert sorted(numbers) == list(range(40))
    assert len(set(mine)) == 20


def test_a_deadlock_is_met_by_trying_again(monkeypatch, url):
    monkeypatch.setattr("random.random", lambda: 0.0)
    storage = RDBStorage(url)
    study = storage.get_study_id_from_name("ours")
    left = [2]

    def refuse(connection, cursor, statement, *rest):
        if "INSERT INTO trial_params" in statement and left[0]:
            left[0] -= 1
            raise OperationalError(statement, {}, Exception("deadlock detected"))

    event.listen(storage.engine, "before_cursor_execute", refuse)
    assert add_row(storage, study, FULL)[1] == 0
    assert (left, storage.get_n_trials(study)) == ([0], 1)
    left[0] = 100
    with pytest.raises(OperationalError, match="deadlock"):
        add_row(storage, study, FULL)
    assert (left, storage.get_n_trials(study)) == ([95], 1)


def test_an_error_leaves_no_row(tmp_path, url):
    storage = RDBStorage(url)
    study = storage.get_study_id_from_name("ours")
    broken = create_trial(state=TrialState.RUNNING, user_attrs={"what": object()})
    with pytest.raises(TypeError):
        add_row(storage, study, broken)
    assert storage.get_n_trials(study) == 0
