"""What travels with a submitted study: one small archive of the working folder, the same bytes for the same files."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from autostudent.errors import AutostudentError

MOST_BYTES = 100 * 2**20  # Ray's own limit, which it checks only after packing
IGNORE_FILES = (".gitignore", ".rayignore")
NAMES_OUT = (".git", ".hg", ".svn", ".env", ".venv", "venv", "node_modules", "*.egg-info", "__pycache__", "*.pyc")
CACHES_OUT = (".*_cache", ".hypothesis", ".tox", ".nox", ".ipynb_checkpoints")
FOLDERS_OUT = ("/runs", "/data")  # at the top only: a package may have rooms of these names


@dataclass(frozen=True)
class Rule:
    """One line of an ignore file that lies in ``base`` (relative to the top, "" there)."""

    base: str
    pattern: str
    negated: bool
    folders_only: bool

    @classmethod
    def read(cls, line: str, base: str = "") -> Rule | None:
        """The rule of a line; None for blank lines and comments."""
        text = line.strip()
        if not text or text.startswith("#"):
            return None
        negated, text = text.startswith("!"), text.removeprefix("!")
        inside = text.removesuffix("/**").rstrip("/")
        return cls(base, inside.removeprefix("**/"), negated, text.endswith(("/", "/**")))

    def matches(self, path: str, folder: bool) -> bool:
        """Whether the rule speaks of ``path``, which is relative to the top."""
        if self.folders_only and not folder:
            return False
        below = path.removeprefix(f"{self.base}/") if self.base else path
        if "/" in self.pattern:  # anchored at the folder of the ignore file
            return PurePosixPath(f"/{below}").match(f"/{self.pattern.lstrip('/')}")
        return PurePosixPath(below).match(self.pattern)


def files_of(top: Path) -> Iterator[str]:
    """Paths relative to ``top`` of the files to upload, sorted.

    Left out: version control, environments, caches, ``data`` and ``runs`` at the top, what ``.gitignore`` and
    ``.rayignore`` files name (later lines win, ``!`` takes back, ``**`` is understood at either end only), and links
    that lead out of the folder.
    """
    always = [rule for line in (*NAMES_OUT, *CACHES_OUT, *FOLDERS_OUT) if (rule := Rule.read(line))]
    yield from _walk(top.resolve(), "", always)


def _walk(top: Path, base: str, rules: list[Rule]) -> Iterator[str]:
    here = top / base
    own = [Rule.read(line, base) for name in IGNORE_FILES for line in _lines(here / name)]
    rules = rules + [rule for rule in own if rule]
    for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
        path = f"{base}/{entry.name}" if base else entry.name
        folder = entry.is_dir(follow_symlinks=False)
        verdicts = [not rule.negated for rule in rules if rule.matches(path, folder)]
        if verdicts and verdicts[-1]:
            continue
        if folder:
            yield from _walk(top, path, rules)
        elif entry.is_file() and Path(entry.path).resolve().is_relative_to(top):
            yield path


def _lines(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines() if file.is_file() else []


def pack(top: Path, extra: Mapping[str, bytes], most_bytes: int = MOST_BYTES) -> bytes:
    """A zip archive of ``top`` with ``extra`` files added.

    Raises:
        AutostudentError: when the files are larger than ``most_bytes`` together; it names the largest.
    """
    names = list(files_of(top))
    sizes = {name: (top / name).stat().st_size for name in names}
    total = sum(sizes.values())
    if total > most_bytes:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        shown = ", ".join(f"{name} ({sizes[name] / 2**20:.1f} MiB)" for name in largest)
        raise AutostudentError(
            f"the folder {top} has {total / 2**20:.1f} MiB to upload, {most_bytes / 2**20:.0f} MiB are allowed; "
            f"largest: {shown}. Name what the study does not need in .gitignore or .rayignore, or submit from elsewhere"
        )
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted({*names, *extra}):
            mode = 0o644 if name in extra or not os.access(top / name, os.X_OK) else 0o755
            info = zipfile.ZipInfo(name)  # its fixed date makes the bytes repeat, so Ray uploads them once
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, extra[name] if name in extra else (top / name).read_bytes())
    return buffer.getvalue()
