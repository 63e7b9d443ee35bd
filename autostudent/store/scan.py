"""What is read of an Optuna storage, from a database in one statement each.

Optuna builds every trial with its parameters, distributions, constraints and values, which takes one or two
milliseconds a trial. A student is read from the trial's user attributes alone, and these from a database directly.

Who only reads a database has its `Engine` instead of a storage: `RDBStorage` looks for schema upgrades when it is
opened. The imports and the looking take longer than the front of ten thousand students.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Engine, column, select, table
from sqlalchemy.exc import NoResultFound

from autostudent.errors import StoreError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    Readable: TypeAlias = BaseStorage | Engine

STUDIES = table("studies", column("study_id"), column("study_name"))
STUDY_ATTRIBUTES = table(
    "study_user_attributes",
    column("study_user_attribute_id"),
    column("study_id"),
    column("key"),
    column("value_json"),
)
TRIALS = table("trials", column("trial_id"), column("number"), column("study_id"), column("state"))
ATTRIBUTES = table(
    "trial_user_attributes",
    column("trial_user_attribute_id"),
    column("trial_id"),
    column("key"),
    column("value_json"),
)


@dataclass(frozen=True)
class ScannedTrial:
    """What is read of an Optuna trial: its state by name, and user attributes in the order they were first written."""

    number: int
    state: str
    attributes: Mapping[str, Any]


def writable(storage: Readable) -> BaseStorage:
    """The storage of a driver; who only reads a database has none."""
    assert not isinstance(storage, Engine)
    return storage


def study_ids(storage: Readable) -> dict[str, int]:
    """Optuna's id of every study, by name."""
    engine = _engine(storage)
    if engine is None:
        studies = writable(storage).get_all_studies()
        return {study.study_name: study._study_id for study in studies}
    with engine.connect() as connection:
        rows = connection.execute(select(STUDIES.c.study_name, STUDIES.c.study_id))
        return {row.study_name: row.study_id for row in rows}


def study_attributes(storage: Readable, study_id: int) -> dict[str, Any]:
    """The study's user attributes, in the order they were first written. Raises `StoreError` for a deleted study."""
    engine = _engine(storage)
    if engine is None:
        return dict(writable(storage).get_study_user_attrs(study_id))
    statement = (
        select(STUDY_ATTRIBUTES.c.key, STUDY_ATTRIBUTES.c.value_json)
        .where(STUDY_ATTRIBUTES.c.study_id == study_id)
        .order_by(STUDY_ATTRIBUTES.c.study_user_attribute_id)
    )
    with engine.connect() as connection:
        found = {key: json.loads(value) for key, value in connection.execute(statement)}
    if not found:
        _require(engine, study_id)
    return found


def scan(storage: Readable, study_id: int) -> list[ScannedTrial]:
    """Every trial of the study by number, as it is at one moment. Raises `StoreError` for a deleted study."""
    engine = _engine(storage)
    if engine is None:
        frozen = writable(storage).get_all_trials(study_id, deepcopy=False)
        return [ScannedTrial(trial.number, trial.state.name, trial.user_attrs) for trial in frozen]
    statement = (
        select(TRIALS.c.number, TRIALS.c.state, ATTRIBUTES.c.key, ATTRIBUTES.c.value_json)
        .select_from(TRIALS.outerjoin(ATTRIBUTES, ATTRIBUTES.c.trial_id == TRIALS.c.trial_id))
        .where(TRIALS.c.study_id == study_id)
        .order_by(TRIALS.c.trial_id, ATTRIBUTES.c.trial_user_attribute_id)
    )
    states: dict[int, str] = {}
    attributes: dict[int, dict[str, Any]] = {}
    with engine.connect() as connection:
        for number, state, key, value in connection.execute(statement):
            if number not in states:
                states[number], attributes[number] = state, {}
            if key is not None:
                attributes[number][key] = json.loads(value)
    if not states:
        _require(engine, study_id)
    return [ScannedTrial(number, state, attributes[number]) for number, state in states.items()]


def trial_attribute(storage: Readable, study_id: int, number: int, key: str) -> Any:
    """One user attribute of one trial, None when it has none of that name. Raises `StoreError` for no such trial."""
    try:
        engine = _engine(storage)
        if engine is None:
            row = writable(storage).get_trial_id_from_study_id_trial_number(study_id, number)
            return writable(storage).get_trial(row).user_attrs.get(key)
        named = (ATTRIBUTES.c.trial_id == TRIALS.c.trial_id) & (ATTRIBUTES.c.key == key)
        statement = (
            select(ATTRIBUTES.c.value_json)
            .select_from(TRIALS.outerjoin(ATTRIBUTES, named))
            .where(TRIALS.c.study_id == study_id, TRIALS.c.number == number)
        )
        with engine.connect() as connection:
            (value,) = connection.execute(statement).one()
    except (KeyError, NoResultFound) as error:
        raise StoreError(f"the study has no trial {number}") from error
    return None if value is None else json.loads(value)


def any_trial(storage: BaseStorage, study_id: int) -> bool:
    """Whether the study holds a trial, anybody's."""
    try:
        storage.get_trial_id_from_study_id_trial_number(study_id, 0)
    except KeyError:
        return False
    return True


def _engine(storage: Readable) -> Engine | None:
    """That of a database, whoever opened it."""
    return storage if isinstance(storage, Engine) else getattr(storage, "engine", None)


def _require(engine: Engine, study_id: int) -> None:
    """Raises `StoreError` for a study that was deleted since it was opened."""
    if study_id not in study_ids(engine).values():
        raise StoreError("the study was deleted, or made anew, by another program")
