"""Takes the lock, opens the storage and finds or makes the Optuna study in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autostudent.errors import StoreError
from autostudent.records import Objective
from autostudent.store.backend import cannot_open, close_storage, file_of, open_storage, open_to_look, shown
from autostudent.store.lock import FileLock, Lease, Lock
from autostudent.store.scan import any_trial, study_ids

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from autostudent.store.scan import Readable


@dataclass
class Opened:
    """An open storage; ``lock`` is held by a driver only, ``died`` names a driver before that did not give it back."""

    storage: Readable
    lock: Lock | None = None
    died: str | None = None

    def close(self) -> None:
        """Releases the lock while the storage is still open, then closes it."""
        try:
            if self.lock is not None:
                self.lock.release()
        finally:
            close_storage(self.storage)


def open_to_drive(url: str, study: str, objectives: Sequence[Objective]) -> Opened:
    """Locks and opens, creating what is not there. Raises `StoreError`."""
    file, lock, died = file_of(url), None, None
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file, shown(url))
            died = lock.acquire()
    except OSError as error:
        raise cannot_open(url, error) from error
    try:
        storage = open_storage(url, driver=True)
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    opened = Opened(storage, lock, died)
    try:
        create_study(storage, study, objectives, shown(url))
        if lock is None:
            lease = Lease(storage, storage.get_study_id_from_name(study), shown(url))
            opened.died, opened.lock = lease.acquire(), lease
    except BaseException:
        opened.close()
        raise
    return opened


def create_study(storage: BaseStorage, study: str, objectives: Sequence[Objective], where: str) -> None:
    """Makes the Optuna study with named objectives, or finishes what a killed driver began of it."""
    import optuna
    from optuna.study import StudyDirection

    names = [objective.name for objective in objectives]
    directions = [StudyDirection[objective.direction.upper()] for objective in objectives]
    with quiet():
        discard_unlike(storage, study, names, where)
        made = optuna.create_study(storage=storage, study_name=study, directions=directions, load_if_exists=True)
        if len(made.directions) == len(names) and made.metric_names is None:
            made.set_metric_names(names)


def discard_unlike(storage: BaseStorage, study: str, names: Sequence[str], where: str) -> None:
    """Deletes an empty study of other objectives: Optuna cannot change what a study is about.

    Raises:
        StoreError: a driver has it, which is perhaps still training its teachers.
    """
    import optuna

    study_id = study_ids(storage).get(study)
    if study_id is None or any_trial(storage, study_id):
        return
    there = optuna.load_study(study_name=study, storage=storage)
    if there.metric_names not in (None, list(names)):
        Lease(storage, study_id, where).require_free()
        optuna.delete_study(study_name=study, storage=storage)


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna announces every new study on stderr, and warns that names of objectives are experimental."""
    import optuna
    from optuna.exceptions import ExperimentalWarning

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_to_read(url: str, study: str | None) -> tuple[Opened, str]:
    """Opens what is there, and finds the study: the one named, or the only one. Raises `StoreError`."""
    opened = Opened(open_to_look(url))
    names = _names(url, opened)
    if study in names:
        return opened, str(study)
    if study is None and len(names) == 1:
        return opened, names[0]
    opened.close()
    missing = f"holds no study {study!r}" if study else "does not hold one single study; name one"
    raise StoreError(f"store {shown(url)} {missing}. There: {', '.join(names) or 'none'}")


def studies_in(url: str) -> list[str]:
    """The names of the studies that are there, sorted. Raises `StoreError`."""
    opened = Opened(open_to_look(url))
    names = _names(url, opened)
    opened.close()
    return names


def _names(url: str, opened: Opened) -> list[str]:
    """Sorted; what was opened is closed when they cannot be read."""
    try:
        return sorted(study_ids(opened.storage))
    except Exception as error:
        opened.close()
        raise cannot_open(url, error) from error
