"""Stores that cannot be opened, a second driver, another study under the same name."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from types import SimpleNamespace

import optuna
import pytest

from autostudent.errors import StoreError
from autostudent.records import Objective
from autostudent.store.backend import WalConnection, cannot_open, file_of, shown, url_to_read
from autostudent.store.lock import FileLock, Lease, numbering
from autostudent.store.opening import create_study, quiet
from autostudent.store.store import Store
from tests.store.conftest import ToyStudy


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("study.db", "expected a URL such as sqlite:///"),
        ("sqlite://", "expected a file"),
        ("sqlite:///:memory:", "expected a file"),
        ("nosuch://host/db", "cannot be opened: Can't load plugin: sqlalchemy.dialects:nosuch"),
        ("postgresql://user:secret@host/db", "cannot be opened"),
        ("sqlite:////proc/none/study.db", "cannot be opened"),
    ],
)
def test_a_url_that_cannot_be_opened(toy, url, says):
    toy.url = url
    with pytest.raises(StoreError) as error:
        toy.open()
    assert says in one_line(error)
    assert "secret" not in str(error.value)


def test_a_file_that_is_no_database(toy):
    toy.file.write_text("not a database at all, just some text " * 50)
    with pytest.raises(StoreError, match="file is not a database") as error:
        toy.open()
    one_line(error)
    with pytest.raises(StoreError, match="file is not a database"):
        toy.read()


def test_reading_what_is_not_there(toy, tmp_path):
    with pytest.raises(StoreError, match="nothing is stored there yet"):
        toy.read()
    assert not toy.file.exists()
    with toy.open():
        pass
    with pytest.raises(StoreError, match=r"holds no study 'other'\. There: toy"):
        Store.read(toy.url, "other")
    optuna.create_study(study_name="foreign", storage=toy.url)
    with pytest.raises(StoreError, match="not made by autostudent"):
        Store.read(toy.url, "foreign")
    with pytest.raises(StoreError, match=r"name one\. There: foreign, toy"):
        Store.read(toy.url)


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite", "journal"])
@pytest.mark.parametrize("name", ["my%20work", "100%", "set{1}", "{x}"])
def test_paths_are_meant_as_they_stand(tmp_path, monkeypatch, name, scheme):
    (tmp_path / "my work").mkdir()
    toy = ToyStudy(tmp_path / name, scheme)
    with toy.open() as store:
        toy.drive(store)
    assert toy.file.is_file()
    assert not [*(tmp_path / "my work").iterdir()]
    with toy.read() as store:
        assert [row["trial"] for row in store.front()] == [0, 3, 4]
    monkeypatch.setattr(os, "access", lambda *given: False)  # somebody else's folder
    with toy.read() as store:
        assert len(store.rows()) == 5


@pytest.mark.parametrize(
    ("call", "answer"), [("statvfs", SimpleNamespace(f_flag=os.ST_RDONLY)), ("access", False)]
)  # a read-only disk, somebody else's folder
def test_a_store_where_nothing_can_be_written_is_read(toy, monkeypatch, call, answer):
    """SQLite makes files beside one in WAL even to read it; a log of a driver that died must not be left out."""
    with toy.open() as store:
        toy.drive(store)
        there = sorted(path.name for path in toy.file.parent.iterdir())
        monkeypatch.setattr(os, call, lambda *given: answer)
        assert any(name.endswith("-wal") for name in there)
        assert str(url_to_read(toy.url, toy.file)) == toy.url
    there = sorted(path.name for path in toy.file.parent.iterdir())
    for url in (toy.url, f"sqlite+pysqlite:///{toy.file}?timeout=3"):
        with Store.read(url, "toy", toy.assets) as store:
            assert [row["trial"] for row in store.front()] == [0, 3, 4]
            assert sorted(path.name for path in toy.file.parent.iterdir()) == there


@pytest.mark.parametrize(
    "password", ["pa%20ss", "pa/ss", "pa:ss", "pa@ss", "pa@s@s", "pa@ss/x", "pa@s:s", "pa?ss", "pa\nss", "123"]
)
@pytest.mark.parametrize("user", ["me", "me@corp", ""])
def test_passwords_are_hidden(user, password):
    for rest in ("host/db", "host:3306/db?ssl=1", "[::1]:3306/db", "host/db?ssl_ca=/a@b.pem"):
        if "?" not in password or "?" not in rest:
            assert shown(f"mysql://{user}:{password}@{rest}") == f"mysql://{user}:***@{rest}"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/db",
        "mysql://host:3306/db",
        "mysql://me@host:3306/db?charset=utf8",
        "mysql://[::1]:3306",
        "mysql://[::1]/db",
        "sqlite:////tmp/a:b@c/study.db",
        "sqlite:////tmp/a:b@c@d/study.db",
        "journal:///runs/study.log",
        "study.db",
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(url):
    assert shown(url) == url
    assert "%40" not in str(cannot_open(url, ValueError("refused")))


def test_passwords_in_queries_are_hidden():
    for key in ("password", "passwd", "sslpassword", "PASSWORD", "odbc_connect"):
        assert shown(f"mysql://host/db?user=me&{key}=pa@ss&ssl=1") == f"mysql://host/db?user=me&{key}=***&ssl=1"


def test_files_are_found():
    assert str(file_of("sqlite:///runs/a.db")) == "runs/a.db"
    assert str(file_of("sqlite+pysqlite:////tmp/a.db?timeout=3")) == "/tmp/a.db"
    assert str(file_of("journal:////tmp/a.log")) == "/tmp/a.log"
    assert file_of("mysql+pymysql://host/db") is None


@pytest.mark.parametrize(
    ("url", "said", "told"),
    [
        ("postgresql://me:pa@ss@host/db", "no host 'ss@host'", "an @ in a password is written %40"),
        ("postgresql://me:pa@s:sec@host/db", "no number 'sec@host'", "an @ in a password is written %40"),
        ("postgresql://me:sec/ret@host/db", "no user me with sec/ret", "no user me with ***"),
        ("postgresql://me:sec%21@host/db", "no user me with sec!", "no user me with ***"),
        ("postgresql://me:secret", "no number 'secret'", "no number '***'"),
        ("postgresql://me:secret@host/db", "refused", "refused"),
    ],
)
def test_what_a_database_says_of_a_password_is_hidden(url, said, told):
    assert str(cannot_open(url, ValueError(said))) == f"store {shown(url)} cannot be opened: {told}"
    assert "sec" not in shown(url)


def test_a_foreign_study_of_that_name_is_not_touched(toy):
    optuna.create_study(study_name="toy", storage=toy.url, directions=["maximize", "minimize", "minimize"]).ask()
    with pytest.raises(StoreError, match="not made by autostudent"):
        toy.open()
    assert [t.state.name for t in optuna.load_study(study_name="toy", storage=toy.url).trials] == ["RUNNING"]


def test_a_second_driver_is_refused_with_host_and_process(toy, store):
    with pytest.raises(StoreError) as error:
        toy.open()
    assert f"process {os.getpid()} on host {socket.gethostname()}" in one_line(error)
    assert toy.read().trials() == []


def test_the_lock_dies_with_its_process(toy):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom autostudent.store.lock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1]), 'x'); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(toy.file)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match=f"process {holder.pid} on host"):
        toy.open()
    holder.kill()
    holder.wait()
    with toy.open() as store:
        assert store.repaired == [
            f"the driver before (process {holder.pid} on host {socket.gethostname()}) ended without closing the store"
        ]
    with toy.open() as store:
        assert store.repaired == []


def test_a_link_to_the_store_is_the_same_store(toy, tmp_path):
    with toy.open():
        (tmp_path / "link.db").symlink_to(toy.file)
        with pytest.raises(StoreError):
            FileLock(tmp_path / "link.db", "link").acquire()


@pytest.fixture
def storage(toy):
    url = f"sqlite:///{toy.file}"
    storage = optuna.storages.RDBStorage(url, {"connect_args": {"factory": WalConnection, "timeout": 10}})
    optuna.create_study(study_name="toy", storage=storage)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def lease(storage, seconds=60.0):
    return Lease(storage, storage.get_study_id_from_name("toy"), "server", seconds)


def test_a_lease_is_held_renewed_and_given_back(storage):
    first = lease(storage, seconds=0.4)
    assert first.acquire() is None
    with pytest.raises(StoreError, match=f"process {os.getpid()} on host"):
        lease(storage).acquire()
    until = storage.get_study_user_attrs(1)["lease"]["until"]
    time.sleep(0.6)
    assert storage.get_study_user_attrs(1)["lease"]["until"] > until
    first.check()
    first.release()
    second = lease(storage)
    assert second.acquire() is None
    second.release()


def test_a_lease_of_the_dead_or_lapsed_is_taken_over(storage):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    far = {"host": "elsewhere", "pid": 1, "token": "t", "until": time.time() + 60}
    storage.set_study_user_attr(1, "lease", far)
    with pytest.raises(StoreError, match="process 1 on host elsewhere"):
        lease(storage).acquire()
    here = {**far, "host": socket.gethostname(), "processes": numbering()}
    other = {**here, "pid": gone.pid, "processes": "another container on this host"}
    storage.set_study_user_attr(1, "lease", other)
    with pytest.raises(StoreError, match=f"process {gone.pid} on host"):
        lease(storage).acquire()
    lapsed = time.time() - 1
    for dead in (
        {**far, "until": lapsed},
        {**here, "pid": gone.pid},
        {**here, "pid": os.getpid(), "until": lapsed},  # a restarted container: another process of the same number
    ):
        storage.set_study_user_attr(1, "lease", dead)
        mine = lease(storage)
        assert mine.acquire() == f"process {dead['pid']} on host {dead['host']}"
        mine.release()


def test_a_driver_that_lost_its_lease_stops(storage):
    mine = lease(storage, seconds=0.2)
    mine.acquire()
    storage.set_study_user_attr(1, "lease", {"host": "h", "pid": 1, "token": "t", "until": time.time() + 60})
    time.sleep(0.3)
    with pytest.raises(StoreError, match="another driver took over"):
        mine.check()
    mine.release()
    assert storage.get_study_user_attrs(1)["lease"]["token"] == "t"


def test_a_lapsed_lease_is_looked_at_before_the_next_write(storage):
    """A driver whose renewals did not happen, because its machine slept: nobody came, then somebody did."""
    mine = lease(storage)
    mine.acquire()
    mine._until = time.time() - 1
    mine.check()
    assert storage.get_study_user_attrs(1)["lease"]["until"] > time.time() + 50
    storage.set_study_user_attr(1, "lease", {"host": "h", "pid": 1, "token": "t", "until": time.time() + 60})
    mine.check()  # its own lease has not lapsed yet, as far as it knows
    mine._until = time.time() - 1
    with pytest.raises(StoreError, match="another driver took over"):
        mine.check()
    mine.release()


def test_a_lapsed_lease_that_cannot_be_renewed_stops_the_driver(storage):
    mine = lease(storage)
    mine.acquire()
    mine._until = time.time() - 1
    storage.engine.dispose()
    storage.remove_session()
    with sqlite3.connect(storage.engine.url.database) as other:
        other.execute("DROP TABLE study_user_attributes")
    with pytest.raises(StoreError, match=r"the lease lapsed and cannot be renewed: .*no such table"):
        mine.check()


def test_a_study_that_another_driver_prepares_is_not_deleted(storage):
    """Its objectives are others, and it has no trials yet: teachers come first."""
    mine = lease(storage)
    mine.acquire()
    with quiet():
        optuna.load_study(study_name="toy", storage=storage).set_metric_names(["accuracy"])
    with pytest.raises(StoreError, match="is driven by process"):
        create_study(storage, "toy", [Objective("params", "minimize")], "server")
    mine.release()
    create_study(storage, "toy", [Objective("params", "minimize")], "server")
    assert optuna.load_study(study_name="toy", storage=storage).metric_names == ["params"]


def test_a_store_that_can_no_longer_be_written_says_so_in_one_line(toy, store):
    toy.create(store, 0)
    with sqlite3.connect(toy.file) as other:
        other.execute("DROP TABLE trial_user_attributes")
    with pytest.raises(
        StoreError, match=r"study.db cannot be written: no such table: trial_user_attributes; "
    ) as error:
        store.start(0, 3)
    one_line(error)
