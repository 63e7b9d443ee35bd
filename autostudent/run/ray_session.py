"""Starting, joining and leaving Ray: quietly, on this machine unless told otherwise, behind a token."""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

import ray

from autostudent.errors import AutostudentError, ConfigError

OBJECT_STORE_BYTES = 256 * 2**20  # results are small; data and teachers are files, not objects


class RaySession:
    """One connection to Ray; nested ``with`` blocks share it, the outermost closes what it opened.

    ``depth`` counts the blocks.

    Args:
        cpus, gpus: what a cluster that is started here offers (GPUs only where the machine has them).
        address: a running cluster to join from one of its machines ("auto" or "host:port"); None starts one here.
        debug: let workers and Ray print.
    """

    def __init__(self, cpus: float, gpus: float, address: str | None, debug: bool) -> None:
        self.cpus = cpus
        self.gpus = gpus
        self.address = address
        self.debug = debug
        self.depth = 0
        self._opened = False
        self._before: dict[str, str | None] = {}
        self._ended = 0  # the signal that did
        self._after: Any = None  # what is done at SIGTERM when the session is over

    @property
    def local(self) -> bool:
        """Whether Ray was started by this session: its workers then have this process's environment."""
        return self._opened and self.address is None

    def __enter__(self) -> Self:
        if self.depth == 0 and not ray.is_initialized():
            own = signal.getsignal(signal.SIGTERM)
            self._open()
            self._opened = True
            if threading.current_thread() is threading.main_thread():
                # Ray aborts a process at SIGTERM; this ends it in order, as SIGINT does.
                signal.signal(signal.SIGTERM, self._leave if own in (None, signal.SIG_DFL) else own)
                self._after = own if own is not None else signal.SIG_DFL
        self.depth += 1
        return self

    def __exit__(self, kind: object = None, error: BaseException | None = None, trace: object = None) -> None:
        self.depth -= 1
        if self.depth == 0 and self._opened:
            ray.shutdown()
            self._opened = False
            if self._after is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, self._after)
            forget_token(self._before)
            if self._ended and isinstance(error, SystemExit):  # Ray makes another one of it while it waits
                raise SystemExit(128 + self._ended) from None

    def _leave(self, number: int, frame: object) -> None:
        """Ends the process at a signal, closing what is open."""
        self._ended = number
        raise SystemExit(128 + number)

    def _open(self) -> None:
        level = logging.INFO if self.debug else logging.ERROR
        logging.getLogger("ray").setLevel(level)  # `ray.init` logs before it sets its level
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no pings home
        if self.address is not None:
            self._join(self.address, level)
            return
        if find_token() is None:
            self._before = {name: os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE")}
            os.environ["RAY_AUTH_TOKEN"] = own_token()
        require_token()
        with environment({"RAY_ADDRESS": None}):  # would join a cluster instead
            ray.init(
                address="local",
                num_cpus=math.ceil(self.cpus),
                num_gpus=None if self.gpus else 0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level=level,
                log_to_driver=self.debug,
            )

    def _join(self, address: str, level: int) -> None:
        check_address(address)
        if find_token() is not None:
            require_token()
        try:
            ray.init(address=address, logging_level=level, log_to_driver=self.debug)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            hint = "; is the token that of the cluster?" if find_token() else ""
            raise AutostudentError(f"run.address: cannot join the Ray cluster at {address!r} ({error}){hint}") from None


@cache
def own_token() -> str:
    """The token of the clusters that this process starts; one for all, because Ray remembers the first it saw."""
    return secrets.token_hex(32)


def require_token() -> None:
    """Turns Ray's token authentication on for this process, unless the user set ``RAY_AUTH_MODE``.

    Ray's ports do not all listen on loopback alone, so a cluster that we start asks for a token: the user's, or one
    made for this process. Ray would write a new one into the home folder, readable by everyone; ours stays in the
    environment, where Ray's processes find it.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        # Ray has read the mode when it was imported; this reads it again, as `ray.init` itself does.
        ray._raylet.Config.initialize("")  # type: ignore[attr-defined]


def forget_token(before: Mapping[str, str | None]) -> None:
    """Puts the environment back after a cluster of our own, if it had a token of its own.

    It must not be taken for the user's token, nor be sent to another cluster by a later `autostudent.run.cluster` call.
    """
    if before:
        _assign(before)
        ray._raylet.Config.initialize("")  # type: ignore[attr-defined]
        ray._raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]


def check_address(address: str) -> None:
    """Refuses what Ray would not understand, or would wait minutes for."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        allowed = "auto or HOST:PORT of the head node (for a cluster elsewhere: autostudent submit)"
        raise ConfigError("run.address", address, allowed)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise AutostudentError(f"run.address: no Ray cluster answers at {address!r} ({error})") from None


def find_token() -> str | None:
    """The user's Ray token from where Ray looks: ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``, ``~/.ray/auth_token``."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text().strip() or None
    except OSError as error:
        if named:
            raise AutostudentError(f"RAY_AUTH_TOKEN_PATH: cannot read {path} ({error.strerror})") from None
        return None


def check_share(cpus: float, gpus: float) -> None:
    """Refuses a share that no node of the connected cluster can give; Tune would wait for it for ever."""
    offers = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for key, name, share in (("cpus", "CPU", cpus), ("gpus", "GPU", gpus)):
        largest = max((offer.get(name, 0.0) for offer in offers), default=0.0)
        if share > largest:
            raise ConfigError(f"run.{key}_per_trial", share, f"at most {largest:g}, the {name}s of the largest machine")
    if not any(offer.get("CPU", 0.0) >= cpus and offer.get("GPU", 0.0) >= gpus for offer in offers):
        most = max((offer.get("CPU", 0.0) for offer in offers if offer.get("GPU", 0.0) >= gpus), default=0.0)
        raise ConfigError("run.cpus_per_trial", cpus, f"at most {most:g}, the CPUs of the largest machine with a GPU")


@contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables for a while; None removes one."""
    before = {name: os.environ.get(name) for name in values}
    _assign(values)
    try:
        yield
    finally:
        _assign(before)


def _assign(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
