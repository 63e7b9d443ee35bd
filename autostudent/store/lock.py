"""One driver a study: a lock on a file beside the store, or a lease in the study's attributes for database servers."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autostudent.errors import StoreError
from autostudent.store.backend import reason

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


class Lock(Protocol):
    """What the store holds while it drives a study."""

    def acquire(self) -> str | None:
        """Takes the lock; returns who held it and died without giving it back, None if nobody.

        Raises:
            StoreError: another driver is at work; the message names its host and process.
        """

    def check(self) -> None:
        """Raises `StoreError` when the lock was lost to another driver."""

    def release(self) -> None:
        """Gives the lock back."""


def refusal(where: str, holder: str) -> StoreError:
    """What a second driver is told."""
    return StoreError(f"store {where} is driven by {holder}; wait until it ends, or stop it, before you start another")


def holder_name(host: str, pid: int) -> str:
    """Host and process in words."""
    return f"process {pid} on host {host}"


GRACE = 1.0  # seconds for what a killed driver had just forked: until it runs its program it shares the driver's files


class FileLock:
    """An exclusive lock of the kernel on ``<store file>.driver``: it dies with the process, however that ends.

    The file holds the driver's host and process as text, for the message that a second driver gets.
    """

    def __init__(self, store: Path, where: str) -> None:
        real = store.resolve()
        self._path = real.with_name(real.name + ".driver")
        self._where = where
        self._handle: int | None = None

    def acquire(self) -> str | None:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + GRACE
        while not _locked(handle):
            if time.monotonic() > deadline:
                holder = os.pread(handle, 500, 0).decode(errors="replace") or "another process"
                os.close(handle)
                raise refusal(self._where, holder)
            time.sleep(0.02)
        dead = os.pread(handle, 500, 0).decode(errors="replace")
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder_name(socket.gethostname(), os.getpid()).encode(), 0)
        self._handle = handle
        return dead or None

    def check(self) -> None:
        return

    def release(self) -> None:
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def numbering() -> str:
    """Within what process numbers mean the same: this start of the machine and, on Linux, this container."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""  # no containers there


class Lease:
    """An attribute of the study that a thread renews; it lapses ``seconds`` after the last renewal.

    A driver on the same host whose process is gone is succeeded at once, any other when its lease has lapsed: a process
    number says little, because a restarted container gives the same ones again, and another container has its own. A
    driver that was cut off, or asleep, renews a lapsed lease before its next write, or stops when it finds it in other
    hands.
    """

    KEY = "lease"

    def __init__(self, storage: BaseStorage, study_id: int, where: str, seconds: float = 60.0) -> None:
        self._storage = storage
        self._study_id = study_id
        self._where = where
        self._seconds = seconds
        self._token = uuid.uuid4().hex
        self._until = 0.0
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="autostudent-lease", daemon=True)

    def acquire(self) -> str | None:
        held = self.require_free()
        self._write()
        self._stop.wait(
            min(0.2, self._seconds / 10)
        )  # two drivers may have seen the lease free: the last writer has it
        now = self._read()
        if now is None or now["token"] != self._token:
            raise refusal(self._where, holder_name(now["host"], now["pid"]) if now else "another process")
        self._thread.start()
        return holder_name(held["host"], held["pid"]) if held else None

    def check(self) -> None:
        if time.time() > self._until and not self._lost:
            try:
                self._hold()
            except Exception as error:  # whatever the database's driver raises while the server is away
                why = f"the lease lapsed and cannot be renewed: {reason(error)}"
                raise StoreError(f"store {self._where}: {why}") from error
        if self._lost:
            raise StoreError(f"store {self._where}: another driver took over; this one stops")

    def release(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(Exception):  # a server that is away: the lease lapses by itself
            held = self._read()
            if held and held["token"] == self._token:
                self._storage.set_study_user_attr(self._study_id, self.KEY, None)

    def require_free(self) -> dict[str, Any] | None:
        """The lease of a driver that ended without giving it back. Raises `StoreError` when one is at work."""
        held = self._read()
        if held and self._alive(held):
            raise refusal(self._where, holder_name(held["host"], held["pid"]))
        return held

    def _read(self) -> dict[str, Any] | None:
        return self._storage.get_study_user_attrs(self._study_id).get(self.KEY)

    def _write(self) -> None:
        self._until = time.time() + self._seconds
        lease = {"host": socket.gethostname(), "pid": os.getpid(), "processes": numbering()}
        lease |= {"token": self._token, "until": self._until}
        self._storage.set_study_user_attr(self._study_id, self.KEY, lease)

    def _alive(self, held: dict[str, Any]) -> bool:
        if time.time() >= held["until"]:
            return False
        if (held["host"], held.get("processes")) != (socket.gethostname(), numbering()):
            return True
        try:
            os.kill(held["pid"], 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _hold(self) -> None:
        """Renews the lease, unless somebody else has it."""
        held = self._read()
        self._lost = held is None or held["token"] != self._token
        if not self._lost:
            self._write()

    def _renew(self) -> None:
        while not self._lost and not self._stop.wait(self._seconds / 4):
            with suppress(Exception):  # the server may come back before the lease lapses; if not, `check` says so
                self._hold()
        self._storage.remove_session()
