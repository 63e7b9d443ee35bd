"""Pictures from files, one sub-folder a class, decoded and resized by torchvision and Pillow."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autostudent.data.vision_import import vision
from autostudent.errors import ConfigError, DataError, first_line

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""What a folder beside others holds, by its name in small letters."""

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values of pictures that are stored lying
LARGEST_DEFAULT = 64  # pixels of the longer side when the study names no size: a CPU can search at that


@dataclass(frozen=True)
class Folder:
    """A folder with one sub-folder a class; ``files`` are (path, class number)."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, int], ...]


def parts(root: Path) -> dict[str, Folder]:
    """The folder itself as "train", or its sub-folders of `SPLITS` where there is one for training among them.

    A sub-folder "train" that holds pictures, and no other split beside it, is a class.
    """
    if not root.is_dir():
        raise DataError(f"data.images: there is no folder {root}")
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    kinds = [SPLITS.get(name.lower(), "") for name in names]
    train = next((root / name for name, kind in zip(names, kinds, strict=True) if kind == "train"), None)
    if train is None or not ({"validation", "test"} & {*kinds} or any(path.is_dir() for path in train.iterdir())):
        return {"train": listed(root)}
    twice = [name for name, kind in zip(names, kinds, strict=True) if kinds.count(kind) > 1]
    if "" in kinds:
        allowed = f"{', '.join(SPLITS)} and nothing else, or one folder a class"
        raise DataError(f"data.images: {root} has the folders {', '.join(names)}; expected {allowed}")
    if twice:
        raise DataError(f"data.images: {root} has both {' and '.join(twice)}; one of them is expected")
    return {kind: listed(root / name) for name, kind in zip(names, kinds, strict=True)}


def listed(root: Path) -> Folder:
    """Classes and files of one folder. Raises `DataError` for no class, or a class without a picture."""
    extensions = vision("datasets.folder").IMG_EXTENSIONS
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"data.images: {root} has {len(classes)} class sub-folders; at least 2 are needed")
    for name in classes:
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            raise DataError(f"data.images: the class folder {name!r} in {root} has a name that is not UTF-8")
    files: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        found = sorted(path for path in files_below(root / name) if is_picture(path, extensions))
        if not found:
            kinds = " ".join(extensions)
            raise DataError(f"data.images: the class folder {root / name} holds no picture ({kinds})")
        files += [(path, label) for path in found]
    return Folder(root, tuple(classes), tuple(files))


def files_below(root: Path) -> Iterator[str]:
    """Every file in a folder and its sub-folders, those behind links too.

    Not in hidden folders, where copies lie; nor behind links to what is read anyway: other classes, or a folder around.
    """
    own, whole = os.path.realpath(root), os.path.realpath(root.parent)
    seen: set[str] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        elsewhere = within(real, whole) and not within(real, own)
        if real in seen or elsewhere or (within(own, real) and real != own):
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        below.sort(key=lambda name: os.path.islink(os.path.join(folder, name)))
        yield from (os.path.join(folder, name) for name in names)


def within(path: str, folder: str) -> bool:
    """Whether a real path is a folder, or lies in it."""
    return f"{path}/".startswith(f"{folder}/")


def is_picture(path: str, extensions: Sequence[str]) -> bool:
    """Whether a file is meant to be a picture: systems leave hidden files of the same name beside one."""
    name = os.path.basename(path)
    return name.lower().endswith(tuple(extensions)) and not name.startswith(".") and os.path.isfile(path)


def outline(folder: Folder, asked: object) -> tuple[tuple[int, int], bool]:
    """(height, width) to which every picture is brought, and whether all of them are grey.

    The size is ``asked``, or the most common one within `LARGEST_DEFAULT`.
    """
    size = None if asked is None else given_size(asked)
    seen: Counter[tuple[int, int]] = Counter()
    grey = True
    for path, _ in folder.files:
        with opened(path) as image:
            try:
                seen[size_of(image)] += 1
            except Exception as error:  # Pillow's plug-ins raise whatever they like for torn headers
                raise DataError(f"data.images: {path} is not a readable picture ({first_line(error)})") from None
            grey = grey and is_grey(image)
    return size or fitting(min(seen, key=lambda one: (-seen[one], one))), grey


def size_of(image: Any) -> tuple[int, int]:
    """Pillow's (width, height) of an image as it is to be seen; of a PNG as it is stored, to read no more than that."""
    lying = image.format != "PNG" and image.getexif().get(ORIENTATION) in SIDEWAYS
    return image.size[::-1] if lying else image.size


