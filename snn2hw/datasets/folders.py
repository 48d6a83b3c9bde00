"""Images of the user's own, in a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snn2hw.datasets.checks import checked
from snn2hw.datasets.dataset import Dataset, Ints, Request
from snn2hw.datasets.search import missing_package
from snn2hw.errors import InputError

IMAGE_SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".webp",
    ".gif",
    ".tif",
    ".tiff",
    ".pgm",
    ".ppm",
}


def load_image_folder(request: Request) -> Dataset:
    """Load ``DIR/train/<class>/`` and ``DIR/test/<class>/``; classes in order of their names."""
    root = Path(request.argument).expanduser()
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
    x_train, x_test = _read_images(files["train"], files["test"])
    y_train, y_test = (np.array([y for _, y in files[p]]) for p in ("train", "test"))
    name = f"image-folder:{request.argument}"
    return checked(name, x_train, y_train, x_test, y_test, len(names), max_value=255)


def _image_files(folder: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    return [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]


def _read_images(*parts: list[tuple[Path, int]]) -> list[Ints]:
    """Read every file as RGB, or as grey if all of them are grey; one size is demanded."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise missing_package("pillow", "An image folder") from None
    sizes: dict[tuple[int, int], Path] = {}
    modes: set[str] = set()
    for path, _ in (f for part in parts for f in part):
        try:
            with Image.open(path) as image:
                sizes.setdefault(image.size, path)
                modes.add(image.mode)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not an image that can be read: {error}.") from None
    if len(sizes) > 1:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise InputError(
            f"Images differ in size: {first} is {a[0]}x{a[1]}, {second} is {b[0]}x{b[1]}.",
            "Resize them all to one size first.",
        )
    mode = "L" if modes <= {"L", "1"} else "RGB"

    def pixels(path: Path) -> Ints:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode)).reshape(*image.size[::-1], -1)

    return [np.stack([pixels(p) for p, _ in part]).transpose(0, 3, 1, 2) for part in parts]
