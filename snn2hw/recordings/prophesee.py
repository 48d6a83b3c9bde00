"""Prophesee's ``.dat`` and ``.raw`` (EVT2 and EVT3), from its documentation of the formats.

Read here because no package does it well: expelliarmus 1.1.12 counts every turn of EVT3's 12 low
bits of time twice (events at 0, 1500, 3000 and 4500 us are given at 0, 1500, 3000 and 8596), and
loses what does not fill an event at the end of a file without a word.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snn2hw.recordings.recording import Events, Ints, Recording, check_count, unwrapped

MOST_HEADER = 1 << 16  # bytes
SAVE_OTHERWISE = "save it as EVT2, EVT3 or .dat with Prophesee's tools"


class Header(NamedTuple):
    """The lines of text at a file's start.

    Args:
        text: the lines, without their percent signs.
        end: where the events start.
    """

    text: str
    end: int

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and rows of the sensor, if it says so."""
        found = re.search(r"^\s*geometry\s+(\d{1,5})\s*x\s*(\d{1,5})", self.text, re.M | re.A)
        if found:
            return int(found[1]), int(found[2])
        sides = [re.search(rf"\b{k}[ =]\s*(\d{{1,5}})\b", self.text, re.I | re.A)
                 for k in ("width", "height")]  # fmt: skip
        return tuple(int(s[1]) for s in sides if s) if all(sides) else None  # type: ignore[return-value]


def read_dat(path: Path) -> Recording:
    """Read a ``.dat`` file of version 2: two words of 32 bits an event.

    Raises:
        ValueError: it is of another version or kind, or does not consist of whole events.
    """
    header = _header(path)
    version = re.search(r"^\s*version\s+(\d+)", header.text, re.M | re.I | re.A)
    if version is None or int(version[1]) != 2:
        said = version[1] if version else "none"
        raise ValueError(f"its header says version {said}, and 2 is read: {SAVE_OTHERWISE}")
    kind, size = _bytes(path, header.end, np.uint8, 2)
    if kind not in (0x00, 0x0C) or size != 8:
        raise ValueError(f"it holds {size} bytes of kind {kind:#x} an event, not 8 of kind 0x0c")
    words = _words(path, header.end + 2, np.dtype("<u4"), 2)
    check_count(len(words))
    t, place = words[:, 0], words[:, 1]
    x, y, p = place & 0x3FFF, place >> 14 & 0x3FFF, place >> 28 & 1
    return Recording(_events(unwrapped(t, 32), p, y, x), header.size)


def read_raw(path: Path) -> Recording:
    """Read a ``.raw`` file of EVT2 or EVT3, as its header says.

    Raises:
        ValueError: it is of another format, or does not consist of whole words.
    """
    header = _header(path)
    found = re.search(r"^\s*(?:evt\s+|format\s+EVT)([\d.]+)", header.text, re.M | re.I | re.A)
    version = found[1].rstrip(".").removesuffix(".0") if found else ""
    if version == "2":
        return _evt2(_words(path, header.end, np.dtype("<u4"), 1)[:, 0], header.size)
    if version == "3":
        return _evt3(_words(path, header.end, np.dtype("<u2"), 1)[:, 0], header.size)
    said = f"format EVT{version}" if version else "no format"
    raise ValueError(f"its header says {said}, and EVT2 and EVT3 are read: {SAVE_OTHERWISE}")


def _evt2(words: Ints, size: tuple[int, int] | None) -> Recording:
    """Decode words of 32 bits: 4 of kind, and 28 of time, or of time (6), x (11) and y (11)."""
    kind = words >> 28
    check_count(int(np.count_nonzero(kind < 2)))
    time = kind == 8
    high = unwrapped(words[time] & 0xFFFFFFF, 28)
    before = np.cumsum(time)  # time words up to each word
    at = np.flatnonzero((kind < 2) & (before > 0))
    one = words[at]
    t = high[before[at] - 1] << 6 | (one >> 22 & 0x3F).astype(np.int64)
    lost = int(np.count_nonzero((kind < 2) & (before == 0)))
    skipped = int((~np.isin(kind, (0, 1, 8, 0xA, 0xE, 0xF))).sum())
    events = _events(t, kind[at], one & 0x7FF, one >> 11 & 0x7FF)
    return Recording(events, size, _notes(lost, skipped))


# Kinds of EVT3's words of 16 bits, in their upper 4.
Y, X, BASE, VECTOR_12, VECTOR_8, LOW, HIGH = 0, 2, 3, 4, 5, 6, 8
OTHERS = (7, 0xA, 0xE, 0xF)  # what continues a word, triggers, what a vendor adds


