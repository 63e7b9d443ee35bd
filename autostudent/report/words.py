"""Figures as people read them; shared by the page and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AXES = {"params": "parameters", "macs": "multiply-adds", "memory_bytes": "memory", "latency_ms": "latency"}
"""The costs in the order in which they are shown, with their names in sentences; latency only where it was measured."""


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.981 as "98.1 %"; a dash for what was not measured."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f} %"


def count(number: float | None) -> str:
    """12,345 as "12.3 k", 1,234,567 as "1.23 M"."""
    return "–" if number is None else scaled(float(number), 1000.0, ("", " k", " M", " G", " T"))


def size(number: float | None) -> str:
    """Bytes in KiB, MiB, GiB."""
    return "–" if number is None else scaled(float(number), 1024.0, (" B", " KiB", " MiB", " GiB", " TiB"))


def scaled(number: float, step: float, units: tuple[str, ...]) -> str:
    """Three significant digits with the unit that leaves the number below ``step``."""
    place = 0
    while abs(number) >= 0.9995 * step and place < len(units) - 1:
        number, place = number / step, place + 1
    digits = 0 if place == 0 or abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    return f"{number:.{digits}f}{units[place]}"


def cost(name: str, number: float | None) -> str:
    """A cost in its own unit: ``memory_bytes`` as a size, ``latency_ms`` in milliseconds, the others as a count."""
    if name == "latency_ms":
        return "–" if number is None else f"{number:.3g} ms"
    return size(number) if name == "memory_bytes" else count(number)


def times(larger: float, smaller: float) -> str:
    """The ratio as "14×"; two digits below ten."""
    ratio = larger / smaller
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×"


def duration(seconds: float) -> str:
    """Seconds as "42 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def taught_by(row: Mapping[str, Any]) -> str:
    """The teachers of a front row in one text: names joined, a dash for labels only."""
    teachers = row.get("teachers") or ()
    return teachers if isinstance(teachers, str) else ", ".join(map(str, teachers)) or "–"
