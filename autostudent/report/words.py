"""Figures as people read them; shared by the page and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autostudent.records import Objective, Trial, TrialState

EXACT = ("params", "macs", "memory_bytes")
AXES = {
    "params": "parameters",
    "macs": "multiply-adds",
    "memory_bytes": "memory",
    "latency_ms": "latency",
    "ece": "calibration error",
    "nll": "log-loss",
}
"""What lies beside accuracy, in the order in which it is shown, with its name in sentences."""


def axes_of(objectives: Iterable[str]) -> tuple[str, ...]:
    """Names of the axes that are shown beside accuracy: the exact costs, and what else is among ``objectives``."""
    names = set(objectives)
    return tuple(name for name in AXES if name in EXACT or name in names)


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
    """An axis in its own unit: memory as a size, latency in ms, ECE in per cent, log-loss in nats, else a count."""
    if number is not None and name in ("latency_ms", "nll"):
        return f"{number:.3g} ms" if name == "latency_ms" else f"{number:.3f}"
    if name == "ece":
        return percent(number)
    return size(number) if name == "memory_bytes" else count(number)


def times(larger: float, smaller: float) -> str:
    """The ratio as "14×"; two digits below ten."""
    ratio = larger / smaller
    if ratio < 0.095:
        return f"{ratio:.2f}×" if ratio >= 0.0095 else "<0.01×"
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×"


def empty_front(trials: Iterable[Trial], objectives: Iterable[Objective]) -> str:
    """Why no student is on the front."""
    states = [trial.state for trial in trials]
    finished = states.count(TrialState.COMPLETE)
    if not finished and states and all(state.finished for state in states):
        return f"No student was trained to the end; {states.count(TrialState.FAIL):,} of {len(states):,} failed."
    if not finished:
        return "No student has finished its training yet."
    asked = []
    for objective in objectives:
        bounds = [bound for bound in (objective.limit, objective.reference) if bound is not None]
        if bounds:
            least = objective.direction == "maximize"
            bound = max(bounds) if least else min(bounds)
            name, word = AXES.get(objective.name, objective.name), "at least" if least else "at most"
            asked.append(f"{name} {word} {percent(bound) if least else cost(objective.name, bound)}")
    students = "student has" if finished == 1 else "students have"
    return f"{finished:,} {students} finished, none with all that counts" + (f": {', '.join(asked)}." if asked else ".")


SAVED = {
    "params": ("fewer parameters", "as many parameters"),
    "macs": ("fewer multiply-adds", "as many multiply-adds"),
    "memory_bytes": ("less memory", "as much memory"),
}


def saving(axis: str, whole: float, own: float) -> tuple[str, str]:
    """("14×", "fewer parameters") of a student beside its teacher, ("1.6×", "as many parameters") of a larger one."""
    fewer, as_many = SAVED[axis]
    return (times(whole, own), fewer) if own < whole else (times(own, whole), as_many)


def duration(seconds: float) -> str:
    """Seconds as "42 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def effort(seconds: Mapping[str, float], segments: float = 0.0) -> str:
    """What `StudyDriver.effort` stored, in one sentence; empty when nothing was stored.

    ``segments``: seconds of all segments in the store. Those of a run that was cut off are in no effort.
    """
    if not seconds.get("workers"):
        return ""
    begin = "Searching took" if segments <= 1.01 * seconds["segments"] + 1 else "Runs that were not cut off took"
    training, busy = (percent(seconds[name] / seconds["workers"], 0) for name in ("training", "segments"))
    driver = percent(seconds["driver"] / seconds["wall"], 0)
    return (
        f"{begin} {duration(seconds['wall'])}; workers were busy {busy} of it and training {training}, "
        f"the driver used {driver} of one processor."
    )


def taught_by(row: Mapping[str, Any]) -> str:
    """The teachers of a front row in one text: names joined, a dash for labels only."""
    teachers = row.get("teachers") or ()
    return teachers if isinstance(teachers, str) else ", ".join(map(str, teachers)) or "–"
