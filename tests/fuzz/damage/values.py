"""What stands where something else belongs: numbers at the edges, texts that mean something."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np

INTEGERS = (
    0, 1, -1, 2, 3, 7, 8, 63, 127, 128, 255, 256, 1023, 4096, 10_000, 65_535, 65_536, 1 << 20,
    (1 << 24) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 63) - 1,
    1 << 63, (1 << 64) - 1, 1 << 64, -2, -128, -(1 << 31), -(1 << 63), -(1 << 63) - 1,
)  # fmt: skip
REALS = (
    float("nan"), float("inf"), float("-inf"), -0.0, 0.5, 1.5, -1.5, 5e-324, 1e-300, 1e-30, 1e16,
    3.4e38, 3.5e38, 1e308, -1e308, 1.7976931348623157e308,
)  # fmt: skip
# Names that mean something to Python, NumPy, HDF5, a shell, a terminal or snn2hw itself.
TEXTS = (
    "", " ", ".", "..", "/", "../../x", "/etc/hostname", "~", "-", "--json", "0", "-1", "1e999",
    "NaN", "true", "None", "0x10", "file", "input", "output", "prediction", "spikes", "label", "x",
    "y", "v", "u", "latest", "NIRGraph", "LIF", "zero", "one", "a/b", "a.b", "a:b", "a=b", "{}",
    "[bold]", "%s", "<b>", "é", "🧠", "\u202e", "\ud800", "\x00", "\x1b[31m", "a\nerror: forged",
    "\r", "\t", "n" * 300, "n" * 5000, "1" * 5000,
)  # fmt: skip


def integer(r: Random) -> int:
    """Return an integer, mostly one at an edge."""
    return r.choice(INTEGERS) if r.random() < 0.9 else r.getrandbits(r.randrange(1, 70))


def number(r: Random) -> int | float:
    """Return an integer or a real number, mostly one at an edge."""
    return integer(r) if r.random() < 0.5 else r.choice(REALS)


def anything(r: Random) -> Any:
    """Return any JSON value."""
    plain = [None, True, False, [], {}, [[]], {"a": 1}, [1, 2, 3], [None], ["a"], [[1], [2, 3]]]
    return r.choice((r.choice(plain), number(r), number(r), r.choice(TEXTS)))


def array(r: Random, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array whose values are edges of its type, or all the same."""
    size = int(np.prod(shape))
    made = [_as(number(r), np.dtype(dtype)) for _ in range(min(size, 64) or 1)]
    with np.errstate(all="ignore"):
        return np.resize(np.array(made).astype(dtype), size).reshape(shape)


def _as(value: float, dtype: np.dtype) -> Any:
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return min(max(int(value), low), high) if math.isfinite(value) else high
    return bool(value) if dtype.kind == "b" else float(value)
