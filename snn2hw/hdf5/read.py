"""Asking the reader's process for a file (docs/decisions/0010).

The process is kept for the next files (``processes.Helper``), and not after one that it refused or
did not survive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, beyond_limit, limit_told
from snn2hw.files import check_file, first_line
from snn2hw.hdf5.tree import Foreign, Group, Item
from snn2hw.processes import Helper

_READER = Helper(Path(__file__).with_name("reader.py"))

# What a file may ask for: so much, and more the larger it is. Stored plainly a byte is at most one
# number; sparse weights deflate to an eighth of a byte each.
VALUES, VALUES_A_BYTE = 1 << 24, 8
TEXTS, TEXTS_A_BYTE = 1 << 24, 4
# By the clock, where the reader's own limit, of the processor's time, does not end it.
SECONDS, BYTES_A_SECOND = 120, 1_000_000

HINT = "Is it complete, and the right file?"


def read_hdf5(path: Path, what: str, *, sequences: bool = False) -> Group:
    """Read a whole HDF5 file.

    Args:
        path: the file.
        what: what it should be, for messages: ``a NIR file``.
        sequences: also read sequences of numbers, each of its own length; such a data set becomes
            a group of ``values``, one sequence after another, and ``lengths``.

    Raises:
        InputError: it is missing or not HDF5, links outside itself, declares more than a file of
            its size may hold, or takes too long to read.
    """
    check_file(path, what)
    size = path.stat().st_size
    asked = {
        "path": str(path.absolute()),
        "values": VALUES + VALUES_A_BYTE * size,
        "texts": TEXTS + TEXTS_A_BYTE * size,
        "sequences": sequences,
    }
    answer, numbers = _READER.ask(asked, SECONDS + size // BYTES_A_SECOND)
    if "limited" in answer:
        raise beyond_limit(path, answer["limited"])
    if "refused" in answer:
        raise InputError(f"{path} {answer['refused']}.", HINT)
    if "error" in answer:
        raise InputError(f"{path} is not {what}: {first_line(answer['error'])}.", HINT)
    if not answer:
        raise InputError(
            f"{path} is not {what} that can be read: the HDF5 library crashed on it, or did not "
            "come to an end.",
            f"{HINT} {limit_told()}".rstrip(),
        )
    return _group(answer["tree"], numbers)


def _group(told: dict[str, Any], numbers: bytes) -> Group:
    items, attrs = (
        {name: _item(item, numbers) for name, item in told[k].items()} for k in ("items", "attrs")
    )
    return Group(items, attrs)


def _item(told: dict[str, Any], numbers: bytes) -> Item:
    if "items" in told:
        return _group(told, numbers)
    if "dtype" in told:
        return _array(np.dtype(told["dtype"]), told["shape"], told["at"], numbers)
    if "text" in told:
        return str(told["text"])
    if "texts" in told:
        texts = np.empty(len(told["texts"]), object)
        texts[:] = told["texts"]
        return texts.reshape(told["shape"])
    return Foreign(str(told["other"]))


def _array(dtype: np.dtype[Any], shape: list[int], at: int, numbers: bytes) -> NDArray[Any]:
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(numbers, dtype, count, at).reshape(shape)  # read-only, as bytes are
