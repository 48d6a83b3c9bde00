"""Packed files (npz, npy, gzip): what they declare is checked before it is unpacked."""

from __future__ import annotations

import io
import math
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError
from snn2hw.files import new_file, reading

# Sparse spikes shrink to a hundredth. A file may unpack to this many times its size and this much
# more, so that one of a few KB keeps nobody waiting; and none to more than the last.
RATIO, ALLOWANCE, LARGEST = 128, 32 << 20, 16 << 30
PIXELS = 32  # as RATIO, of images and their labels
# What NumPy itself takes for a header, and some.
HEADER = 12_000
CHUNK = 1 << 20
PIECE = 1 << 16  # of a packed file, which may hold a thousand times as much
# The third differs from the second in how names of fields are written, and there are none here.
VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}
# A directory of so many bytes lists tens of thousands of arrays.
DIRECTORY = 4 << 20

Array = NDArray[Any]


def read_npz(
    path: Path,
    needed: Sequence[str] | None = None,
    optional: Sequence[str] = (),
    *,
    rows: int | None = None,
    paired: bool = False,
    hint: str = "",
) -> dict[str, Array]:
    """Read arrays of plain numbers.

    Args:
        path: the file.
        needed: names that must be there; None for whatever there is.
        optional: names that are read where they are there.
        rows: how many entries of each array's first axis to read at most.
        paired: the first axes of all arrays must be equally long.
        hint: how to make such a file, if something is not there.

    Returns:
        Arrays by name, in the byte order of this machine.

    Raises:
        InputError: it is no npz file, lacks a name, holds something other than booleans, integers
            and floats, or more than a file of its size has reason to.
    """
    with reading(path, "an npz file"), _open(path) as archive:
        entries = _entries(archive, path)
        missing = [k for k in needed or () if k not in entries]
        if missing:
            there = ", ".join(list(entries)[:20]) or "none"
            raise InputError(f"{path} lacks {', '.join(missing)}; it has {there}.", hint)
        wanted = list(entries) if needed is None else [*needed, *optional]
        headers = {k: _entry_header(archive, path, entries[k]) for k in wanted if k in entries}
        lengths = {h.shape[:1] for h in headers.values()}
        if paired and len(lengths) > 1:
            shapes = ", ".join(f"{k} {list(h.shape)}" for k, h in headers.items())
            raise InputError(f"{path} holds a different number of samples in each: {shapes}.", hint)
        check_size(path, sum(h.bytes_of(rows) for h in headers.values()))
        return {k: _entry(archive, path, entries[k], h, rows) for k, h in headers.items()}


def read_npy(path: Path) -> Array:
    """Read one array of plain numbers.

    Raises:
        InputError: it is no npy file, holds other things, or not what it declares.
    """
    with reading(path, "an npy file"), path.open("rb") as file:
        header = _header(file, path)
        size = path.stat().st_size
        _check_length(path, header, size)
        file.seek(header.offset)
        return _numbers(file, path, header, None)


def write_npz(
    path: Path, arrays: Mapping[str, Array], *, packed: bool = True, make_folder: bool = True
) -> None:
    """Write arrays under any names whatever; ``numpy.savez`` takes ``file`` for an argument."""
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with (
        new_file(path, make_folder=make_folder) as temporary,
        zipfile.ZipFile(temporary, "w", how) as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


@contextmanager
def npz_by_rows(path: Path) -> Generator[Callable[[Mapping[str, Array]], None]]:
    """Give a function that adds rows to arrays, which are an npz file when the block succeeds.

    The rows wait in files beside it, so that the arrays may be larger than the memory.

    Args:
        path: where the file belongs.
    """
    with new_file(path, make_folder=False) as temporary:
        waiting: dict[str, tuple[Path, Array]] = {}
        rows: dict[str, int] = {}

        def add(arrays: Mapping[str, Array]) -> None:
            for name, array in arrays.items():
                place = temporary.with_name(f"{len(waiting)}.raw")
                raw, _ = waiting.setdefault(name, (place, array[:0]))
                rows[name] = rows.get(name, 0) + len(array)
                with raw.open("ab") as file:
                    np.ascontiguousarray(array).tofile(file)

        yield add
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, (raw, like) in waiting.items():
                header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(like))
                header["shape"] = (rows[name], *like.shape[1:])
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_2_0(member, header)
                    with raw.open("rb") as file:
                        shutil.copyfileobj(file, member, CHUNK)
                raw.unlink()


def check_zip(path: Path, ratio: int = RATIO) -> None:
    """Refuse a zip archive that unpacks to more than a file of its size has reason to.

    Raises:
        InputError: it does, or it is no zip archive.
    """
    with reading(path, "a zip archive"), _open(path) as archive:
        check_size(path, sum(i.file_size for i in archive.infolist()), ratio=ratio)


