from __future__ import annotations

import os
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from autostudent.errors import AutostudentError
from autostudent.run.upload import files_of, pack


def plant(top: Path, *names: str) -> None:
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)


def test_leaves_out_what_is_never_wanted(tmp_path: Path) -> None:
    plant(tmp_path, "study.yaml", "plugin/data/loader.py", "plugin/runs/x.py", "plugin/__pycache__/a.py", "a.pyc")
    plant(tmp_path, ".git/config", "data/big.npz", "runs/study.db", ".venv/bin/python", ".mypy_cache/x", ".env")
    assert list(files_of(tmp_path)) == ["plugin/data/loader.py", "plugin/runs/x.py", "study.yaml"]


def test_honours_ignore_files(tmp_path: Path) -> None:
    plant(tmp_path, "a.log", "keep.log", "sub/b.log", "sub/c.txt", "sub/deep/c.txt", "out/x", "top.txt", "sub/top.txt")
    plant(tmp_path, "many/one/x.bin", "many/y.bin", "sub/own.md", "own.md")
    (tmp_path / ".gitignore").write_text("# logs\n*.log\n!keep.log\nout/\n/top.txt\n**/*.bin\n\nsub/c.txt\n")
    (tmp_path / "sub" / ".rayignore").write_text("*.md\n")
    assert list(files_of(tmp_path)) == [
        ".gitignore",
        "keep.log",
        "own.md",
        "sub/.rayignore",
        "sub/deep/c.txt",
        "sub/top.txt",
    ]


def test_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    plant(tmp_path, "outside/secret", "top/file")
    top = tmp_path / "top"
    (top / "link").symlink_to(tmp_path / "outside" / "secret")
    (top / "folder").symlink_to(tmp_path / "outside")
    (top / "inner").symlink_to(top / "file")
    assert list(files_of(top)) == ["file", "inner"]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    plant(tmp_path, "b/c.txt", "a.txt")
    first = pack(tmp_path, {"study.yaml": b"study: x"})
    os.utime(tmp_path / "a.txt", (0, 0))
    assert pack(tmp_path, {"study.yaml": b"study: x"}) == first
    with zipfile.ZipFile(BytesIO(first)) as archive:
        assert archive.namelist() == ["a.txt", "b/c.txt", "study.yaml"]
        assert archive.read("study.yaml") == b"study: x"


def test_too_much_is_refused_by_name(tmp_path: Path) -> None:
    plant(tmp_path, "small.txt")
    (tmp_path / "large.npz").write_bytes(bytes(2**20))
    with pytest.raises(AutostudentError, match=r"1.0 MiB to upload, 0 MiB are allowed; largest: large.npz \(1.0 MiB\)"):
        pack(tmp_path, {}, most_bytes=2**18)
