"""Picks one student of a front for a user with limits. Plain rows in, one row and the reason out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autostudent.errors import ConfigError

Row = Mapping[str, Any]

ROUNDING = 1e-9  # 56.6 / 100 is no fraction of pictures
RULES = ("accuracy", "knee", "smallest_within_1se")
COSTS = {"params": "parameters", "macs": "multiply-adds", "memory_bytes": "bytes of memory", "latency_ms": "ms"}


def best(
    rows: Sequence[Row],
    *,
    max_params: float | None = None,
    max_macs: float | None = None,
    max_memory: float | None = None,
    max_latency: float | None = None,
    min_accuracy: float | None = None,
    within: float | None = None,
    rule: str = "accuracy",
    quality: str = "accuracy",
    images: int | None = None,
) -> tuple[dict[str, Any], str]:
    """The student to take among those that respect every limit, and why.

    Args:
        rows: rows of a front, as `autostudent.store.store.Store.front` gives them.
        max_memory: in bytes. max_latency: in milliseconds, where the study measured it.
        min_accuracy: least value of ``quality``.
        within: the smallest student whose quality is at most this much below the best one's is taken.
        rule: "accuracy": the best quality; "knee": where quality begins to cost most, the farthest above the line from
            the smallest to the best student (parameters on a log scale); "smallest_within_1se": ``within`` one
            standard error of the best quality, as stored in the row (``accuracy_se``), else binomial over ``images``.
        images: how many samples the quality was measured on.

    Raises:
        ConfigError: no student respects the limits (its key names the arguments, joined by " and "; the nearest student
            is named), or an argument makes no sense.
    """
    if rule not in RULES:
        raise ConfigError("rule", rule, f"one of: {', '.join(RULES)}")
    if not rows:
        allowed = "a study with a student that finished within all limits and references"
        raise ConfigError("best", "an empty front", allowed)
    if within is not None and not within >= 0:
        raise ConfigError("within", within, "at least 0")
    if max_latency is not None and not all("latency_ms" in row for row in rows):
        raise ConfigError("max_latency", max_latency, "no such limit: latency is not among the study's objectives")
    limits = {
        "params": max_params,
        "macs": max_macs,
        "memory_bytes": max_memory,
        "latency_ms": max_latency,
        quality: min_accuracy,
    }
    fitting = [row for row in rows if not _broken(row, limits, quality)]
    if not fitting:
        raise _nothing_fits(rows, limits, quality)
    top = max(fitting, key=lambda row: (row[quality], *(-size for size in _sizes(row))))
    among = f"of {len(fitting)} students" + (
        " within the limits" if any(v is not None for v in limits.values()) else ""
    )
    if rule == "smallest_within_1se" and within is None:
        within = _standard_error(top, quality, images)
    if within is not None:
        return _smallest(fitting, top, within, quality, among)
    if rule == "knee":
        return _knee(fitting, quality, among)
    return dict(top), f"the best {quality} {among}"


def recommended(
    rows: Sequence[Row], quality: str = "accuracy", images: int | None = None
) -> tuple[dict[str, Any], str]:
    """The student that is named first wherever one is named, and why: the rule "smallest_within_1se".

    Where the standard error of the quality is not known it is the best student. The arguments are those of `best`.
    """
    top = best(rows, quality=quality)[0]
    known = images or f"{quality}_se" in top
    return best(rows, rule="smallest_within_1se" if known else "accuracy", quality=quality, images=images)


def shortlist(
    rows: Sequence[Row], count: int, quality: str = "accuracy", images: int | None = None
) -> list[tuple[dict[str, Any], str]]:
    """At most ``count`` different students that are worth a proof, each with the reason.

    In this order: the `recommended` one, the best one, the knee of the front; where the knee is one of these, the knee
    of the students whose size lies between the two.
    """
    first = recommended(rows, quality, images)
    found = [first, best(rows, quality=quality), best(rows, rule="knee", quality=quality)]
    small, large = (_sizes(row) for row, _ in found[:2])
    between = [row for row in rows if small <= _sizes(row) <= large]
    found.append(best(between, rule="knee", quality=quality))
    distinct = {row["trial"]: (row, reason) for row, reason in reversed(found)}
    order = list(dict.fromkeys(row["trial"] for row, _ in found))
    return [distinct[number] for number in order[:count]]


def _sizes(row: Row) -> tuple[float, ...]:
    """Parameters first, then the other costs, then the number of the trial: the order of ties."""
    return (*(row[name] for name in COSTS if name in row), row["trial"])


def _broken(row: Row, limits: Mapping[str, float | None], quality: str) -> dict[str, float]:
    """For every limit that the row breaks, by what share of the limit it does."""
    out = {}
    for name, limit in limits.items():
        if limit is None:
            continue
        over = limit - row[name] if name == quality else row[name] - limit
        if over > ROUNDING * abs(limit):
            out[name] = over / abs(limit) if limit else math.inf
    return out


def _nothing_fits(rows: Sequence[Row], limits: Mapping[str, float | None], quality: str) -> ConfigError:
    """An error that names the student that breaks the limits least."""
    nearest = min(rows, key=lambda row: (sum(_broken(row, limits, quality).values()), -row[quality], _sizes(row)))
    words = {
        "params": "max_params",
        "macs": "max_macs",
        "memory_bytes": "max_memory",
        "latency_ms": "max_latency",
        quality: f"min_{quality}",
    }
    given = {words[name]: limit for name, limit in limits.items() if limit is not None}
    has = ", ".join(f"{row_text(name, nearest[name], quality)}" for name in _broken(nearest, limits, quality))
    return ConfigError(
        " and ".join(given),
        next(iter(given.values())) if len(given) == 1 else tuple(given.values()),
        f"limits that a student of the front respects; the nearest is student {nearest['trial']} with {has}",
    )


def row_text(name: str, value: float, quality: str) -> str:
    """One number of a row in words."""
    if name == quality:
        return f"{quality} {value:.4f}"
    return f"{value:.3g} {COSTS[name]}" if name == "latency_ms" else f"{value:,.0f} {COSTS[name]}"


def _standard_error(row: Row, quality: str, images: int | None) -> float:
    """Of the row's quality: as measured, else binomial over ``images``."""
    stored = row.get(f"{quality}_se")
    if stored is not None:
        return float(stored)
    share = row[quality]
    if not images or not 0 <= share <= 1:
        raise ConfigError("within", None, f"a tolerance in {quality}, because its standard error is not known")
    return math.sqrt(share * (1 - share) / images)


