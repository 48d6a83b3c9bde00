"""Files: written whole or not at all, and not trusted when read."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, Snn2hwError

# A file, group or dataset. h5py types every item as a union that no reader can use.
Hdf5 = Any

# No dataset of ours comes near this; a file that declares more is broken or hostile.
LARGEST_DATASET = 1 << 30
MOST_VALUES = 1 << 28  # of all data sets of an HDF5 file together: 2 GiB as 64-bit numbers
# Of all that a zip archive of weights unpacks to.
LARGEST_ARCHIVE = 8 << 30


def cache_folder() -> Path:
    """Return the user's cache folder for data sets and vendor simulators."""
    named = os.environ.get("SNN2HW_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "snn2hw"


@contextmanager
def new_file(path: Path) -> Generator[Path, None, None]:
    """Give a temporary path beside ``path`` and rename it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
def new_folder(path: Path) -> Generator[Path, None, None]:
    """Give a temporary folder beside ``path`` that replaces it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.replace(path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, keys in the order given."""
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: if the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing.", "The folder is incomplete: make it again."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}.", "Make it again.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}, not an object.", "Make it again.")
    return value


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_zip(path: Path, largest: int = LARGEST_ARCHIVE) -> None:
    """Refuse a zip archive that unpacks to too much.

    Raises:
        InputError: it does, or it is no zip archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(i.file_size for i in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read: {_short(error)}.") from None
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
        raise InputError(f"{path} cannot be read as plain NumPy arrays: {_short(error)}.") from None


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
            f"{path} is not {what}: {_short(error)}.", "Is it complete, and the right file?"
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
                f"{path} is not {what} that snn2hw can read: {_short(error)}.",
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


def _short(error: BaseException) -> str:
    text = str(error).strip("'\" ") or type(error).__name__
    return text.splitlines()[0].rstrip(".")
