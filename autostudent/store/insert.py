"""A trial with all that belongs to it, added in a handful of statements.

Optuna's own creation asks the database two or three questions for each parameter and attribute, some sixty milliseconds
a student: more than everything else that a short segment costs. The rows are the same, its models write them.
"""

from __future__ import annotations

import json
import random
import time

from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import func, insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

TRIES = 5


def add_row(storage: BaseStorage, study_id: int, template: FrozenTrial) -> tuple[int, int]:
    """Adds an unfinished trial as the template has it, in one transaction; Optuna's id of the trial, and its number.

    A deadlock or a lost connection is met as Optuna meets it, by trying again. That distributions agree with those of
    earlier trials is not asked: they are a function of the study's settings, which are compared when it is opened.
    """
    if not isinstance(storage, RDBStorage):
        row = storage.create_new_trial(study_id, template)
        return row, storage.get_trial_number_from_id(row)
    for _ in range(TRIES - 1):
        try:
            return _insert(storage, study_id, template)
        except OperationalError:
            time.sleep(random.random() * 2.0)
    return _insert(storage, study_id, template)


def _insert(storage: RDBStorage, study_id: int, template: FrozenTrial) -> tuple[int, int]:
    from optuna.storages._rdb import models

    known = template.distributions
    with Session(storage.engine) as session, session.begin():
        session.get_one(models.StudyModel, study_id, with_for_update=True)  # other programs number theirs after it
        trial = models.TrialModel(study_id=study_id, state=template.state, datetime_start=template.datetime_start)
        session.add(trial)
        session.flush()
        row = int(trial.trial_id)
        params = [
            {
                "trial_id": row,
                "param_name": name,
                "param_value": known[name].to_internal_repr(value),
                "distribution_json": distribution_to_json(known[name]),
            }
            for name, value in template.params.items()
        ]
        for model, rows in (
            (models.TrialParamModel, params),
            (models.TrialUserAttributeModel, _attributes(row, template.user_attrs)),
            (models.TrialSystemAttributeModel, _attributes(row, template.system_attrs)),
        ):
            if rows:
                session.execute(insert(model), rows)
        earlier = select(func.count()).where(models.TrialModel.study_id == study_id, models.TrialModel.trial_id < row)
        trial.number = number = session.scalars(earlier).one()
    return row, number


def _attributes(row: int, attributes: dict[str, object]) -> list[dict[str, object]]:
    return [{"trial_id": row, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
