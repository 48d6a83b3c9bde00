"""One recording of an event sensor, as all readers give it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]

MOST_EVENTS = 1 << 26  # of one recording: binning them takes about 50 bytes for each


class Events(NamedTuple):
    """Time (of recordings in files in microseconds), polarity, row and column of each, ``[n]``."""

    t: Ints
    p: Ints
    y: Ints
    x: Ints


class Recording(NamedTuple):
    """The events of one file.

    Args:
        events: in the order of the file; polarity 0 is off and 1 is on.
        size: columns and rows of the sensor; None where the file does not say.
        notes: what was left out.
    """

    events: Events
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def reach(self) -> tuple[int, int]:
        """Columns and rows that hold all events."""
        x, y = (int(v.max()) + 1 if v.size else 0 for v in (self.events.x, self.events.y))
        return x, y

    @property
    def microseconds(self) -> int:
        """Time from the first event to the last, both included; 0 without events."""
        t = self.events.t
        return int(t.max()) - int(t.min()) + 1 if t.size else 0


def check_count(events: int) -> None:
    """Refuse more events than are binned at once.

    Raises:
        ValueError: says how many there are.
    """
    if events > MOST_EVENTS:
        raise ValueError(f"it holds {events:,} events; at most {MOST_EVENTS:,} are read")


def unwrapped(counts: Ints, bits: int) -> Ints:
    """Return a counter of so many bits without its returns to zero.

    It has returned where it falls by more than half its range; a smaller fall is an event that
    was written late.
    """
    counts = counts.astype(np.int64)
    fell = np.diff(counts, prepend=counts[:1]) < -(1 << (bits - 1))
    return counts + (np.cumsum(fell) << bits)
