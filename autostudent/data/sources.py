"""Where pictures come from: scikit-learn's digits, npz arrays, torchvision data sets, folders of image files.

Each source reads its options and returns `Raw`; a new one is a function here and a line in `SOURCES`.
"""

from __future__ import annotations

import inspect
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autostudent.data import folders
from autostudent.data.vision_import import vision
from autostudent.errors import AutostudentError, ConfigError, DataError, first_line, unknown_name

Arrays = tuple[np.ndarray, np.ndarray]
NEVER_MIRRORED = ("SVHN", "GTSRB", "MNIST", "EMNIST", "KMNIST", "QMNIST", "USPS", "Omniglot", "RenderedSST2")


@dataclass(frozen=True)
class Raw:
    """Pictures uint8 ``(n, H, W)`` or ``(n, H, W, C)`` with labels ``(n,)``. ``test`` is read only when called; it is
    None when the source has no test split. ``mirrored``: a mirror image keeps its label. ``outline``: where it is
    known, what may be looked at of the test split before: zeros in shape and type of its pictures, and its labels."""

    name: str
    train: Arrays
    classes: tuple[str, ...] | None = None
    test: Callable[[], Arrays] | None = None
    validation: Arrays | None = None
    mirrored: bool = True
    outline: Arrays | None = None


def named(spec: Mapping[str, Any]) -> Raw:
    """``{name: digits}``: the 1,797 real 8x8 digits that scikit-learn ships."""
    if spec["name"] != "digits":
        raise ConfigError("data.name", spec["name"], "'digits' (other data: npz, images or torchvision)")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # scikit-learn counts from 0 to 16
    return Raw("digits", (pixels, bunch.target), tuple(str(n) for n in bunch.target_names), mirrored=False)


def arrays(spec: Mapping[str, Any]) -> Raw:
    """``{npz: FILE}``: arrays ``x_train``, ``y_train``, optionally the same for ``validation`` and ``test``, and
    ``class_names``."""
    path = Path(str(spec["npz"])).expanduser()
    with opened(path) as file:
        for key in ("x_train", "y_train"):
            if key not in file:
                raise DataError(f"data.npz: {path} has no array {key!r}; it holds {', '.join(file.files)}")
        train = file["x_train"], file["y_train"]
        classes = class_names(file["class_names"], path) if "class_names" in file else None
        held = [split for split in ("validation", "test") if both(file, split, path)]
        validation = (file["x_validation"], file["y_validation"]) if "validation" in held else None
        outline = (blank(file, "x_test"), file["y_test"]) if "test" in held else None

    def test() -> Arrays:
        with opened(path) as file:
            return file["x_test"], file["y_test"]

    return Raw(path.stem, train, classes, test if "test" in held else None, validation, outline=outline)


def both(file: Any, split: str, path: Path) -> bool:
    """Whether an open .npz file has pictures and labels of a split. Raises `DataError` for one without the other."""
    wanted = (f"x_{split}", f"y_{split}")
    given = [key for key in wanted if key in file]
    if len(given) == 1:
        raise DataError(f"data.npz: {path} has {given[0]} alone; expected {' and '.join(wanted)}, or neither")
    return bool(given)


TORN = (EOFError, OSError, LookupError, ValueError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What numpy and zipfile raise for files that are damaged or none of theirs."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open .npz file. Raises `DataError` for what is none, and for what cannot be read of it."""
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise DataError(f"data.npz: {path} is not a readable npz file; expected one that numpy.savez wrote")
        with np.load(path, allow_pickle=False) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"data.npz: there is no file {path}") from None
    except TORN as error:
        why = "it holds Python objects" if "allow_pickle" in str(error) else first_line(error)
        raise DataError(f"data.npz: {path} is not a readable npz file ({why})") from None


def blank(file: Any, key: str) -> np.ndarray:
    """Zeros in shape and type of an array of an open .npz file, of which the header alone is read."""
    form = np.lib.format
    name = f"{key}.npy"
    with file.zip.open(name if name in file.zip.namelist() else key) as stream:
        header = form.read_array_header_1_0 if form.read_magic(stream) == (1, 0) else form.read_array_header_2_0
        shape, _, kind = header(stream)
    return np.broadcast_to(np.zeros((), kind), shape)


def class_names(names: np.ndarray, path: Path) -> tuple[str, ...]:
    """One name a class. Raises `DataError` for another shape, or a name that is there twice."""
    if names.ndim != 1:
        raise DataError(f"data.npz: class_names of {path} has shape {names.shape}; expected one name a class")
    classes = tuple(str(name) for name in names)
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise DataError(
            f"data.npz: class_names of {path} holds {twice[0]!r} twice; expected another name for each class"
        )
    return classes


