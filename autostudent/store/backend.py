"""Opens an Optuna storage by its URL: SQLite files in WAL, journal files, any other database that Optuna knows."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote, unquote

from sqlalchemy.engine import URL, Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from autostudent.errors import StoreError
from autostudent.settings import FILE_STORE, store_file

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

    from autostudent.store.scan import Readable

JOURNAL = "journal"
BUSY_SECONDS = 30.0

P = ParamSpec("P")
R = TypeVar("R")


class WalConnection(sqlite3.Connection):
    """A connection of the driver: readers go on while it writes, and a commit is on the disk when it returns.

    With ``synchronous=NORMAL`` a power cut could lose the last commits, whose earlier checkpoints are deleted by then.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=FULL")


def shown(url: str) -> str:
    """The URL without its password, fit for messages."""
    if store_file(url) is not None:
        return url
    before, password, after = around_password(url)
    hidden = f"{before}***{after}" if password else url
    return re.sub(r"(?i)([?&](?:[^=&]*(?:password|passwd|pwd)|odbc_connect)=)[^&]*", r"\1***", hidden)


def around_password(url: str) -> tuple[str, str, str]:
    """What stands before the password of a database server's URL, the password as it is written there, what follows.

    A password that holds an @ ends at the last one before the query. Without a host, what stands for a port is one.
    """
    start = url.find("://") + len("://")
    end = url.find("?", start) if "?" in url[start:] else len(url)
    _, colon_before, last = url[start:end].rpartition(":")
    if colon_before and not last.isdigit() and not {"@", "/", "]"} & set(last) and "@" in url[end:]:
        end = len(url)  # the password holds the question mark
    at = url.rfind("@", start, end)
    if at >= 0:
        colon = url.find(":", start, at)
    else:
        at = url.find("/", start, end) if "/" in url[start:end] else end
        colon = url.rfind(":", start, at)
        if colon >= 0 and (url[colon + 1 : at].isdigit() or "]" in url[colon:at]):  # a port, or an address of IPv6
            colon = -1
    return (url, "", "") if colon < 0 else (url[: colon + 1], url[colon + 1 : at], url[at:])


def file_of(url: str) -> Path | None:
    """The local file behind a storage URL (see `settings.store_file`), None for a database server.

    Raises `StoreError` for what is no URL, and for an SQLite database that lives in memory only.
    """
    file = store_file(url)
    scheme = url.partition("://")[0]
    if scheme == url:
        raise cannot_open(url, ValueError("expected a URL such as sqlite:///runs/study.db"))
    if file is None and scheme.split("+")[0] in ("sqlite", JOURNAL):
        raise cannot_open(url, ValueError(f"expected a file, such as {scheme}:///runs/study.db"))
    return file


def require_storage(url: str) -> None:
    """Raises `StoreError` for a URL that names no kind of storage; whether it can be reached is not asked."""
    if file_of(url) is None:
        try:
            make_url(url).get_dialect()
        except Exception as error:
            raise cannot_open(url, error) from error


def open_storage(url: str, *, driver: bool) -> BaseStorage:
    """Opens the storage, for the driver created when it is not there.

    Raises:
        StoreError: when it cannot be opened, or is not there and ``driver`` is False.
    """
    file = file_of(url)
    if not driver:
        require_file(url, file)
    try:
        if file is not None and driver:
            file.parent.mkdir(parents=True, exist_ok=True)
        if file is not None and url.startswith(JOURNAL):
            if driver:
                cut_torn_line(file)
            return open_journal(file)
        return open_database(url, file, driver)
    except Exception as error:
        raise cannot_open(url, error) from error


def open_to_look(url: str) -> Readable:
    """Opens what is there for one who only reads: a journal, or the engine of a database (see `scan`).

    Raises:
        StoreError: when it cannot be opened, or is not there.
    """
    file = file_of(url)
    require_file(url, file)
    try:
        if file is not None and url.startswith(JOURNAL):
            return open_journal(file)
        if file is None and "{" in url:  # a template, which only Optuna fills
            return open_database(url, file, driver=False)
        return create_engine(url if file is None else url_to_read(literal(url), file), **engine_options(file))
    except Exception as error:
        raise cannot_open(url, error) from error


