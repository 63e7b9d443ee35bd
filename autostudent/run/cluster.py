"""Studies as jobs of a Ray cluster: submit, list, follow, stop. Needs the extra ``autostudent[cluster]``.

A job runs ``autostudent search`` on the head node in a temporary copy of the working folder; everything that must
outlive it (store, artifacts) and everything large (data, weights) is named by absolute place. The cluster keeps nothing
of ours: a job that is lost is submitted again and resumes from its store.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from autostudent.errors import AutostudentError, ConfigError, ExtraMissing, first_line
from autostudent.records import digest
from autostudent.run.ray_session import environment, find_token
from autostudent.run.upload import pack
from autostudent.settings import PLACES, store_file

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
STUDY_FILE = "submitted_study.yaml"
STUDY_KEY = "autostudent_study"  # in the metadata of our jobs


@dataclass(frozen=True)
class Job:
    """A study on a cluster. ``status``: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED; times in Unix seconds.

    ``new`` is False where `submit` found the job already there.
    """

    id: str
    study: str
    status: str
    message: str = ""
    started: float | None = None
    ended: float | None = None
    new: bool = False

    @property
    def ended_somehow(self) -> bool:
        """Whether the status is final."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


def submit(
    study: Mapping[str, Any],
    address: str | None = None,
    *,
    folder: Path | None = None,
    python: str | None = None,
    insecure: bool = False,
) -> Job:
    """Starts a study as a job, unless the same study already runs there.

    Args:
        study: the study file as a mapping, overrides and environment variables filled in (not made absolute).
        address: of the cluster's dashboard; ``RAY_API_SERVER_ADDRESS`` or this machine's when None.
        folder: what to upload (spaces, plug-ins); the current folder when None.
        python: the interpreter on the head node; None means this one on this machine, ``python`` on another.
        insecure: allow plain http to another machine without a token.

    Raises:
        ConfigError: for a place that a job could not find again, or an address that is not one.
        AutostudentError: for a folder too large, a cluster that does not answer or refuses the token.
        ExtraMissing: without ``autostudent[cluster]``.
    """
    check_places(study)
    if (study.get("run") or {}).get("gpus_per_trial") == "auto":
        raise ConfigError("run.gpus_per_trial", "auto", "a number for a cluster: auto looks at this machine's GPUs")
    filled = {**study, "run": {**(study.get("run") or {}), "address": "auto"}}
    name = str(study["study"])
    base = submission_id(study)
    with _client(address, insecure) as client:
        known = [job for job in _jobs(client) if job.id == base or re.fullmatch(rf"{re.escape(base)}-\d+", job.id)]
        for job in known:
            if not job.ended_somehow:
                return job
        last = max((int(job.id.removeprefix(base).lstrip("-") or 1) for job in known), default=0)  # some may be deleted
        wanted = f"{base}-{last + 1}" if last else base
        interpreter = python or (sys.executable if is_loopback(urlsplit(client.get_address()).hostname) else "python")
        archive = pack(folder or Path.cwd(), {STUDY_FILE: json.dumps(filled, indent=1).encode()})
        with tempfile.TemporaryDirectory(prefix="autostudent-") as scratch:
            package = Path(scratch) / "study.zip"
            package.write_bytes(archive)
            client.submit_job(
                entrypoint=shlex.join([interpreter, "-m", "autostudent", "search", STUDY_FILE]),
                submission_id=wanted,
                runtime_env={"working_dir": str(package)},
                metadata={STUDY_KEY: name},
            )
        return Job(wanted, name, "PENDING", new=True)


def jobs(address: str | None = None, *, insecure: bool = False) -> list[Job]:
    """Our jobs on the cluster, oldest first."""
    with _client(address, insecure) as client:
        return _jobs(client)


def logs(job: str, address: str | None = None, *, follow: bool = False, insecure: bool = False) -> Iterator[str]:
    """Pieces of what a job has printed; with ``follow``, also what it prints until it ends."""
    with _client(address, insecure) as client:
        _find(client, job)
        if follow:
            yield from _followed(client, job)
        else:
            yield client.get_job_logs(job)


def stop(job: str, address: str | None = None, *, insecure: bool = False) -> bool:
    """Asks a job to end; its store stays resumable. False when it had ended already."""
    with _client(address, insecure) as client:
        _find(client, job)
        return bool(client.stop_job(job))


