"""Values of any length in attributes of at most 4 KB each.

Databases cut or refuse long attributes, and a dashboard shows them in full. A study's long values are therefore kept
in numbered pieces; a trial's go to an asset, and the attribute holds its address.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autostudent.assets import Assets
from autostudent.errors import StoreError
from autostudent.records import canonical_json
from autostudent.store.scan import study_attributes, writable

if TYPE_CHECKING:
    from autostudent.store.scan import Readable

LIMIT = 4000
"""Bytes of JSON in one attribute."""

PIECE = 1900
"""Characters in one piece: quotes and backslashes double when a piece is written as JSON."""

PIECES = "__pieces__"
ASSET = "__asset__"


def fits(value: Any) -> bool:
    """Whether the value may be one attribute."""
    return len(json.dumps(value)) <= LIMIT


def trimmed(text: str, limit: int = 2000) -> str:
    """``text`` cut so that its JSON has at most ``limit`` bytes."""
    while len(json.dumps(text)) > limit:
        text = text[: int(len(text) * 0.8)]
    return text


def packed(value: Any, assets: Assets | None) -> Any:
    """The value itself, or the address of an asset that holds it, whichever fits."""
    if fits(value):
        return value
    if assets is None:
        raise StoreError("a trial's attribute is longer than 4 KB, and the store was opened without an assets folder")
    return {ASSET: assets.put(canonical_json(value).encode(), ".json")}


def unpacked(value: Any, assets: Assets | None) -> Any:
    """Undoes `packed`."""
    if not (isinstance(value, dict) and ASSET in value):
        return value
    if assets is None:
        raise StoreError(f"asset {value[ASSET]} is needed, and the store was opened without an assets folder")
    return json.loads(assets.get(value[ASSET]))


def plain(value: Any) -> Any:
    """The value in JSON's own types: numbers out of numpy, tuples as lists, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if not isinstance(value, str | int | float) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


class StudyAttributes:
    """The user attributes of one Optuna study, read in one query and written through.

    A long value changes at once for every reader: its pieces go to the slot (0 or 1) that is not in use, then the
    attribute that names the slot is written.
    """

    def __init__(self, storage: Readable, study_id: int) -> None:
        self._storage = storage
        self._study_id = study_id
        self.refresh()

    def refresh(self) -> None:
        """Reads all attributes anew."""
        self._raw: dict[str, Any] = study_attributes(self._storage, self._study_id)

    def get(self, key: str, default: Any = None) -> Any:
        """The value, ``default`` when there is none."""
        value = self._raw.get(key)
        if isinstance(value, dict) and PIECES in value:
            pieces = (self._raw[f"{key}#{value['slot']}.{n}"] for n in range(value[PIECES]))
            return json.loads("".join(pieces))
        return default if value is None else value

    def names(self, prefix: str) -> list[str]:
        """Keys that begin with ``prefix`` and have a value, without their prefix, in the order they were written."""
        keys = (key for key, value in self._raw.items() if value is not None and "#" not in key)
        return [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]

    def set(self, key: str, value: Any) -> None:
        """Writes the value unless it is there already; None deletes it."""
        assert "#" not in key
        text = canonical_json(value)
        if canonical_json(self.get(key)) == text:
            return
        if len(text) <= LIMIT and fits(value):
            self._write(key, value)
            return
        held = self._raw.get(key)
        slot = 1 - held["slot"] if isinstance(held, dict) and PIECES in held else 0
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        for n, piece in enumerate(pieces):
            self._write(f"{key}#{slot}.{n}", piece)
        self._write(key, {PIECES: len(pieces), "slot": slot})

    def _write(self, key: str, value: Any) -> None:
        writable(self._storage).set_study_user_attr(self._study_id, key, value)
        self._raw[key] = value
