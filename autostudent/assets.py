"""Files by content and by key: written atomically, checked when read.

Two kinds live under one root:

* **Blobs** are addressed by their content (checkpoints, weights, graphs): `Assets.put` returns the address.
* **Entries** are made once for a key, the digest of everything that determines them (teachers, knowledge): a folder
  with files and a ``manifest.json`` that holds their checksums. Whoever needs the same thing finds it again.

Every write goes to a temporary name in the same folder, is flushed to disk and renamed; no reader sees half a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from autostudent.errors import AssetError, ConfigError


def checksum(data: bytes) -> str:
    """SHA-256 of ``data`` as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` so that ``path`` holds either all of it or what it held before.

    Raises:
        OSError: naming ``path``, where it cannot be written.
    """
    temporary = path.with_name(f".part-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:  # unlike what `tempfile` makes, as readable as any new file
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):  # a full disk, or no right to write
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def local_path(location: str) -> Path:
    """The folder that an artifacts setting names: a path or a ``file://`` URL."""
    if "://" not in location:
        return Path(location).expanduser()
    url = urlparse(location)
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        raise ConfigError("artifacts", location, "a folder, or a file:///absolute/path URL (a mounted shared folder)")
    return Path(unquote(url.path))


class Assets:
    """The asset store under one folder; safe for several processes on one file system."""

    def __init__(self, root: str | Path) -> None:
        self.root = local_path(str(root)).absolute()

    def path(self, address: str) -> Path:
        """Where the blob of this address lies."""
        return self.root / "blobs" / address[:2] / address

    def has(self, address: str) -> bool:
        """Whether the blob is there."""
        return self.path(address).is_file()

    def put(self, data: bytes, suffix: str = "") -> str:
        """Stores a blob; returns its address (40 digits of its SHA-256, then ``suffix`` such as ``.json``)."""
        address = checksum(data)[:40] + suffix
        try:
            whole = self.path(address).read_bytes() == data
        except FileNotFoundError:
            whole = False
        if not whole:  # or damaged
            write_atomic(self.path(address), data)
        return address

    def get(self, address: str) -> bytes:
        """The blob's bytes. Raises `AssetError` when it is missing or was altered."""
        try:
            data = self.path(address).read_bytes()
        except FileNotFoundError:
            raise AssetError(
                f"asset {address} is not in {self.root}; was the artifacts folder moved or cleaned?"
            ) from None
        if not address.startswith(checksum(data)[:40]):
            raise AssetError(f"asset {address} in {self.root} was altered or truncated")
        return data

    def remove(self, address: str) -> None:
        """Deletes a blob; nothing happens when it is gone."""
        self.path(address).unlink(missing_ok=True)

    def entry(self, kind: str, key: str) -> Entry:
        """The entry of this kind ("teachers", "knowledge", …) and key, made or not."""
        return Entry(self.root / kind / key)


class Entry:
    """A keyed folder of files, complete when its manifest is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def complete(self) -> bool:
        """Whether the manifest was written, which is done last."""
        return (self.folder / "manifest.json").is_file()

    @contextmanager
    def making(self, wait: Callable[[], object]) -> Iterator[None]:
        """Held by the one process of this machine that makes the entry; who comes later calls ``wait``, and waits.

        Ask for `complete` again inside: the other one may have made it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / ".lock"
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):  # a file system without locks
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    wait()
                    fcntl.flock(handle, fcntl.LOCK_EX)
            yield
            if self.complete:
                lock.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def manifest(self) -> dict[str, Any]:
        """What `commit` stored, with the checksums under ``files``."""
        try:
            return json.loads((self.folder / "manifest.json").read_text())
        except FileNotFoundError:
            allowed = "run again to make it; all machines of a study must see one artifacts folder"
            raise AssetError(f"{self.folder} is not there, seen from {platform.node()}: {allowed}") from None
        except (OSError, ValueError) as error:
            raise AssetError(
                f"{self.folder}/manifest.json cannot be read ({error}); delete the folder and run again"
            ) from None

    def write(self, name: str, data: bytes) -> None:
        """Writes one file of an entry that is not complete yet."""
        write_atomic(self.folder / name, data)

    def commit(self, files: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
        """Writes the last ``files`` and then the manifest: ``about``, and the checksum of every file in the folder."""
        for name, data in files.items():
            self.write(name, data)
        kept = [path for path in sorted(self.folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
        sums = {path.name: file_checksum(path) for path in kept if path.name != "manifest.json"}
        write_atomic(self.folder / "manifest.json", json.dumps({**about, "files": sums}, indent=1).encode())

    def read(self, name: str) -> bytes:
        """One file, checked against the manifest. Raises `AssetError` when it is missing or was altered."""
        path = self.verified(name)
        return path.read_bytes()

    def verified(self, name: str) -> Path:
        """The path of one file after its checksum was compared with the manifest."""
        expected = self.manifest()["files"].get(name)
        path = self.folder / name
        if expected is None or not path.is_file() or file_checksum(path) != expected:
            raise AssetError(f"{path} is missing, truncated or altered; delete the folder {self.folder} and run again")
        return path
