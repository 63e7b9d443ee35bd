from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autostudent.errors import AutostudentError, ConfigError
from autostudent.run.cluster import check_places, connection, jobs, logs, stop, submission_id, submit

pytestmark = pytest.mark.alone

STUDY = {"study": "digits demo", "data": {"name": "digits"}, "store": "sqlite:////shared/study.db"}


@pytest.fixture
def tokenless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A user without a token and without Ray's variables."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def test_the_token_travels_as_a_header(tokenless: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert connection(None, False) == ("http://127.0.0.1:8265", {})
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("home\n")
    assert connection("http://far:8265/", False) == ("http://far:8265", {"Authorization": "Bearer home"})
    (tmp_path / "named").write_text("named")
    tokenless.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "named"))
    assert connection(None, False)[1] == {"Authorization": "Bearer named"}
    tokenless.setenv("RAY_AUTH_TOKEN", "direct")
    assert connection(None, False)[1] == {"Authorization": "Bearer direct"}
    tokenless.delenv("RAY_AUTH_TOKEN")
    tokenless.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "gone"))
    with pytest.raises(AutostudentError, match="RAY_AUTH_TOKEN_PATH: cannot read"):
        connection(None, False)


@pytest.mark.usefixtures("tokenless")
@pytest.mark.parametrize(
    ("address", "insecure", "fine"),
    [
        ("http://10.0.0.5:8265", False, False),
        ("http://cluster.example:8265", False, False),
        ("http://cluster.example:8265", True, True),
        ("https://cluster.example", False, True),
        ("http://127.0.0.2:8265", False, True),
        ("http://[::1]:8265", False, True),
        ("http://localhost:8265", False, True),
        ("http://localhost.example:8265", False, False),
        ("ray://localhost:10001", True, False),
        ("localhost:8265", True, False),
    ],
)
def test_addresses(address: str, insecure: bool, fine: bool) -> None:
    if fine:
        assert connection(address, insecure) == (address, {})
    else:
        with pytest.raises(ConfigError, match="--address: got"):
            connection(address, insecure)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"store": None}, "store"),
        ({"store": "sqlite:///runs/study.db"}, "store"),
        ({"store": "sqlite+pysqlite:///runs/study.db"}, "store"),
        ({"store": "journal:///runs/study.log"}, "store"),
        ({"artifacts": "runs/assets"}, "artifacts"),
        ({"data": {"npz": "../fashion.npz"}}, "data.npz"),
        ({"data": {"torchvision": "CIFAR10", "root": "data"}}, "data.root"),
        ({"teachers": {"main": {"torchvision": "resnet18", "weights": "r18.pt"}}}, "teachers.main.weights"),
        (
            {"teachers": {"main": {"checkpoint": "/c.safetensors", "architecture": "a.json"}}},
            "teachers.main.architecture",
        ),
    ],
)
def test_places_that_a_job_could_not_find_are_refused(change: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_places({**STUDY, **change})
    assert caught.value.key == key


def test_absolute_places_and_urls_are_fine() -> None:
    teachers = {
        "main": {"torchvision": "resnet18", "weights": "/shared/r18.pt"},
        "own": {"plugin": "mine", "weights": "a word of its own"},
    }
    for store in ("sqlite:////shared/study.db", "journal:////shared/study.log", "postgresql://host/db"):
        check_places({**STUDY, "store": store, "artifacts": "file:///shared/a", "teachers": teachers})


def test_the_same_study_has_the_same_name() -> None:
    assert submission_id(STUDY) == submission_id(dict(reversed(STUDY.items())))
    assert submission_id(STUDY) != submission_id({**STUDY, "budget": {"trials": 5}})
    assert submission_id(STUDY).startswith("autostudent-digits-demo-")


@pytest.mark.usefixtures("tokenless")
def test_nobody_there_is_one_line() -> None:
    with pytest.raises(AutostudentError, match=r"no Ray dashboard answers at http://127.0.0.1:9"):
        jobs("http://127.0.0.1:9")


def test_the_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from autostudent.run.cluster import jobs\n"
        "from autostudent.errors import ExtraMissing\n"
        "try: jobs()\n"
        "except ExtraMissing as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'autostudent[cluster]'" in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("tokenless")
def test_the_token_of_a_search_s_own_cluster_goes_nowhere_else() -> None:
    code = (
        "import os, ray\n"
        "from autostudent.run.cluster import connection\n"
        "from autostudent.run.ray_session import RaySession\n"
        "from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled as sent\n"
        "for _ in range(2):\n"
        "    with RaySession(1, 0, None, False):\n"
        "        assert len(os.environ['RAY_AUTH_TOKEN']) == 64 and sent({})\n"
        "        print(ray.get(ray.remote(lambda: 7).remote()))\n"
        "    assert 'RAY_AUTH_TOKEN' not in os.environ and sent({}) == {}\n"
        "    assert connection('https://far', False)[1] == {}\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["7", "7"], done.stderr


# ---- a real head node ------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, str]]:
    """Address and token of a head node of our own, behind the token, ended by its process id."""
    pytest.importorskip("aiohttp")
    token, port = secrets.token_hex(32), free_port()
    scratch = tempfile.mkdtemp(prefix="head-")
    options = {
        "num-cpus": 1,
        "port": free_port(),
        "dashboard-host": "127.0.0.1",
        "dashboard-port": port,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
        "object-store-memory": 100_000_000,
        "temp-dir": scratch,
    }
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats"]
    process = subprocess.Popen(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}", token
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        finally:
            process.kill()
            shutil.rmtree(scratch, ignore_errors=True)


def until(address: str, job: str, statuses: tuple[str, ...]) -> str:
    for _ in range(120):
        status = next(found.status for found in jobs(address) if found.id == job)
        if status in statuses:
            return status
        time.sleep(0.5)
    raise TimeoutError(f"{job} is {status}")


@pytest.mark.slow
def test_a_job_from_submission_to_its_end(
    head: tuple[str, str], tokenless: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address, token = head
    folder, go = tmp_path / "work", tmp_path / "go"
    (folder / "runs").mkdir(parents=True)
    (folder / "runs" / "old.db").write_text("old")
    (folder / "space.yaml").write_text("modality: vision")
    python = tmp_path / "python"  # shows what it was given and waits for a sign
    python.write_text(
        f"#!/bin/sh\necho ran: $*\nls\ncat submitted_study.yaml\nuntil [ -e {go} ]; do sleep 0.1; done\necho bye\n"
    )
    python.chmod(0o755)

    for _ in range(120):  # the dashboard takes its time to come up
        try:
            jobs(address)
        except AutostudentError as error:
            if "wants a token" in str(error):
                break
        time.sleep(0.5)
    with pytest.raises(AutostudentError, match="wants a token, none was found"):
        jobs(address)
    tokenless.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(AutostudentError, match="the token was refused"):
        jobs(address)
    tokenless.setenv("RAY_AUTH_TOKEN", token)
    tokenless.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")  # must not redirect us
    assert jobs(address) == []

    first = submit(STUDY, address, folder=folder, python=str(python))
    assert (first.id, first.study, first.new) == (submission_id(STUDY), "digits demo", True)
    again = submit(STUDY, address, folder=folder, python=str(python))
    assert (again.id, again.new) == (first.id, False)
    until(address, first.id, ("RUNNING",))
    go.touch()
    shown = "".join(logs(first.id, address, follow=True))
    assert "ran: -m autostudent search submitted_study.yaml" in shown
    assert "space.yaml" in shown
    assert "runs" not in shown.splitlines()
    assert '"address": "auto"' in shown
    assert shown.rstrip().endswith("bye")
    assert until(address, first.id, ("SUCCEEDED",))
    assert not stop(first.id, address)

    go.unlink()
    second = submit(STUDY, address, folder=folder, python=str(python))
    assert (second.id, second.new) == (f"{first.id}-2", True)
    until(address, second.id, ("RUNNING",))
    assert stop(second.id, address)
    assert until(address, second.id, ("STOPPED",))
    assert [job.id for job in jobs(address)] == [first.id, second.id]
    with pytest.raises(ConfigError, match="job: got 'nonsense'; expected one of: autostudent-digits-demo"):
        next(logs("nonsense", address))
    printed = capfd.readouterr()
    assert token not in shown + printed.out + printed.err