def gunzip(path: Path, hint: str = "") -> bytearray:
    """Unpack a gzip file of pixels.

    Raises:
        InputError: it is none, is damaged, or unpacks to more than a file of its size should.
    """
    with reading(path, "a gzip-packed file", hint):
        packed, content = path.read_bytes(), bytearray()
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        most, at = _most(len(packed), PIXELS), 0
        while at < len(packed) and len(content) <= most and not unpacker.eof:
            piece = packed[at : at + PIECE]
            content += unpacker.decompress(piece, most + 1 - len(content))
            at += PIECE
        check_size(path, len(content), ratio=PIXELS)
        if not unpacker.eof:
            raise EOFError("it ends early")
        if (unpacker.unused_data + packed[at:]).strip(b"\0"):
            raise ValueError("something else follows its end")
        return content


def check_size(path: Path, unpacked: int, packed: int | None = None, *, ratio: int = RATIO) -> None:
    """Refuse packed data that hold more than their size gives reason to.

    Args:
        path: where they are.
        unpacked: bytes that they would take.
        packed: bytes that they have; None for the file's.
        ratio: of the two, allowed beside what is allowed to every file.

    Raises:
        InputError: says how much there is, and how much is taken.
    """
    most = _most(path.stat().st_size if packed is None else packed, ratio)
    if unpacked > most:
        raise InputError(
            f"{path} unpacks to {unpacked:,} bytes; from a file of its size at most {most:,} are "
            "taken.",
            "Store fewer samples, or a smaller type such as uint8, or do not compress it.",
        )


def _most(packed: int, ratio: int = RATIO) -> int:
    return min(LARGEST, ratio * packed + ALLOWANCE)


class _Careful(io.BufferedReader):
    """A file of which nobody reads much at once: ``zipfile`` reads the whole directory so."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY:
            raise ValueError(f"its directory has {size} bytes")
        return super().read(size)


@contextmanager
def _open(path: Path) -> Generator[zipfile.ZipFile, None, None]:
    with _Careful(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        yield archive


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays of an archive, by their names."""
    arrays = [i for i in archive.infolist() if i.filename.endswith(".npy")]
    count = Counter(i.filename for i in arrays)
    twice = [k for k, n in count.items() if n > 1]
    if twice:
        raise InputError(f"{path} holds {', '.join(twice[:5])} more than once.")
    return {i.filename.removesuffix(".npy"): i for i in arrays}


class _Header(NamedTuple):
    """What an array declares, and where its numbers start."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    def first(self, rows: int | None) -> tuple[int, ...]:
        """Return the shape of the first rows, which lie together unless it is Fortran's order."""
        if rows is None or self.fortran or not self.shape:
            return self.shape
        return (min(rows, self.shape[0]), *self.shape[1:])

    def bytes_of(self, rows: int | None = None) -> int:
        """Return how many bytes have to be read for the first rows, or all."""
        return math.prod(self.first(rows)) * self.dtype.itemsize


def _header(stream: IO[bytes], where: object) -> _Header:
    """Read the header of an array, of which NumPy would believe any length."""
    start = io.BytesIO(stream.read(HEADER))
    version = np.lib.format.read_magic(start)
    if version not in VERSIONS:
        raise ValueError(f"npy format {version} is unknown")
    shape, fortran, dtype = VERSIONS[version](start)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        kind = "objects" if dtype.hasobject else str(dtype)
        raise InputError(
            f"{where} holds {kind}, not plain numbers.",
            "Store it as integers or floats of up to 64 bits.",
        )
    if min(shape, default=0) < 0:
        raise InputError(f"{where} declares the shape {shape}.")
    return _Header(shape, fortran, dtype, start.tell())


def _entry_header(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo) -> _Header:
    where = f"{path}: {info.filename}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise InputError(
            f"{where} is encrypted, or packed in a way that NumPy does not.", "Use numpy.savez."
        )
    with archive.open(info) as member:
        header = _header(member, where)
    _check_length(where, header, info.file_size)
    return header


def _check_length(where: object, header: _Header, size: int) -> None:
    declared, there = header.bytes_of(), size - header.offset
    if declared != there:
        raise InputError(f"{where} declares {declared} bytes of numbers, and has {there}.")


def _entry(
    archive: zipfile.ZipFile,
    path: Path,
    info: zipfile.ZipInfo,
    header: _Header,
    rows: int | None,
) -> Array:
    with archive.open(info) as member:
        member.read(header.offset)
        return _numbers(member, f"{path}: {info.filename}", header, rows)


def _numbers(stream: IO[bytes], where: object, header: _Header, rows: int | None) -> Array:
    """Read what a header declares, in pieces: memory is taken only as numbers come."""
    size = header.bytes_of(rows)
    flat = np.empty(size // header.dtype.itemsize, header.dtype)
    into = flat.view(np.uint8)
    for at in range(0, size, CHUNK):
        piece = stream.read(min(CHUNK, size - at))
        if len(piece) < min(CHUNK, size - at):
            raise InputError(f"{where} ends after {at + len(piece)} of {size} bytes.")
        into[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
    array = flat.reshape(header.first(rows), order="F" if header.fortran else "C")
    array = array[:rows] if array.ndim else array
    return array.astype(header.dtype.newbyteorder("="), copy=False)
