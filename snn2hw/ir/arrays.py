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
    """Return a C-ordered, read-only copy, so that no stage can change another's values."""
    out = np.array(array, dtype=dtype, order="C", copy=True)
    out.flags.writeable = False
    return out


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