def submission_id(study: Mapping[str, Any]) -> str:
    """Our own name for a study's job: the same study file gives the same name."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(study["study"]))[:60]
    return f"autostudent-{name}-{digest(study)[:12]}"


def check_places(study: Mapping[str, Any]) -> None:
    """Refuses places that mean nothing in a job, whose folder is temporary."""
    store = study.get("store")
    if store is None:
        raise ConfigError("store", None, "an absolute place: journal:////shared/study.log or another storage URL")
    if (file := store_file(str(store))) is not None:
        scheme = str(store).partition("://")[0]
        _absolute("store", str(store), str(file), f"{scheme}:////absolute/path/study.db")
    if (artifacts := study.get("artifacts")) is not None:
        _absolute("artifacts", str(artifacts), str(artifacts), "an absolute folder or a file:/// URL")
    _check_entries("data", study.get("data"))
    _check_entries("teachers", study.get("teachers"))


def _check_entries(path: str, value: Any) -> None:
    if not isinstance(value, Mapping) or "plugin" in value:
        return
    for key, entry in value.items():
        here = f"{path}.{key}"
        if key in PLACES and isinstance(entry, str):
            _absolute(here, entry, entry, "an absolute path that exists on the cluster")
        else:
            _check_entries(here, entry)


def _absolute(key: str, given: str, path: str, allowed: str) -> None:
    if "://" not in path and not PurePosixPath(path).is_absolute():
        raise ConfigError(key, given, f"{allowed} (a job runs in a temporary folder)")


# ---- the connection --------------------------------------------------------------------------------------------------


@contextmanager
def _client(address: str | None, insecure: bool) -> Iterator[Any]:
    """Ray's client for the Jobs API; its errors leave as one line."""
    if find_spec("aiohttp") is None or find_spec("requests") is None:
        raise ExtraMissing("jobs on a Ray cluster need an extra: pip install 'autostudent[cluster]'")
    url, headers = connection(address, insecure)
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for module in ("job.sdk", "dashboard_sdk"):
        logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.ERROR)
    try:
        # Ray lets these variables override the address, and would send our token there.
        with environment({"RAY_API_SERVER_ADDRESS": None, "RAY_ADDRESS": None}):
            client = JobSubmissionClient(url, headers=headers)
        yield client
    except AuthenticationError as error:
        given = "the token was refused" if headers else "it wants a token, none was found"
        raise AutostudentError(f"the Ray cluster at {url}: {given} ({first_line(error)})") from None
    except (ConnectionError, OSError) as error:
        raise AutostudentError(f"no Ray dashboard answers at {url} ({error})") from None
    except RuntimeError as error:
        raise AutostudentError(f"the Ray cluster at {url}: {first_line(error)}") from None


def connection(address: str | None, insecure: bool) -> tuple[str, dict[str, str]]:
    """The address to use and the headers that carry the token.

    Raises:
        ConfigError: for an address that is not http or https, and for plain http to another machine without a token
            unless ``insecure``: whoever reaches such a cluster can run anything on it.
    """
    url = (address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("--address", url, "the address of a Ray dashboard, http://HOST:8265 or https://HOST")
    token = find_token()
    if token is None and parts.scheme == "http" and not is_loopback(parts.hostname) and not insecure:
        raise ConfigError(
            "--address", url, "https, or a Ray token (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token), "
            "or --insecure if the network is trusted"
        )  # fmt: skip
    return url, {"Authorization": f"Bearer {token}"} if token else {}


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _jobs(client: Any) -> list[Job]:
    found = [
        Job(
            id=info.submission_id,
            study=info.metadata[STUDY_KEY],
            status=str(info.status),
            message=info.message or "",
            started=info.start_time / 1000 if info.start_time else None,
            ended=info.end_time / 1000 if info.end_time else None,
        )
        for info in client.list_jobs()
        if info.submission_id and STUDY_KEY in (info.metadata or {})
    ]
    return sorted(found, key=lambda job: job.started or float("inf"))


def _find(client: Any, job: str) -> Job:
    known = {found.id: found for found in _jobs(client)}
    if job not in known:
        raise ConfigError("job", job, f"one of: {', '.join(known) or 'none, no study was submitted here'}")
    return known[job]


def _followed(client: Any, job: str) -> Iterator[str]:
    pieces = client.tail_job_logs(job)
    loop = asyncio.new_event_loop()
    try:
        while True:
            yield loop.run_until_complete(anext(pieces))
    except StopAsyncIteration:
        return
    finally:
        loop.run_until_complete(pieces.aclose())
        loop.close()
