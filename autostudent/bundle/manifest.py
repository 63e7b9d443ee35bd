"""The files of a bundle and the manifest that vouches for them.

A checksum finds damage, swapped files and edits. It does not find a forger who writes the manifest anew; nothing in a
bundle is ever run as code, so such a bundle can give wrong answers and nothing worse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autostudent.assets import checksum
from autostudent.errors import AssetError
from autostudent.records import canonical_json

FORMAT = 1  # version of the bundle's layout
MANIFEST = "manifest.json"
GRAPH, PREPROCESSING, WEIGHTS = "graph.json", "preprocessing.json", "weights.safetensors"
CARD, ONNX, PT2 = "README.md", "student.onnx", "student.pt2"
NAMES = (GRAPH, PREPROCESSING, WEIGHTS, CARD, ONNX, PT2)
SMALL = 64 << 20  # bytes of JSON beyond which a file is not ours


def seal(files: Mapping[str, bytes], about: Mapping[str, Any]) -> bytes:
    """The manifest: ``about``, size and SHA-256 of every file, and a SHA-256 of all that under ``seal``."""
    listed = {name: {"bytes": len(data), "sha256": checksum(data)} for name, data in files.items()}
    whole = {"format": FORMAT, **about, "files": listed}
    return json.dumps({**whole, "seal": _seal_of(whole)}, indent=1).encode()


def _seal_of(manifest: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle. Raises `AssetError` when there is none, or it was edited or cut."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > SMALL:
            raise ValueError("too large")
        manifest = json.loads(path.read_bytes())
        sealed = isinstance(manifest, dict) and manifest.get("seal") == _seal_of(manifest)
    except OSError as error:
        raise AssetError(f"{folder} is no exported student: {MANIFEST}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise AssetError(f"{path} is not the manifest of an exported student; export the student again") from None
    if not sealed:
        raise AssetError(f"{path} was edited after the export; export the student again")
    if manifest.get("format") != FORMAT:
        raise AssetError(f"{path} has format {manifest.get('format')}, this version reads {FORMAT}; export it again")
    if not is_listing(manifest.get("files")):
        raise AssetError(f"{path} does not list files with their bytes and sha256; export the student again")
    return manifest


def is_listing(files: object) -> bool:
    """Whether that is what a manifest says of its files."""
    entries = list(files.values()) if isinstance(files, dict) else [None]
    return all(isinstance(one, dict) and {"bytes", "sha256"} <= one.keys() for one in entries)


def student_of(folder: Path) -> tuple[object, object] | None:
    """Study and trial that a manifest names, be it edited or of another format; None where it cannot be read.

    It says whose folder this is and vouches for nothing in it.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        return manifest["study"], manifest["trial"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def read_checked(folder: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    """One file of a bundle, compared with its manifest. Raises `AssetError` saying what is wrong with it."""
    path = folder / name
    listed = manifest["files"].get(name)
    if listed is None:
        raise AssetError(f"{folder / MANIFEST} names no {name}; export the student again")
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == listed["bytes"] else b""
    except OSError as error:
        raise AssetError(f"{path} cannot be read ({error.strerror}); export the student again") from None
    if size < listed["bytes"]:
        raise AssetError(f"{path} is truncated: {size:,} of {listed['bytes']:,} bytes; export the student again")
    if checksum(data) != listed["sha256"]:
        raise AssetError(f"{path} was changed after the export (its checksum differs); export the student again")
    return data
