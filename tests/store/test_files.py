"""Files of a store, as others find them."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from autostudent.assets import Assets, write_atomic


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_files_are_as_readable_as_any_new_one(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "report.html", b"page")
    finally:
        os.umask(before)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*file\.bin") as told:
        write_atomic(tmp_path / "file.bin", b"data")
    assert told.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_healed_by_whoever_has_its_content(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    address = assets.put(b"a graph", ".json")
    assets.path(address).write_bytes(b"")
    assert assets.put(b"a graph", ".json") == address
    assert assets.get(address) == b"a graph"


def test_one_of_two_makes_an_entry_and_the_other_waits_for_it(tmp_path: Path) -> None:
    made, waited, somebody = [], [], Event()

    def wait(name: str) -> None:
        waited.append(name)
        somebody.set()

    def make(name: str) -> None:
        entry = Assets(tmp_path).entry("teachers", "key")
        with entry.making(lambda: wait(name)):
            if not entry.complete:
                assert somebody.wait(60)
                made.append(name)
                entry.commit({"weights": name.encode()}, {})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, ("one", "two")))
    assert len(made) == 1
    assert waited == [name for name in ("one", "two") if name not in made]
    assert sorted(path.name for path in (tmp_path / "teachers/key").iterdir()) == ["manifest.json", "weights"]
