"""Images of the user's own, in a folder for each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snn2hw.archives import check_size
from snn2hw.datasets.checks import checked
from snn2hw.datasets.dataset import Dataset, Ints, Request
from snn2hw.datasets.images import FORMATS, need_pillow, opened, pixels
from snn2hw.datasets.naming import split
from snn2hw.errors import InputError
from snn2hw.files import expanded


def load_image_folder(request: Request) -> Dataset:
    """Load ``DIR/train/<class>/`` and ``DIR/test/<class>/``; classes in order of their names.

    With the option ``resize`` (``naming.py``) images of any size become equally large.
    """
    name = f"image-folder:{request.argument}"
    _, path, options = split(name)
    root, size = expanded(path), _side(options.get("resize"))
    missing = [str(root / p) for p in ("train", "test") if not (root / p).is_dir()]
    if missing:
        raise InputError(
            f"There is no folder {' and no folder '.join(missing)}.",
            "Put images in DIR/train/<class>/ and DIR/test/<class>/.",
        )
    names = sorted(p.name for p in (root / "train").iterdir() if p.is_dir())
    others = {p.name for p in (root / "test").iterdir() if p.is_dir()} - set(names)
    if others:
        raise InputError(
            f"{root / 'test'} has classes that train lacks: {', '.join(sorted(others))}."
        )
    files = {part: _image_files(root / part, names) for part in ("train", "test")}
    for part, found in files.items():
        if not found:
            raise InputError(f"{root / part} holds no images in class folders.")
    empty = set(range(len(names))) - {label for _, label in files["train"]}
    if empty:
        raise InputError(
            f"{root / 'train'} holds no images of {', '.join(names[i] for i in sorted(empty))}.",
            "Put images there, or remove the folders.",
        )
    need_pillow("An image folder")
    mode = _common_mode(root, [path for part in files.values() for path, _ in part], size)
    x_train, x_test = (_stacked(files[p], mode, size) for p in ("train", "test"))
    y_train, y_test = (np.array([y for _, y in files[p]]) for p in ("train", "test"))
    return checked(name, x_train, y_train, x_test, y_test, len(names), max_value=255)


def _side(resize: str | None) -> tuple[int, int] | None:
    """Return the columns and rows that images are to have; None for what they have."""
    if resize is None:
        return None
    found = [
        int(v) if v.isascii() and v.isdecimal() and len(v) < 6 else 0 for v in resize.split(",")
    ]
    width, height = found * 2 if len(found) == 1 else (*found, 0, 0)[:2]
    if len(found) > 2 or width * height == 0:
        raise InputError(f"--resize is {resize!r}, not columns and rows.", "Write --resize 32,32.")
    return width, height


def _image_files(folder: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    return [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in FORMATS
    ]


def _common_mode(root: Path, paths: Sequence[Path], size: tuple[int, int] | None) -> str:
    """Return how all images are read: RGB, or grey if all of them are grey.

    Args:
        root: where they are.
        paths: their files.
        size: columns and rows that they are brought to; None if they must be alike.

    Raises:
        InputError: names every file that is no image, or two that differ in size.
    """
    sizes: dict[tuple[int, int], Path] = {}
    modes: set[str] = set()
    problems: list[InputError] = []
    for path in paths:
        try:
            with opened(path) as image:
                sizes.setdefault(image.size, path)
                modes.add(image.mode)
        except InputError as error:
            problems.append(error)
    if problems:
        more = f" So are {len(problems) - 5} more." if len(problems) > 5 else ""
        raise InputError(" ".join(p.message for p in problems[:5]) + more, problems[0].hint)
    if len(sizes) > 1 and size is None:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(
            f"Images differ in size: {first} is {a[0]}x{a[1]}, {second} is {b[0]}x{b[1]}.",
            f"Give --resize {a[0]},{a[1]} (columns, rows), which stretches all others to that.",
        )
    mode = "L" if modes <= {"L", "1"} else "RGB"
    each = len(mode) * math.prod(size or next(iter(sizes)))
    check_size(root, each * len(paths), sum(p.stat().st_size for p in paths))
    return mode


def _stacked(files: Sequence[tuple[Path, int]], mode: str, size: tuple[int, int] | None) -> Ints:
    """Read images into ``[N, C, H, W]``."""
    first = pixels(files[0][0], mode, size)
    stack = np.empty((len(files), *first.shape), np.uint8)
    for i, (path, _) in enumerate(files):
        stack[i] = pixels(path, mode, size)
    return stack.transpose(0, 3, 1, 2)
