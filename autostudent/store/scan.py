"""All trials of a study in one statement.

Optuna builds every trial with its parameters, distributions, constraints and values, which takes one or two
milliseconds a trial. A student is read from the trial's user attributes alone, and these from a database directly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState as OptunaState
from sqlalchemy import column, select, table

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
    """What is read of an Optuna trial; ``attributes`` are its user attributes in the order they were first written."""

    number: int
    state: OptunaState
    attributes: Mapping[str, Any]


def scan(storage: BaseStorage, study_id: int) -> list[ScannedTrial]:
    """Every trial of the study by number, as it is at one moment."""
    if not isinstance(storage, RDBStorage):
        found = storage.get_all_trials(study_id, deepcopy=False)
        return [ScannedTrial(frozen.number, frozen.state, frozen.user_attrs) for frozen in found]
    statement = (
        select(TRIALS.c.number, TRIALS.c.state, ATTRIBUTES.c.key, ATTRIBUTES.c.value_json)
        .select_from(TRIALS.outerjoin(ATTRIBUTES, ATTRIBUTES.c.trial_id == TRIALS.c.trial_id))
        .where(TRIALS.c.study_id == study_id)
        .order_by(TRIALS.c.trial_id, ATTRIBUTES.c.trial_user_attribute_id)
    )
    states: dict[int, OptunaState] = {}
    attributes: dict[int, dict[str, Any]] = {}
    with storage.engine.connect() as connection:
        for number, state, key, value in connection.execute(statement):
            if number not in states:
                states[number], attributes[number] = OptunaState[state], {}
            if key is not None:
                attributes[number][key] = json.loads(value)
    return [ScannedTrial(number, state, attributes[number]) for number, state in states.items()]


def any_trial(storage: BaseStorage, study_id: int) -> bool:
    """Whether the study holds a trial, anybody's."""
    try:
        storage.get_trial_id_from_study_id_trial_number(study_id, 0)
    except KeyError:
        return False
    return True
