"""A data set as a study sees it: fixed train, meta, validation and test splits, in memory as uint8.

Methods train on ``train`` (those that need held-out loss set its ``meta`` positions aside), the search ranks on
``validation``, and ``test`` is read by verification alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from autostudent.data.sources import SOURCES, Arrays
from autostudent.data.splits import share_of, stratified
from autostudent.data.views import Augment
from autostudent.errors import ConfigError, DataError, unknown_name

if TYPE_CHECKING:
    from autostudent.space.architecture import InputShape

COMMON = ("validation", "test", "meta", "limit", "seed", "augment")
SHOWN = 10  # labels that an error lists
SMALL = 5000  # below this many training pictures a fifth of them validates, above it a tenth


@dataclass(frozen=True)
class Part:
    """One split. ``x``: ``(n, C, H, W)`` uint8. ``y``: ``(n,)`` int64. ``index``: ``(n,)`` positions in the source."""

    x: Tensor
    y: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def at(self, places: Tensor) -> Part:
        """The samples at ``places`` ``(k,)``."""
        return Part(self.x[places], self.y[places], self.index[places])


@dataclass(frozen=True)
class Dataset:
    """Pictures with labels in fixed splits; see the module. ``meta``: positions within ``train``. ``augment``: what a
    view changes. ``spec``: the mapping from which `load` makes the same again, in another process too."""

    name: str
    classes: tuple[str, ...]
    train: Part
    validation: Part
    meta: Tensor
    augment: Augment
    spec: Mapping[str, Any]
    read_test: Callable[[], Part] = field(repr=False)

    @cached_property
    def test(self) -> Part:
        """The held-out split, read when first asked for. The search must not look at it."""
        return self.read_test()

    @cached_property
    def without_meta(self) -> Part:
        """What is left of ``train`` for those whom the meta split is to judge."""
        keep = torch.ones(len(self.train), dtype=torch.bool)
        keep[self.meta] = False
        return self.train.at(keep.nonzero().flatten())

    @cached_property
    def held_out(self) -> Part:
        """The pictures of the meta split."""
        return self.train.at(self.meta)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width

    @property
    def input(self) -> InputShape:
        """What an architecture must fit."""
        from autostudent.space.architecture import InputShape

        return InputShape(*self.shape, len(self.classes))

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the pictures, labels and splits that the search uses (the test split is not read for it)."""
        running = hashlib.sha256(repr((self.classes, self.shape)).encode())
        for part in (self.train, self.validation):
            for tensor in (part.x, part.y):
                running.update(np.ascontiguousarray(tensor.numpy()).data)
        running.update(self.meta.numpy().data)
        return running.hexdigest()[:32]

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        counts = np.stack([np.bincount(c.ravel(), minlength=256) for c in self.train.x.numpy().swapaxes(0, 1)])
        levels = np.arange(256) / 255
        mean = counts @ levels / counts.sum(1)
        std = np.sqrt(np.maximum(counts @ levels**2 / counts.sum(1) - mean**2, 1e-6))
        return tuple(round(float(v), 6) for v in mean), tuple(round(float(v), 6) for v in std)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training pixels in [0, 1], one a channel."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training pixels in [0, 1], one a channel."""
        return self._moments[1]


def load(spec: Mapping[str, Any], seed: int = 0) -> Dataset:
    """Reads a data set and cuts its splits; the same spec, files and seed give the same splits.

    Args:
        spec: one source (``name``, ``npz``, ``images`` or ``torchvision``) and options: ``validation`` and ``test``
            (share or count; ``test`` only where the source has none), ``meta`` (share of train, 0.1, or 0), ``limit``
            (pictures kept for train and validation together), ``seed``, ``augment`` ({crop_pad, flip, mixup}), and
            those of the source (``size``, ``root``, ``download``, ``options``).
        seed: decides the cuts when the spec has no ``seed``.

    Raises:
        ConfigError: for an entry that is unknown or has the wrong type.
        DataError: for data that cannot be read or is unfit.
    """
    raw = SOURCES[check_spec(spec)][0](spec)
    x, y, classes = checked(raw.name, raw.train, raw.classes)
    seed = int(spec.get("seed", seed))
    if raw.test is not None and "test" in spec:
        raise ConfigError("data.test", spec["test"], "no entry: this source has its own test split")
    places, test = np.arange(len(y)), np.arange(0)
    if raw.test is None:
        test, places = cut("test", spec.get("test", 0.2), y, places, seed)
    if "limit" in spec and spec["limit"] != len(places):
        places, _ = cut("limit", spec["limit"], y, places, seed)
    if raw.validation is not None and "validation" in spec:
        raise ConfigError("data.validation", spec["validation"], "no entry: this source has its own validation split")
    if raw.validation is None:
        share = spec.get("validation", 0.2 if len(places) < SMALL else 0.1)
        held, places = cut("validation", share, y, places, seed)
        validation = part(x, y, held)
    else:
        require_alike(f"{raw.name}, validation split", raw.validation, x.shape[1:], classes)
        validation = whole(checked(raw.name, raw.validation, classes))
    if raw.outline is not None:
        require_alike(f"{raw.name}, test split", raw.outline, x.shape[1:], classes)
    train = part(x, y, places)
    require_all_classes(raw.name, train.y, classes)
    held = spec.get("meta", 0.1)
    meta = cut("meta", held, y[places], np.arange(len(places)), seed)[0] if held != 0 else np.arange(0)
    read = raw.test
    shape = (x.shape[1], x.shape[2], x.shape[3])
    augment = Augment.default(shape, raw.mirrored).with_options(spec.get("augment", {}))
    if augment.crop_pad >= min(shape[1:]):  # a crop could hold nothing of its picture
        allowed = f"less than the pictures' shorter side, {min(shape[1:])} pixels"
        raise ConfigError("data.augment.crop_pad", augment.crop_pad, allowed)
    return Dataset(
        name=raw.name,
        classes=classes,
        train=train,
        validation=validation,
        meta=torch.from_numpy(meta),
        augment=augment,
        spec={**spec, "seed": seed},
        read_test=lambda: part(x, y, test) if read is None else whole(checked(raw.name, read(), classes)),
    )


