"""What may change between two runs of one study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autostudent.errors import StoreError

SHOWN = 6
FREE = ("run", "retention", "rivals")
GROWS = "budget.trials"


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, leaf) pairs of a JSON tree; lists of named mappings are keyed by name, other lists are leaves."""
    if isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from flat(entry, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and all(isinstance(e, Mapping) and "name" in e for e in value):
        for entry in value:
            yield from flat({k: v for k, v in entry.items() if k != "name"}, f"{key}.{entry['name']}")
    else:
        yield key, value


def free(key: str) -> bool:
    """Whether the entry may change at will."""
    return any(key == name or key.startswith(name + ".") for name in FREE)


def short(value: Any) -> str:
    """A value in a message."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """One text for each entry that must not have changed, the outermost keys first; empty when the study may go on."""
    before, after = dict(flat(stored)), dict(flat(given))
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key) and not free(key)]
    out = []
    for key in sorted(changed, key=lambda key: (key.count("."), key)):
        old, new = before.get(key), after.get(key)
        if key == GROWS and isinstance(old, int) and isinstance(new, int) and new > old:
            continue
        only = " (it may only grow)" if key == GROWS else ""
        out.append(f"{key} was {short(old)}, now {short(new)}{only}")
    return out


def require_same_study(stored: Mapping[str, Any], given: Mapping[str, Any], study: str, where: str) -> None:
    """Raises `StoreError` naming every differing key, unless the study may go on with the given settings."""
    found = differences(stored, given)
    if not found:
        return
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise StoreError(
        f"study {study!r} in {where} was begun with other settings: {'; '.join(found[:SHOWN])}{more}. Only "
        "budget.trials (upwards), run.*, rivals.* and retention may change: use another study name or store, or put "
        "them back"
    )
