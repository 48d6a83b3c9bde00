"""Zip archives of plain arrays (npz); declared sizes are checked before anything is read."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError
from snn2hw.files import first_line

# Of all that a zip archive of weights unpacks to.
LARGEST_ARCHIVE = 8 << 30


def check_zip(path: Path, largest: int = LARGEST_ARCHIVE) -> None:
    """Refuse a zip archive that unpacks to too much.

    Raises:
        InputError: it does, or it is no zip archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(i.file_size for i in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}.") from None
    if size > largest:
        raise InputError(f"{path} unpacks to {size} bytes, which is too much.")


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read plain arrays, after checking what they declare against what is there.

    Raises:
        InputError: it is no npz file, holds objects, or declares absurd sizes.
    """
    check_zip(path)
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    _check_npy(member, info)
        with np.load(path, allow_pickle=False) as arrays:
            return {k: np.asarray(arrays[k]) for k in arrays.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read as plain NumPy arrays: {first_line(error)}."
        ) from None


def _check_npy(member: IO[bytes], info: zipfile.ZipInfo) -> None:
    """Compare a header with the bytes that follow: NumPy allocates what the header says."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    declared = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or declared > info.file_size:
        what = "objects" if dtype.hasobject else f"{declared} bytes, more than there are"
        raise ValueError(f"{info.filename} declares {what}")