def _evt3(words: Ints, size: tuple[int, int] | None) -> Recording:
    """Decode words of 16 bits, each of which changes one part of a state: row, column, time.

    A vector word has a bit for each of the 12 (or 8) columns from the base on, which it moves on.
    """
    kind, rest = words >> 12, (words & 0xFFF).astype(np.int64)
    vector = np.flatnonzero((kind == VECTOR_12) | (kind == VECTOR_8))
    bits = (rest[vector, None] >> np.arange(12) & 1).astype(np.bool_)
    bits[kind[vector] == VECTOR_8, 8:] = False
    single = np.flatnonzero(kind == X)
    check_count(len(single) + int(np.count_nonzero(bits)))
    high, low, row, base = (_last(kind == k) for k in (HIGH, LOW, Y, BASE))

    which, bit = np.nonzero(bits)
    inside = vector[which]
    width = np.where(kind == VECTOR_12, 12, np.where(kind == VECTOR_8, 8, 0))
    moved = np.cumsum(width) - width  # columns that all vectors before have moved on
    start = base[inside]
    from_base = (rest[start] & 0x7FF) + moved[inside] - moved[start] + bit
    x = np.concatenate([rest[single] & 0x7FF, from_base])
    p = np.concatenate([rest[single] >> 11, rest[start] >> 11])
    at = np.concatenate([single, inside])
    known = np.concatenate([single >= 0, start >= 0]) & (high[at] >= 0) & (row[at] >= 0)
    order = np.argsort(at, kind="stable")
    order = order[known[order]]
    at = at[order]

    turns = np.zeros(len(words), np.int64)
    turns[kind == HIGH] = unwrapped(rest[kind == HIGH], 12)
    fine = np.where(low[at] > high[at], rest[low[at]], 0)
    t = turns[high[at]] << 12 | fine
    lost = int(len(known) - known.sum())
    seen = (Y, X, BASE, VECTOR_12, VECTOR_8, LOW, HIGH, *OTHERS)
    skipped = int((~np.isin(kind, seen)).sum())
    events = _events(t, p[order], rest[row[at]] & 0x7FF, x[order])
    return Recording(events, size, _notes(lost, skipped))


def _last(chosen: Ints) -> Ints:
    """Return for each place the last chosen one up to it, or -1."""
    return np.maximum.accumulate(np.where(chosen, np.arange(len(chosen)), -1))


def _notes(lost: int, skipped: int) -> tuple[str, ...]:
    """Say what was not read: events before the file says when and where, words of no known kind."""
    said = [f"events left out, before the first that says when or where: {lost:,}"] * (lost > 0)
    said += [f"words of unknown kinds skipped: {skipped:,}"] * (skipped > 0)
    return tuple(said)


def _events(t: Ints, p: Ints, y: Ints, x: Ints) -> Events:
    x = np.minimum(x, 0xFFFF)  # vectors without end lead as far as they like
    return Events(t, p.astype(np.uint8), y.astype(np.uint16), x.astype(np.uint16))


def _header(path: Path) -> Header:
    """Read lines that begin with a percent sign, up to one that says ``end`` or the first other."""
    with path.open("rb") as file:
        start = file.read(MOST_HEADER)
    lines: list[bytes] = []
    at = 0
    while start[at : at + 1] == b"%":
        line, found, _ = start[at:].partition(b"\n")
        if not found:
            raise ValueError(f"its header does not end within {MOST_HEADER:,} bytes")
        at += len(line) + 1
        lines.append(line[1:].strip())
        if lines[-1] == b"end":
            break
    if not lines:
        raise ValueError("it has no header, which is lines of text that begin with %")
    return Header(b"\n".join(lines).decode("latin-1"), at)


def _bytes(path: Path, start: int, dtype: type[np.uint8], count: int) -> tuple[int, ...]:
    found = np.fromfile(path, dtype, count, offset=start)
    if len(found) < count:
        raise ValueError("it ends with its header")
    return tuple(int(v) for v in found)


def _words(path: Path, start: int, dtype: np.dtype[np.unsignedinteger], each: int) -> Ints:
    """Read all words from ``start`` on, ``[n, each]``."""
    size = path.stat().st_size - start
    if size % (each * dtype.itemsize):
        raise ValueError(f"it ends within an event, after {size:,} bytes of them")
    return np.fromfile(path, dtype, offset=start).reshape(-1, each)