def url_to_read(url: str, file: Path) -> URL:
    """The URL of an SQLite file to be read; in a folder where nothing may be written, one that lets SQLite do without
    WAL's files.

    A log that was not written back to the file keeps it from that: without the log the file is not whole.
    """
    logs = [file.with_name(file.name + ending) for ending in ("-wal", "-journal")]
    fixed = os.statvfs(file.parent).f_flag & os.ST_RDONLY or not os.access(file.parent, os.W_OK)
    if not fixed or any(log.is_file() and log.stat().st_size > 0 for log in logs):
        return make_url(url)
    asked = {"uri": "true", "mode": "ro", "immutable": "1"}
    return make_url(url).set(database=f"file:{quote(str(file.absolute()))}").update_query_dict(asked)


def require_file(url: str, file: Path | None) -> None:
    """Raises `StoreError` for a file that is not there."""
    if file is not None and not file.is_file():
        raise StoreError(f"store {shown(url)}: nothing is stored there yet; run `autostudent search` first")


def open_journal(file: Path) -> BaseStorage:
    """Reads the whole file."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(file)))


def open_database(url: str, file: Path | None, driver: bool) -> RDBStorage:
    """Who is not the driver neither creates tables nor looks for schema upgrades."""
    from optuna.storages import RDBStorage

    options = engine_options(file)
    if file is not None and driver:
        options["connect_args"]["factory"] = WalConnection
    if file is not None:
        url = literal(url).replace("{", "{{").replace("}", "}}")  # Optuna fills templates
    return RDBStorage(url, options, skip_compatibility_check=not driver, skip_table_creation=not driver)


def literal(url: str) -> str:
    """The URL of a file for SQLAlchemy, which reads %20 in it as a space: here a path is meant as it stands."""
    found = FILE_STORE.fullmatch(url)
    assert found is not None
    return f"{found[1]}{found[2].replace('%', '%25')}{found[3] or ''}"


def engine_options(file: Path | None) -> dict[str, Any]:
    """Who finds a file locked waits; a server's connection that was cut meanwhile is made anew."""
    return {"pool_pre_ping": True} if file is None else {"connect_args": {"timeout": BUSY_SECONDS}}


def cut_torn_line(file: Path) -> None:
    """Drops the unfinished last line that a killed writer may leave in a journal; the next line would run into it."""
    if not file.is_file():
        return
    with file.open("rb+") as journal:
        whole = journal.read()
        journal.truncate(whole.rfind(b"\n") + 1)


def cannot_open(url: str, error: Exception) -> StoreError:
    """One line that says why, whoever's exception it was."""
    why = reason(error).replace(url, shown(url))
    password = "" if store_file(url) is not None else around_password(url)[1]
    if "@" in password:  # to the database's driver its end is part of the host, and stands in what it says
        why = "an @ in a password is written %40"
    elif password:
        why = why.replace(password, "***").replace(unquote(password), "***")
    return StoreError(f"store {shown(url)} cannot be opened: {why}")


def reason(error: Exception) -> str:
    """The first line of the error that all others came from."""
    deepest: BaseException = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    lines = [line.strip() for line in str(deepest).splitlines() if line.strip()]
    return lines[0] if lines else type(deepest).__name__


def writing(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method of `Store` that writes: a full disk, or a server that went away, leaves it as one line."""

    @wraps(method)
    def told(self: Any, *arguments: P.args, **options: P.kwargs) -> R:
        try:
            return method(self, *arguments, **options)
        except Exception as error:
            from optuna.exceptions import StorageInternalError

            if not isinstance(error, SQLAlchemyError | StorageInternalError | OSError):
                raise
            raise StoreError(
                f"store {self.url} cannot be written: {reason(error)}; what it holds is whole, the same command goes on"
            ) from error

    return told


def close_storage(storage: Readable) -> None:
    """Gives back connections and file handles."""
    if isinstance(storage, Engine):
        storage.dispose()
        return
    storage.remove_session()
    if (engine := getattr(storage, "engine", None)) is not None:
        engine.dispose()
