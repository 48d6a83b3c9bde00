"""Images in files, whoever made them: what they claim is checked before they are decoded."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snn2hw.datasets.dataset import Ints
from snn2hw.datasets.search import missing_package
from snn2hw.errors import InputError
from snn2hw.files import reading

if TYPE_CHECKING:
    from PIL.Image import Image

# By suffix, the decoders that may run: Pillow has others, some of which start programs.
FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP", ".gif": "GIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".pgm": "PPM", ".ppm": "PPM",
}  # fmt: skip
PLAIN = (b"P1", b"P2", b"P3")  # whose decoder takes seconds for a MB of comments
MOST_PIXELS = 1 << 26
MOST_BYTES = 8 * MOST_PIXELS  # of a file: twice what four channels take without compression


def need_pillow(what: str) -> None:
    """Refuse to go on without the package that decodes images."""
    if find_spec("PIL") is None:
        raise missing_package("pillow", what)


def pixels(path: Path, mode: str, size: tuple[int, int] | None = None) -> Ints:
    """Read an image as ``uint8 [H, W, channels]``.

    Args:
        path: the file.
        mode: Pillow's name of the channels, such as ``L`` or ``RGB``.
        size: columns and rows to stretch it to, with Pillow's bilinear filter; None to leave it.

    Raises:
        InputError: it is none that can be read whole, and without loss.
    """
    need_pillow(f"Reading {path}")
    from PIL.Image import Resampling

    with opened(path) as image:
        read = image.convert(mode)
        if size is not None and read.size != size:
            read = read.resize(size, Resampling.BILINEAR)
        return np.asarray(read).reshape(*read.size[::-1], -1)


@contextmanager
def opened(path: Path) -> Generator[Image, None, None]:
    """Give an image whose size and kind are checked, and of which no pixel is decoded yet.

    Raises:
        InputError: it is none that can be read without loss, now or in the block.
    """
    need_pillow(f"Reading {path}")
    from PIL import Image, UnidentifiedImageError

    formats = sorted(set(FORMATS.values()))
    with reading(path, "an image", "Save it again, or remove it."), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images and odd tags: they are judged here
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} takes {size} bytes; an image may take {MOST_BYTES}.")
        content = path.read_bytes()
        if content[:2] in PLAIN:
            raise InputError(
                f"{path} holds its pixels as text (P1, P2 or P3), which is not read.",
                "Save it as PNG.",
            )
        # From memory: Pillow asks a file for as many bytes as a damaged header says.
        try:
            image = Image.open(io.BytesIO(content), formats=formats)
        except UnidentifiedImageError:
            raise InputError(
                f"{path} is none of the images that are read: {', '.join(formats)}.",
                "Save it again, or remove it.",
            ) from None
        with image:
            problem = _problem(image)
            if problem:
                raise InputError(f"{path} {problem}.", "Convert or remove it.")
            yield image


def _problem(image: Image) -> str:
    if not 0 < math.prod(image.size) <= MOST_PIXELS:
        return f"has {image.size[0]} x {image.size[1]} pixels, not 1 to 2^26"
    if image.mode.startswith(("I", "F")):
        return f"holds more than 8 bits a pixel (Pillow's mode {image.mode})"
    # A camera's second picture (MPO) is a preview of the first.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        return "holds several pictures"
    return ""