CUTS = ("test", "limit", "validation", "meta")  # each cut has its own random numbers


def cut(key: str, size: object, y: np.ndarray, places: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(places cut off, places that stay), stratified; ``size`` is a share or a count. Raises `ConfigError`."""
    count = share_of(f"data.{key}", size, len(places))
    off, stay = stratified(y[places], count, np.random.default_rng((seed, CUTS.index(key))))
    return places[off], places[stay]


def check_spec(spec: Mapping[str, Any]) -> str:
    """The one source that ``spec`` names. Raises `ConfigError` for none, several, or an option that it has not."""
    given = [name for name in SOURCES if name in spec]
    if len(given) != 1:
        raise ConfigError("data", dict(spec), f"exactly one of: {', '.join(SOURCES)}")
    allowed = (given[0], *SOURCES[given[0]][1], *COMMON)
    for name in spec:
        if name not in allowed:
            raise unknown_name("data", str(name), allowed)
    return given[0]


def checked(
    name: str, arrays: Arrays, classes: tuple[str, ...] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pictures ``(n, C, H, W)`` uint8, labels ``(n,)`` int64 and class names, or a `DataError`."""
    x, y = arrays
    classes = fit(name, x, y, classes)
    return np.ascontiguousarray(channels_first(x)), y.astype(np.int64), classes


def fit(name: str, x: np.ndarray, y: np.ndarray, classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """The class names of pictures and labels as a source has them. Raises `DataError` for what cannot be used."""
    if x.dtype != np.uint8:
        raise DataError(f"{name}: pictures are {x.dtype}; expected uint8 from 0 to 255")
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)):
        raise DataError(
            f"{name}: pictures have shape {x.shape}; expected (n, height, width) or (n, height, width, 1 or 3)"
        )
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise DataError(f"{name}: labels are {y.dtype} of shape {y.shape}; expected {len(x)} whole numbers")
    if len(x) == 0:
        raise DataError(f"{name}: there are no pictures")
    if classes is None:
        classes = counted(name, y)
    if len(classes) < 2:
        raise DataError(f"{name}: there is one class only; at least 2 are needed")
    if y.min() < 0 or y.max() >= len(classes):
        raise DataError(f"{name}: labels run from {y.min()} to {y.max()}; expected 0 to {len(classes) - 1}")
    return classes


def counted(name: str, y: np.ndarray) -> tuple[str, ...]:
    """Class names where there are only numbers. Raises `DataError` when these do not count from 0."""
    found = [str(label) for label in np.unique(y)]
    if len(found) > 1 and found != [str(label) for label in range(len(found))]:
        shown = ", ".join(found if len(found) <= SHOWN else [*found[:SHOWN], "…", found[-1]])
        raise DataError(f"{name}: labels are {shown}; expected every number from 0 to {len(found) - 1}")
    return tuple(found)


def channels_first(x: np.ndarray) -> np.ndarray:
    """A view of pictures ``(n, H, W)`` or ``(n, H, W, C)`` as ``(n, C, H, W)``."""
    return x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)


def require_alike(name: str, arrays: Arrays, shape: tuple[int, ...], classes: tuple[str, ...]) -> None:
    """Raises `DataError` for a split that does not go with training pictures of ``shape`` (channels, height, width)."""
    fit(name, *arrays, classes)
    given = channels_first(arrays[0]).shape[1:]
    if given != shape:
        raise DataError(f"{name}: pictures are (channels, height, width) {given}; expected {shape}, as in training")


def part(x: np.ndarray, y: np.ndarray, places: np.ndarray) -> Part:
    """The samples at ``places``."""
    return Part(torch.from_numpy(x[places]), torch.from_numpy(y[places]), torch.from_numpy(places))


def whole(pictures: tuple[np.ndarray, np.ndarray, tuple[str, ...]]) -> Part:
    """All of a split that was checked."""
    x, y, _ = pictures
    return part(x, y, np.arange(len(y)))


def require_all_classes(name: str, y: Tensor, classes: tuple[str, ...]) -> None:
    """Raises `DataError` when the training split lacks a class."""
    counts = torch.bincount(y, minlength=len(classes))
    if int(counts.min()) == 0:
        empty = classes[int(counts.argmin())]
        raise DataError(f"{name}: no training picture of class {empty!r} is left; each class needs one after all cuts")
