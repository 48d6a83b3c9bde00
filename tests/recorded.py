"""Writers of recordings, each from the description of its format, and events to write."""

from __future__ import annotations

import numpy as np
import pytest
from shared import installed

from snn2hw.recordings import Events

needs_aedat = installed("aedat")
needs_event_stream = installed("event_stream")
READ_BY_US = (".bin", ".bs1", ".bs2", ".dat", ".evt2.raw", ".evt3.raw")
ALL = (*READ_BY_US, pytest.param(".es", marks=needs_event_stream))


def some_events(count=300, width=34, height=20, microseconds=300_000, seed=0):
    """Events in the order of time, several of which may be at one time."""
    r = np.random.default_rng(seed)
    t = np.sort(r.integers(0, microseconds, count))
    return Events(t, *(r.integers(0, n, count) for n in (2, height, width)))


def encoded(suffix, events, size=(34, 20)):
    """Return the bytes of a recording."""
    return WRITERS[suffix](events, size)


def write(path, events, size=(34, 20), suffix=None):
    path.write_bytes(encoded(suffix or path.suffix, events, size))
    return path


def forty_bits(events, _size, *, marks=False):
    rows, laps = [], 0
    for t, p, y, x in zip(*map(np.ndarray.tolist, events), strict=True):
        while marks and t - (laps << 13) >= 1 << 13:
            rows.append(bytes([0, 240, 0, 0, 0]))
            laps += 1
        rows.append(bytes([x, y]) + (p << 23 | (t - (laps << 13) & 0x7FFFFF)).to_bytes(3, "big"))
    return b"".join(rows)


def channels(events, _size):
    return b"".join(
        x.to_bytes(2, "big") + (p << 23 | t & 0x7FFFFF).to_bytes(3, "big")
        for t, p, y, x in zip(*map(np.ndarray.tolist, events), strict=True)
    )


def dat(events, size, version=2, kind=(0x0C, 8)):
    head = f"% Data file containing CD events.\n% Version {version}\n% Height {size[1]}\n% Width "
    t, p, y, x = (np.asarray(v).astype("<u4") for v in events)
    words = np.stack([t, x | y << 14 | p << 28], axis=1).astype("<u4")
    return f"{head}{size[0]}\n".encode() + bytes(kind) + words.tobytes()


def evt2(events, size):
    words, high = [], None
    for t, p, y, x in zip(*map(np.ndarray.tolist, events), strict=True):
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high & 0xFFFFFFF)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    head = f"% evt 2.0\n% geometry {size[0]}x{size[1]}\n% end\n".encode()
    return head + np.array(words, "<u4").tobytes()


def evt3(events, size, *, vectors=True):
    """Neighbours of one time, row and polarity that rise in x become vectors of 12 and 8."""
    words, high, low, row, base = [], None, None, None, None
    rows = list(zip(*map(np.ndarray.tolist, events), strict=True))
    while rows:
        t, p, y, x = rows[0]
        group = [x]
        for other in rows[1:]:
            if other[:3] != (t, p, y) or other[3] <= group[-1] or other[3] > x + 19:
                break
            group.append(other[3])
        if not vectors:
            group = [x]
        rows = rows[len(group) :]
        if t >> 12 != high:
            high, low = t >> 12, None
            words.append(8 << 12 | high & 0xFFF)
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append(6 << 12 | low)
        if y != row:
            row = y
            words.append(y)
        if len(group) == 1:
            words.append(2 << 12 | p << 11 | x)
            continue
        if base != (x, p):
            words.append(3 << 12 | p << 11 | x)
        bits = sum(1 << (g - x) for g in group)
        words += [4 << 12 | bits & 0xFFF, 5 << 12 | bits >> 12]
        base = (x + 20, p)
    head = f"% format EVT3;height={size[1]};width={size[0]}\n% end\n".encode()
    return head + np.array(words, "<u2").tobytes()


def es(events, size):
    head = b"Event Stream" + bytes([2, 0, 0, 1])
    head += size[0].to_bytes(2, "little") + size[1].to_bytes(2, "little")
    rows, before = [head], 0
    for t, p, y, x in zip(*map(np.ndarray.tolist, events), strict=True):
        laps, left = divmod(t - before, 127)
        place = x.to_bytes(2, "little") + y.to_bytes(2, "little")
        rows.append(b"\xff" * laps + bytes([left << 1 | p]) + place)
        before = t
    return b"".join(rows)


WRITERS = {
    ".bin": forty_bits, ".bs1": channels, ".bs2": forty_bits, ".dat": dat, ".evt2.raw": evt2,
    ".evt3.raw": evt3, ".es": es, ".raw": evt3,
}  # fmt: skip
