"""Opens an Optuna storage by its URL: SQLite files in WAL, journal files, any other database that Optuna knows."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from autostudent.errors import StoreError

JOURNAL = "journal"
BUSY_SECONDS = 30.0


class WalConnection(sqlite3.Connection):
    """A connection of the driver: readers go on while it writes, and a commit does not wait for the disk.

    In WAL mode with ``synchronous=NORMAL`` a killed process loses nothing; a power cut may lose the last commits but
    leaves a sound file.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def shown(url: str) -> str:
    """The URL without its password, fit for messages."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)


def file_of(url: str) -> Path | None:
    """The local file behind a ``sqlite:///`` or ``journal:///`` URL (relative, or absolute after a fourth slash).

    None for a database server. Raises `StoreError` for an SQLite database that lives in memory only.
    """
    scheme, found, rest = url.partition(":")
    if not found or not scheme or "/" in scheme:
        raise StoreError(f"store {shown(url)!r}: expected a URL such as sqlite:///runs/study.db")
    if scheme.split("+")[0] not in ("sqlite", JOURNAL):
        return None
    path = rest.removeprefix("///").split("?")[0]
    if not rest.startswith("///") or path in ("", ":memory:"):
        raise StoreError(f"store {shown(url)!r}: expected a file, such as {scheme}:///runs/study.db")
    return Path(path)


def open_storage(url: str, *, driver: bool) -> BaseStorage:
    """Opens the storage, for the driver created when it is not there.

    Raises:
        StoreError: when it cannot be opened, or is not there and ``driver`` is False.
    """
    file = file_of(url)
    if file is not None and not driver and not file.is_file():
        raise StoreError(f"store {shown(url)}: nothing is stored there yet; run `autostudent search` first")
    try:
        if file is not None and driver:
            file.parent.mkdir(parents=True, exist_ok=True)
        if file is not None and url.startswith(JOURNAL):
            if driver:
                cut_torn_line(file)
            return JournalStorage(JournalFileBackend(str(file)))
        return open_database(url, file, driver)
    except Exception as error:
        raise cannot_open(url, error) from error


def open_database(url: str, file: Path | None, driver: bool) -> RDBStorage:
    """A reader neither creates tables nor looks for schema upgrades."""
    options: dict[str, Any] = {}
    if file is not None:
        options["connect_args"] = {"timeout": BUSY_SECONDS}
        if driver:
            options["connect_args"]["factory"] = WalConnection
    return RDBStorage(url, options, skip_compatibility_check=not driver, skip_table_creation=not driver)


def cut_torn_line(file: Path) -> None:
    """Drops the unfinished last line that a killed writer may leave in a journal; the next line would run into it."""
    if not file.is_file():
        return
    with file.open("rb+") as journal:
        whole = journal.read()
        journal.truncate(whole.rfind(b"\n") + 1)


def cannot_open(url: str, error: Exception) -> StoreError:
    """One line that says why, whoever's exception it was."""
    deepest: BaseException = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    lines = [line.strip() for line in str(deepest).splitlines() if line.strip()]
    reason = lines[0] if lines else type(deepest).__name__
    return StoreError(f"store {shown(url)} cannot be opened: {reason.replace(url, shown(url))}")


def close_storage(storage: BaseStorage) -> None:
    """Gives back connections and file handles."""
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()
