"""Events of 40 bits: N-MNIST's and N-Caltech101's ``.bin``, SLAYER's ``.bs2`` and ``.bs1``.

Five bytes an event, the first byte first: x (8 bits), y (8), polarity (1), time in microseconds
(23). In ``.bs1`` the first 16 bits are one channel number. The ``.bin`` files of N-MNIST mark
with y = 240 that the sensor's counter of 2^13 microseconds went round (G. Orchard's
``Read_Ndataset.m``): all times from there on are so much later, and the mark is no event.
Read here because it is a dozen lines of NumPy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snn2hw.recordings.recording import Events, Recording, check_count, unwrapped

BYTES, TIME_BITS = 5, 23
MARK, MARKED = 240, 1 << 13  # y of a mark, and the microseconds that it stands for


def read_bin(path: Path) -> Recording:
    """Read a ``.bin`` file.

    Raises:
        ValueError: it does not consist of whole events.
    """
    first, second, p, t = _fields(path)
    mark = second == MARK
    t = t + np.cumsum(mark) * MARKED
    events = ~mark
    return Recording(Events(t[events], p[events], second[events], first[events]))


def read_bs2(path: Path) -> Recording:
    """Read a ``.bs2`` file: as ``.bin``, without marks.

    Raises:
        ValueError: it does not consist of whole events.
    """
    first, second, p, t = _fields(path)
    return Recording(Events(t, p, second, first))


def read_bs1(path: Path) -> Recording:
    """Read a ``.bs1`` file: events of channels, which become the columns of a single row.

    Raises:
        ValueError: it does not consist of whole events.
    """
    first, second, p, t = _fields(path)
    channel = first.astype(np.uint16) << 8 | second
    return Recording(Events(t, p, np.zeros(len(t), np.uint8), channel))


def _fields(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    size = path.stat().st_size
    if size % BYTES:
        raise ValueError(f"its {size:,} bytes are not a number of events of {BYTES} bytes each")
    check_count(size // BYTES)
    b = np.fromfile(path, np.uint8).reshape(-1, BYTES)
    t = (b[:, 2] & 127).astype(np.int64) << 16 | b[:, 3].astype(np.int64) << 8 | b[:, 4]
    return b[:, 0], b[:, 1], b[:, 2] >> 7, unwrapped(t, TIME_BITS)
