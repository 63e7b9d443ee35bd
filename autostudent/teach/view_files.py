"""Files that hold something about one view of a bank; a file's name ends in the checksum of its bytes."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from autostudent.assets import checksum, file_checksum, write_atomic

NAME = re.compile(r"view-(\d{5})-([0-9a-f]{16})\.npy")


def write_view(folder: Path, view: int, array: np.ndarray) -> Path:
    """Stores an array; the file's path."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    data = buffer.getvalue()
    path = folder / f"view-{view:05}-{checksum(data)[:16]}.npy"
    write_atomic(path, data)
    return path


def read_view(path: Path) -> np.ndarray:
    """The array, memory-mapped; a change of it does not reach the file."""
    return np.load(path, mmap_mode="c", allow_pickle=False)


def whole_files(folder: Path, views: str = "*", remove: bool = False) -> dict[int, Path]:
    """The files whose bytes are what their names say, by view; with ``remove`` the others are deleted.

    ``views``: five digits, for the files of one view.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(f"view-{views}-*.npy")):
        parts = NAME.fullmatch(path.name)
        if parts and file_checksum(path).startswith(parts[2]):
            found[int(parts[1])] = path
        elif remove:
            path.unlink(missing_ok=True)
    return found
