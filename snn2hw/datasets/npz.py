"""Arrays of the user's own, in an npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snn2hw.datasets.checks import LARGEST_ARRAY, checked
from snn2hw.datasets.dataset import Dataset, Ints, Request
from snn2hw.errors import InputError

NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
HOW_TO_SAVE = "Use numpy.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)."


def load_npz(request: Request) -> Dataset:
    """Load ``x_train``, ``y_train``, ``x_test`` and ``y_test`` of a file."""
    arrays = read_arrays(Path(request.argument).expanduser(), NPZ_KEYS, HOW_TO_SAVE)
    x_train, y_train, x_test, y_test = (arrays[k] for k in NPZ_KEYS)
    return checked(f"npz:{request.argument}", x_train, y_train, x_test, y_test)


def read_arrays(path: Path, keys: Sequence[str], hint: str = "") -> dict[str, Ints]:
    """Read arrays of an npz file, never a pickle, and none that unpacks to too much.

    Args:
        path: the file.
        keys: names of the arrays.
        hint: how to make the file, if some are not there.

    Raises:
        InputError: it is missing, not an npz file of plain arrays, or lacks some of them.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.infolist()}
        missing = [k for k in keys if k not in sizes]
        if missing:
            raise InputError(
                f"{path} lacks {', '.join(missing)}; it has {', '.join(sizes) or 'none'}.", hint
            )
        if max(sizes.values()) > LARGEST_ARRAY:
            raise InputError(
                f"{path} unpacks to an array of {max(sizes.values())} bytes: too much."
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {k: np.asarray(arrays[k]) for k in keys}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as plain NumPy arrays: {error}.") from None
