"""Starting, joining and leaving Ray: quietly, on this machine unless told otherwise, behind a token."""

from __future__ import annotations

import logging
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import ray

from autostudent.errors import AutostudentError, ConfigError

OBJECT_STORE_BYTES = 256 * 2**20  # results are small; data and teachers are files, not objects


class RaySession:
    """One connection to Ray; nested ``with`` blocks share it, the outermost closes what it opened.

    Args:
        cpus, gpus: what a cluster that is started here offers (GPUs only where the machine has them).
        address: a running cluster to join ("auto", "host:port", "ray://…"); None starts one on this machine.
        debug: let workers and Ray print.
    """

    def __init__(self, cpus: float, gpus: float, address: str | None, debug: bool) -> None:
        self.cpus = cpus
        self.gpus = gpus
        self.address = address
        self.debug = debug
        self._depth = 0
        self._opened = False

    def __enter__(self) -> Self:
        if self._depth == 0 and not ray.is_initialized():
            self._open()
            self._opened = True
        self._depth += 1
        return self

    def __exit__(self, *details: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._opened:
            ray.shutdown()
            self._opened = False

    def _open(self) -> None:
        level = logging.INFO if self.debug else logging.ERROR
        logging.getLogger("ray").setLevel(level)  # `ray.init` logs before it sets its level
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no pings home
        if self.address is None:
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
            return
        try:
            ray.init(address=self.address, logging_level=level, log_to_driver=self.debug)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise AutostudentError(f"run.address: no Ray cluster answers at {self.address!r} ({error})") from None


def require_token() -> None:
    """Makes a token for a cluster that this process starts, where the user has none.

    Ray's ports do not all listen on loopback alone; since 2.59 a local cluster asks for a token by default (the user
    may set ``RAY_AUTH_MODE=disabled``). Ray would write a token of its own into the home folder, readable by everyone;
    ours stays in the environment, where Ray's processes find it.
    """
    if find_token() is None:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


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
