"""What a process keeps of its memory, and the time spent looking for what it could let go."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for unreachable cycles meanwhile; also a decorator. The first of several threads to leave ends it.

    A full search walks every object that lives, and the more objects are made the more searches follow
    (`benchmarks/results/store_scale.md` has the seconds). Objects without cycles are freed as ever.
    """
    running = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if running:
            gc.enable()


def give_back() -> None:
    """Returns freed memory to the operating system.

    glibc keeps what was freed between pieces that are still in use, and every student needs pieces of other sizes.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """None where the C library has no such function: macOS, Windows, musl."""
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    trim: Callable[[int], int] = found
    return trim
