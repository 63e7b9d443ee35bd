"""The errors that users see. Each message says what was given, what was expected and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class AutostudentError(Exception):
    """Root of all errors that this package raises on purpose; the CLI prints it in one line and exits with code 2."""


class ConfigError(AutostudentError):
    """A study, a search space or an option holds something that cannot be used.

    Args:
        key: dotted path of the entry, for example ``budget.trials``.
        given: the value as the user wrote it.
        allowed: what would be accepted, in words.
    """

    def __init__(self, key: str, given: object, allowed: str) -> None:
        super().__init__(f"{key}: got {given!r}; expected {allowed}")
        self.key, self.given, self.allowed = key, given, allowed

    def __reduce__(self) -> tuple[type, tuple[str, object, str]]:
        return type(self), (self.key, self.given, self.allowed)  # an error crosses from a worker's process


class DataError(AutostudentError):
    """A data set cannot be read, or is unfit for the study."""


class TeacherError(AutostudentError):
    """A teacher cannot be loaded, or does not fit the data."""


class StoreError(AutostudentError):
    """A store cannot be opened, is in use by another driver, or belongs to another study."""


class AssetError(AutostudentError):
    """A stored file is missing, truncated or altered."""


class ExtraMissing(AutostudentError):
    """An optional dependency is not installed; the message names the pip command."""


class InvalidDraw(AutostudentError):
    """A generator configuration and seed give no usable graph; the candidate is refused, never repaired."""


SURROUNDINGS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE,
    errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV, errno.ENXIO,
)  # fmt: skip


def is_of_surroundings(error: BaseException) -> bool:
    """Whether the error says something of a disk, of data or of stored files, and nothing of what was computed."""
    if isinstance(error, AssetError | DataError | TeacherError):
        return True
    return isinstance(error, OSError) and error.errno in SURROUNDINGS


def first_line(error: BaseException) -> str:
    """The first line of an error's text, 200 letters at most, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


NO_MEMORY = (
    *("out of memory", "can't allocate memory", "cannot allocate memory"),
    *("alloc_failed", "cublas_status_not_initialized"),  # of cuBLAS and cuDNN
    "unable to find an engine to execute",  # of cuDNN, when none of its plans found memory
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that there was no memory left, on the host or on a GPU.

    `torch.OutOfMemoryError` is known by its name, so that this module does not import torch; torch's CPU allocator and
    operating systems raise plain errors, which only their text tells.
    """
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    text = str(error).lower()
    return any(words in text for words in NO_MEMORY)


def unknown_name(key: str, given: str, known: Iterable[str]) -> ConfigError:
    """A `ConfigError` for a name that is not among ``known``, with the nearest name as a suggestion."""
    names = sorted(known)
    near = get_close_matches(given, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigError(key, given, f"one of: {', '.join(names)}{hint}")