def _smallest(rows: Sequence[Row], top: Row, within: float, quality: str, among: str) -> tuple[dict[str, Any], str]:
    close = [row for row in rows if row[quality] >= top[quality] - within - ROUNDING]
    chosen = min(close, key=lambda row: (*_sizes(row)[:-1], -row[quality], row["trial"]))
    if chosen is top:
        return dict(chosen), f"the best {quality} {among}; none smaller is within {within:.4f} of it"
    return dict(chosen), (
        f"the smallest {among} whose {quality} is within {within:.4f} of the best ({top[quality]:.4f}, student "
        f"{top['trial']} with {row_text('params', top['params'], quality)})"
    )


def _knee(rows: Sequence[Row], quality: str, among: str) -> tuple[dict[str, Any], str]:
    small, top = min(rows, key=_sizes), max(rows, key=lambda row: (row[quality], *(-size for size in _sizes(row))))
    width, height = math.log(top["params"] / small["params"]), top[quality] - small[quality]
    if width <= 0 or height <= 0:
        return dict(top), f"the best {quality} {among}: none with fewer parameters is worse, so no knee"

    def above(row: Row) -> float:
        """Height over the line, in units where it goes from (0, 0) to (1, 1)."""
        return float((row[quality] - small[quality]) / height - math.log(row["params"] / small["params"]) / width)

    chosen = max(rows, key=lambda row: (above(row), -row["trial"]))
    if above(chosen) <= 1e-9:
        return dict(top), f"the best {quality} {among}: none lies above the line from the smallest to it, so no knee"
    return dict(chosen), (
        f"the knee {among}: its {quality} lies highest above the line from the smallest (student {small['trial']}, "
        f"{small[quality] - chosen[quality]:+.4f}) to the best (student {top['trial']}, "
        f"{top[quality] - chosen[quality]:+.4f})"
    )
