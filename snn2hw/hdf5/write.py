"""Writing HDF5: the same content gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snn2hw.files import new_file

# A file, group or dataset. h5py types every item as a union that no reader can use.
Hdf5 = Any


@contextmanager
def new_hdf5(path: Path) -> Generator[Hdf5, None, None]:
    """Give an HDF5 file to fill; the same content gives the same bytes.

    It is made in memory and then written: HDF5 does not survive a disk that fills up under it.
    Create every group by itself, as groups made on the way carry the time of day.
    """
    import h5py  # here, as most commands write none

    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("v108", "v108")) as file:
        yield file
    with new_file(path) as temporary:
        temporary.write_bytes(memory.getvalue())
