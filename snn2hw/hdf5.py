"""HDF5 files: written the same for the same content, and not trusted when read."""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from snn2hw.errors import InputError, Snn2hwError
from snn2hw.files import first_line, new_file

# A file, group or dataset. h5py types every item as a union that no reader can use.
Hdf5 = Any

# No dataset of ours comes near this; a file that declares more is broken or hostile.
LARGEST_DATASET = 1 << 30
MOST_VALUES = 1 << 28  # of all data sets of an HDF5 file together: 2 GiB as 64-bit numbers


@contextmanager
def new_hdf5(path: Path) -> Generator[Hdf5, None, None]:
    """Give an HDF5 file to fill; the same content gives the same bytes.

    It is made in memory and then written: HDF5 does not survive a disk that fills up under it.
    Create every group by itself, as groups made on the way carry the time of day.
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("v108", "v108")) as file:
        yield file
    with new_file(path) as temporary:
        temporary.write_bytes(memory.getvalue())


@contextmanager
def open_hdf5(path: Path, what: str) -> Generator[Hdf5, None, None]:
    """Open an HDF5 file for reading after checking every object in it.

    Raises:
        InputError: if it is missing, not HDF5, links outside itself, or declares absurd sizes.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, not {what}.")
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise InputError(
            f"{path} is not {what}: {first_line(error)}.", "Is it complete, and the right file?"
        ) from None
    with file:
        try:
            values = _check(file, path)
            if values > MOST_VALUES:
                raise InputError(f"{path} declares {values} values; more than 2^28 are refused.")
            yield file
        except Snn2hwError:
            raise
        except Exception as error:  # h5py raises whatever the damage makes it stumble over
            raise InputError(
                f"{path} is not {what} that snn2hw can read: {first_line(error)}.",
                "Is it complete, and the right file?",
            ) from error


def _check(group: Hdf5, path: Path, depth: int = 0) -> int:
    """Refuse links, outside data and absurd sizes; return how many values there are."""
    if depth > 32:
        raise InputError(f"{path} nests groups more than 32 deep.")
    values = 0
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path}: {name} is a link out of its place, which is refused.")
        item = group[name]
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise InputError(f"{path}: {name} keeps its data in another file; refused.")
            if item.nbytes > LARGEST_DATASET:
                raise InputError(f"{path}: {name} declares {item.nbytes} bytes; refused.")
            values += int(item.size or 0)
        elif isinstance(item, h5py.Group):
            values += _check(item, path, depth + 1)
    return values
