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
    if not isinstance(storage, Engine):
        return {
            study.study_name: storage.get_study_id_from_name(study.study_name) for study in storage.get_all_studies()
        }
    with storage.connect() as connection:
        rows = connection.execute(select(STUDIES.c.study_name, STUDIES.c.study_id))
        return {row.study_name: row.study_id for row in rows}


def study_attributes(storage: Readable, study_id: int) -> dict[str, Any]:
    """The study's user attributes, in the order they were first written."""
    if not isinstance(storage, Engine):
        return dict(storage.get_study_user_attrs(study_id))
    statement = (
        select(STUDY_ATTRIBUTES.c.key, STUDY_ATTRIBUTES.c.value_json)
        .where(STUDY_ATTRIBUTES.c.study_id == study_id)
        .order_by(STUDY_ATTRIBUTES.c.study_user_attribute_id)
    )
    with storage.connect() as connection:
        return {key: json.loads(value) for key, value in connection.execute(statement)}


def scan(storage: Readable, study_id: int) -> list[ScannedTrial]:
    """Every trial of the study by number, as it is at one moment."""
    engine = storage if isinstance(storage, Engine) else getattr(storage, "engine", None)  # a database's
    if engine is None:
        found = writable(storage).get_all_trials(study_id, deepcopy=False)
        return [ScannedTrial(frozen.number, frozen.state.name, frozen.user_attrs) for frozen in found]
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
    return [ScannedTrial(number, state, attributes[number]) for number, state in states.items()]


def trial_attribute(storage: Readable, study_id: int, number: int, key: str) -> Any:
    """One user attribute of one trial, None when it has none of that name."""
    if not isinstance(storage, Engine):
        row = storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return storage.get_trial(row).user_attrs.get(key)
    statement = (
        select(ATTRIBUTES.c.value_json)
        .join_from(ATTRIBUTES, TRIALS, ATTRIBUTES.c.trial_id == TRIALS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.number == number, ATTRIBUTES.c.key == key)
    )
    with storage.connect() as connection:
        found = connection.execute(statement).scalar_one_or_none()
    return None if found is None else json.loads(found)


def any_trial(storage: BaseStorage, study_id: int) -> bool:
    """Whether the study holds a trial, anybody's."""
    try:
        storage.get_trial_id_from_study_id_trial_number(study_id, 0)
    except KeyError:
        return False
    return True
