"""Small rules that all nouns share: read-only arrays, shapes, digests."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Edge = tuple[str, str]


def frozen(array: Any, dtype: Any = None) -> NDArray[Any]:
    """Return a C-ordered, read-only copy, so that no stage can change another's values.

    What is such a copy already is returned as it is.
    """
    if isinstance(array, np.ndarray) and _is_frozen(array) and dtype in (None, array.dtype):
        return array
    out = np.array(array, dtype=dtype, order="C", copy=True)
    out.flags.writeable = False
    return out


def _is_frozen(array: Any) -> bool:
    """Say whether nobody can write to an array, nor to one that it is a part of."""
    held: Any = array
    while isinstance(held, np.ndarray):
        if held.flags.writeable or not held.flags.c_contiguous:
            return False
        if held.base is None:
            return True
        held = held.base
    return False


def size_of(shape: Shape) -> int:
    """Return the number of elements of a shape (1 for the empty one)."""
    return math.prod(shape)


def digest(*parts: Any) -> str:
    """Return the SHA-256 of arrays and plain values, in the given order."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).tobytes())
        else:
            total.update(repr(part).encode())
        total.update(b"\0")
    return total.hexdigest()


def different_steps(x: NDArray[Any]) -> NDArray[Any]:
    """Return the steps of samples ``[N, T, ...]`` that may differ: one of an image shown all along.

    Such an image is held once, as a view in which a step to the next is no step in memory.
    """
    return x[:, :1] if x.shape[1] > 1 and x.strides[1] == 0 else x
