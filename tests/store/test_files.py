"""Files of a store, as others find them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autostudent.assets import write_atomic


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_files_are_as_readable_as_any_new_one(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "report.html", b"page")
    finally:
        os.umask(before)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