def pictures(spec: Mapping[str, Any]) -> Raw:
    """``{images: FOLDER}``: one sub-folder a class; or ``train`` (``validation``) and ``test`` folders of such.

    Where all pictures to train on are grey, so are the others.
    """
    root = Path(str(spec["images"])).expanduser()
    parts = folders.parts(root)
    how = folders.outline(parts["train"], spec.get("size"))
    classes = parts["train"].classes
    for part in parts.values():
        if part.classes != classes:
            raise DataError(f"data.images: {part.root} has classes {part.classes}, but {parts['train'].root} {classes}")
    validation = folders.read(parts["validation"], *how) if "validation" in parts else None
    test = (lambda: folders.read(parts["test"], *how)) if "test" in parts else None
    return Raw(root.name, folders.read(parts["train"], *how), classes, test, validation)


WAYS: dict[str, tuple[Any, ...]] = {"train": (True, False), "split": ("train", "test", "val")}
"""By what name torchvision data sets take a split, and its values: to train on, to test on, or else to test on."""


@dataclass(frozen=True)
class NamedSet:
    """A torchvision data set: its class, and the options that all splits of it are opened with."""

    name: str
    maker: type
    options: Mapping[str, Any]

    def part(self, **chosen: Any) -> Any:
        """One split, opened."""
        try:
            return self.maker(**self.options, **chosen)
        except Exception as error:  # data set constructors raise whatever they like
            raise DataError(f"data.torchvision: {self.name} cannot be opened: {first_line(error)}") from None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turns what a torn picture raises, or a class that holds none, into a `DataError`."""
        try:
            yield
        except AutostudentError:
            raise
        except Exception as error:
            raise DataError(f"data.torchvision: {self.name} cannot be read: {first_line(error)}") from None

    def test_split(self, way: str) -> dict[str, Any]:
        """What opens the test split. It is looked into now: a search should not end before it is found unfit."""
        refused = None
        for value in WAYS[way][1:]:
            try:
                found = self.part(**{way: value})
            except DataError as error:
                if "unknown value" not in str(error).lower():  # it has the split, but not here
                    raise
                refused = refused or error
                continue
            with self.reading():
                label = next(iter(found), (None, 0))[1]
            if label is None:
                allowed = f"data.options: {{{way}: {str(WAYS[way][0]).lower()}}} holds out pictures to train on instead"
                raise DataError(f"data.torchvision: the test split of {self.name} has no labels; {allowed}")
            return {way: value}
        assert refused is not None
        raise refused


def torchvision_set(spec: Mapping[str, Any]) -> Raw:
    """``{torchvision: NAME, root: FOLDER}``: any torchvision data set whose labels are class numbers.

    ``download: true`` lets torchvision fetch it; ``options`` go to its constructor (EMNIST: ``{split: letters}``).
    Where there is no split "test", "val" is it.
    """
    datasets, name = vision("datasets"), str(spec["torchvision"])
    known = [n for n in datasets.__all__ if isinstance(getattr(datasets, n), type)]
    if name not in known:
        raise unknown_name("data.torchvision", name, known)
    maker, options = getattr(datasets, name), dict(spec.get("options", {}))
    accepted = parameters(maker)
    if "root" in accepted:
        if "root" not in spec:
            raise ConfigError("data.root", None, f"the folder that holds (or is to hold) {name}")
        options["root"] = str(Path(str(spec["root"])).expanduser())
    if "download" in accepted:
        options["download"] = bool(spec.get("download", False))
    way = next((way for way in WAYS if way in accepted and way not in options), None)
    source = NamedSet(name, maker, options)
    opened = source.part(**({way: WAYS[way][0]} if way else {}))
    given = getattr(opened, "classes", None) or ()
    classes = tuple(", ".join(c) if isinstance(c, tuple) else str(c) for c in given)  # ImageNet's have several names
    first = 1 if classes[:1] == ("N/A",) else 0  # EMNIST's letters count from one
    held_out = source.test_split(way) if way else None

    def collected(chosen: Any, size: object) -> Arrays:
        with source.reading():
            x, y = folders.collect(chosen, name, size)
        return x, y - first

    train = collected(opened, spec.get("size"))
    size = train[0].shape[1:3]  # not the pictures themselves: what reads the test split lives as long as the data
    return Raw(
        name,
        train,
        classes[first:] or None,
        (lambda: collected(source.part(**held_out), size)) if held_out else None,
        mirrored=name not in NEVER_MIRRORED,
    )


def parameters(maker: type) -> set[str]:
    """Names of what a class's constructor takes, those that it hands to its parents' as ``**kwargs`` included."""
    names: set[str] = set()
    for cls in maker.__mro__:
        if "__init__" in vars(cls):
            own = inspect.signature(vars(cls)["__init__"]).parameters.values()
            names |= {parameter.name for parameter in own}
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in own):
                break
    return names


SOURCES: dict[str, tuple[Callable[[Mapping[str, Any]], Raw], tuple[str, ...]]] = {
    "name": (named, ()),
    "npz": (arrays, ()),
    "images": (pictures, ("size",)),
    "torchvision": (torchvision_set, ("root", "size", "download", "options")),
}
"""The entry that names a source, its reader, and the options that it takes beside the common ones."""