def is_grey(image: Any) -> bool:
    """Whether a Pillow image has no colours."""
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16")


def given_size(asked: object) -> tuple[int, int]:
    """(height, width) from ``size: 32`` or ``size: [32, 48]``. Raises `ConfigError`."""
    pair = asked if isinstance(asked, list | tuple) else (asked, asked)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or not 4 <= n <= 1024 for n in pair):
        raise ConfigError("data.size", asked, "pixels from 4 to 1024, or [height, width]")
    return int(pair[0]), int(pair[1])


def opened(path: str) -> Any:
    """A Pillow image whose header is read. Raises `DataError` naming the file."""
    from PIL import Image

    try:
        return Image.open(path)
    except Exception:
        raise DataError(f"data.images: {path} is not a readable picture") from None


def read(folder: Folder, size: tuple[int, int], grey: bool) -> tuple[np.ndarray, np.ndarray]:
    """Every picture in ``size``, uint8 ``(n, H, W)`` if they are to be ``grey``, else ``(n, H, W, 3)``; its labels."""
    out = np.empty((len(folder.files), *size, *(() if grey else (3,))), np.uint8)
    for number, (path, _) in enumerate(folder.files):
        with opened(path) as image:
            try:
                out[number] = np.asarray(resized(plain(image, grey), size))
            except Exception as error:
                raise DataError(f"data.images: {path} is not a readable picture ({error})") from None
    return out, np.array([label for _, label in folder.files], np.int64)


def plain(image: Any, grey: bool) -> Any:
    """A Pillow image upright, opaque and grey or RGB. What is transparent shows white, as on a page.

    Raises:
        ValueError: as `eight_bit`.
    """
    from PIL import Image, ImageOps

    image = eight_bit(image)
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")


def eight_bit(image: Any) -> Any:
    """A Pillow image with at most 8 bits a channel: 16-bit grey is scaled, where Pillow's `convert` would clip it.

    Raises:
        ValueError: for 32-bit pixels, whose range nobody knows.
    """
    if image.mode.startswith("I;16"):
        from PIL import Image

        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel; expected 8 or 16")
    return image


def resized(image: Any, size: tuple[int, int]) -> Any:
    """A Pillow image brought to (height, width), bilinear with antialiasing; its aspect is not kept."""
    if image.size == (size[1], size[0]):
        return image
    return vision("transforms.functional").resize(image, list(size), antialias=True)


def collect(dataset: Iterable[Any], name: str, asked: object) -> tuple[np.ndarray, np.ndarray]:
    """A torchvision data set as arrays: grey where all of it is grey, else RGB; labels must be class numbers."""
    pictures, labels = [], []
    size = None if asked is None else given_size(asked)
    for item in dataset:
        image, label = item[0], item[1]
        if not hasattr(image, "convert") or isinstance(label, bool) or not isinstance(label, int | np.integer):
            kinds = f"{type(image).__name__}, {type(label).__name__}"
            raise DataError(f"data.torchvision: {name} gives ({kinds}); expected pictures with class numbers")
        image = plain(image, is_grey(image))
        size = size or fitting(image.size)
        pictures.append(np.asarray(resized(image, size)))
        labels.append(int(label))
    if not pictures:
        raise DataError(f"data.torchvision: {name} is empty")
    if len({picture.ndim for picture in pictures}) > 1:
        pictures = [p if p.ndim == 3 else np.repeat(p[:, :, None], 3, axis=2) for p in pictures]
    return np.stack(pictures), np.array(labels, np.int64)


def fitting(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a Pillow ``size`` (width, height), shrunk to `LARGEST_DEFAULT` at the longer side."""
    scale = min(1.0, LARGEST_DEFAULT / max(size))
    return max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
