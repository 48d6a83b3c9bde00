"""Reads HDF5 files within limits. Run as a plain file in a process of its own.

    python reader.py

What a damaged or hostile file does to libhdf5 (endless loops, absurd sizes, a crash) ends with this
process. Each line of standard input is a request, ``{"path", "values", "texts", "sequences"}``; the
answer is a line ``{"bytes", "tree"}`` followed by so many bytes, or a line ``{"error"}``. In the
tree a group is ``{"items", "attrs"}``; an array of numbers ``{"dtype", "shape", "at"}`` with its
place among the bytes; text ``{"text"}`` or ``{"texts", "shape"}``; anything else ``{"other"}``.
The line ``{"limited"}`` says that there was no memory, and how many bytes the system allows.
Sequences of numbers, each of its own length, are read where the request says so, and given as a
group of ``values``, one after another, and ``lengths``.
Imports nothing of snn2hw.
"""
# pyright: basic

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

try:
    import resource
except ImportError:  # on Windows; the other side has a clock as well
    resource = None

# Each limit that this process may set: what it was given at its start, now and at most.
GIVEN: dict[int, tuple[int, int]] = {}
if resource is not None:
    GIVEN = {k: resource.getrlimit(k) for k in (resource.RLIMIT_AS, resource.RLIMIT_CPU)}

_low: Any = h5py  # whose low-level modules have no types
h5a, h5d, h5g, h5l, h5o, h5s, h5t = (getattr(_low, f"h5{k}") for k in "adglost")

MOST_OBJECTS = 200_000  # groups, data sets and attributes
OBJECTS_AT_ONCE = 1000
DEEPEST = 32
SECONDS = 3  # of the processor for so many objects: what is not read by then never will be
BYTES_A_SECOND = 20_000_000  # unpacked
ROOM = 1 << 28  # bytes of address space beyond what the process has, plus what the file is granted
MAPPED = Path("/proc/self/statm")
TEXTS_AT_ONCE = 1024
SEQUENCES_AT_ONCE = 64
NO_MEMORY = "memory allocation failed"  # in what libhdf5 says
SMALLEST_BOMB = 1 << 12  # values; what was never written is refused from here on
# Filters that come with libhdf5 and h5py; others are plug-ins, loaded from who knows where.
FILTERS = (1, 2, 3, 4, 5, 6, 32000)
NUMBERS = "biufc"


class Refused(Exception):
    """A file that is not read; the text says why."""


class Reader:
    """Walks one file. Numbers are kept as they are stored, in ``chunks``."""

    def __init__(self, values: int, texts: int, sequences: bool = False) -> None:
        self.sequences_wanted = sequences
        self.values_left, self.texts_left = values, texts
        self.most_values, self.most_texts = values, texts
        self.objects = 0
        self.chunks: list[memoryview] = []
        self.at = 0
        self.groups: set[tuple[int, int]] = set()

    def group(self, group: Any, place: str, depth: int = 0) -> dict[str, Any]:
        """Describe a group and all that is in it."""
        if depth > DEEPEST:
            raise Refused(f"nests groups more than {DEEPEST} deep")
        address = _address(group)
        if address in self.groups:
            raise Refused(f"links the group {place or '/'} more than once")
        self.groups.add(address)
        items: dict[str, Any] = {}
        for name, kind in _links(group):
            where = f"{place}/{_text(name)}"
            if kind != h5l.TYPE_HARD:
                raise Refused(f"holds {where}, a link out of its place, which is refused")
            self.count()
            items[_text(name)] = self.item(h5o.open(group, name), where, depth)
        return {"items": items, "attrs": self.attributes(group, place)}

    def item(self, item: Any, where: str, depth: int) -> dict[str, Any]:
        """Describe a group, or read a data set."""
        if isinstance(item, h5g.GroupID):
            return self.group(item, where, depth + 1)
        if not isinstance(item, h5d.DatasetID):
            return {"other": "a stored data type"}
        shape = item.shape
        if shape is None:
            return {"other": "nothing"}
        _check_storage(item, where, math.prod(shape))
        return self.values(item, where, lambda out: item.read(h5s.ALL, h5s.ALL, out), shape)

    def attributes(self, group: Any, place: str) -> dict[str, Any]:
        """Read the attributes of a group."""
        found: dict[str, Any] = {}
        for i in range(h5a.get_num_attrs(group)):
            self.count()
            attribute = h5a.open(group, index=i)
            name = _text(attribute.name)
            where = f"{place}@{name}"
            found[name] = self.values(attribute, where, attribute.read, attribute.shape)
        return found

    def count(self) -> None:
        """Count an object."""
        if self.objects % OBJECTS_AT_ONCE == 0:
            grant(SECONDS)
        self.objects += 1
        if self.objects > MOST_OBJECTS:
            raise Refused(f"holds more than {MOST_OBJECTS:,} groups, data sets and attributes")

    def values(
        self, item: Any, where: str, read: Callable[[np.ndarray], None], shape: Any
    ) -> dict[str, Any]:
        """Read numbers or text of a data set or an attribute, once their size is known."""
        kind = item.get_type()
        if shape is None:
            return {"other": "nothing"}
        count = math.prod(shape)
        if isinstance(kind, h5t.TypeStringID):
            return self.texts(item, where, kind, count)
        if self.sequences_wanted and isinstance(kind, h5t.TypeVlenID) and len(shape) == 1:
            return self.sequences(item, where, kind, count)
        dtype = _number(kind)
        if dtype is None:
            return {"other": f"values of type {_kind(kind)}"}
        self.take_values(count, f"{where} of shape {tuple(shape)}")
        out = np.zeros(shape, dtype)
        if out.nbytes > BYTES_A_SECOND:
            grant(SECONDS + out.nbytes // BYTES_A_SECOND)
        if count:
            read(out)
        return self.keep(out)

    def take_values(self, count: int, where: str) -> None:
        """Count numbers."""
        self.values_left -= count
        if self.values_left < 0:
            raise Refused(f"declares more than {self.most_values:,} values, with {where}")

    def sequences(self, item: Any, where: str, kind: Any, count: int) -> dict[str, Any]:
        """Read sequences of numbers, a part at a time: many references may lead to a long one."""
        dtype = _number(kind.get_super())
        if dtype is None or isinstance(item, h5a.AttrID):
            return {"other": "sequences of what is no number"}
        self.take_values(count, f"{where} of {count:,} sequences")
        parts = [np.empty(0, dtype)]
        lengths = np.zeros(count, np.int64)
        for i, sequence in enumerate(_in_parts(item, kind, count, SEQUENCES_AT_ONCE)):
            lengths[i] = len(sequence)
            self.take_values(len(sequence), where)
            if i % SEQUENCES_AT_ONCE == 0:
                grant(SECONDS)
            parts.append(np.asarray(sequence, dtype))
        values, told = self.keep(np.concatenate(parts)), self.keep(lengths)
        return {"items": {"values": values, "lengths": told}, "attrs": {}}

    def keep(self, out: np.ndarray) -> dict[str, Any]:
        """Put numbers among the bytes of the answer."""
        shape, at = list(out.shape), self.at
        flat = np.ascontiguousarray(out).reshape(-1)
        self.chunks.append(flat.view(np.uint8).data if flat.size else memoryview(b""))
        self.at += flat.nbytes
        return {"dtype": out.dtype.str, "shape": shape, "at": at}

    def texts(self, item: Any, where: str, kind: Any, count: int) -> dict[str, Any]:
        """Read text, a part at a time: many references may lead to one long text."""
        shape = item.shape
        if count > self.texts_left or (
            not kind.is_variable_str() and kind.get_size() * count > self.texts_left
        ):
            raise self.too_much_text(where)
        if isinstance(item, h5a.AttrID) or not shape:
            out = np.empty(shape, kind.dtype)
            item.read(out) if isinstance(item, h5a.AttrID) else item.read(h5s.ALL, h5s.ALL, out)
            found = [self.take(t, where) for t in out.reshape(-1).tolist()]
        else:
            found = [self.take(t, where) for t in _in_parts(item, kind, count, TEXTS_AT_ONCE)]
        return {"texts": found, "shape": list(shape)} if shape else {"text": found[0]}

    def take(self, raw: Any, where: str) -> str:
        """Decode a text and count it."""
        text = _text(raw)
        self.texts_left -= 1 + len(text)
        if self.texts_left < 0:
            raise self.too_much_text(where)
        return text

    def too_much_text(self, where: str) -> Refused:
        """Return the refusal of text without end."""
        return Refused(f"holds more than {self.most_texts:,} bytes of text, with {where}")


def _in_parts(item: Any, kind: Any, count: int, at_once: int) -> Iterator[Any]:
    """Read a data set of texts or sequences along its first axis."""
    shape = item.shape
    rows = max(1, at_once * shape[0] // max(count, 1))
    for start in range(0, shape[0] if count else 0, rows):
        part = (min(rows, shape[0] - start), *shape[1:])
        space = item.get_space()
        space.select_hyperslab((start, *[0] * (len(shape) - 1)), part)
        out = np.empty(part, kind.dtype)
        item.read(h5s.create_simple(part), space, out)
        yield from out.reshape(-1)


def _links(group: Any) -> list[tuple[bytes, int]]:
    found: list[tuple[bytes, int]] = []
    group.links.iterate(lambda name, info: found.append((name, info.type)), info=True)
    return found


def _address(group: Any) -> tuple[int, int]:
    info = h5o.get_info(group)
    return info.fileno, info.addr


def _check_storage(item: Any, where: str, count: int) -> None:
    """Refuse data elsewhere, data that nobody wrote, and filters that are not at hand."""
    if item.get_offset() is not None:  # stored in one piece, in this file
        return
    plist = item.get_create_plist()
    layout = plist.get_layout()
    if layout == h5d.VIRTUAL or (layout == h5d.CONTIGUOUS and plist.get_external_count()):
        raise Refused(f"keeps {where} in another file, which is refused")
    for i in range(plist.get_nfilters() if layout == h5d.CHUNKED else 0):
        if plist.get_filter(i)[0] not in FILTERS:
            raise Refused(f"packs {where} with filter {plist.get_filter(i)[0]}, which is unknown")
    if count >= SMALLEST_BOMB and item.get_storage_size() == 0:
        raise Refused(f"declares {count:,} values for {where} that were never written")


def _number(kind: Any) -> np.dtype | None:
    """Return NumPy's type of numbers that are stored so, None for everything else."""
    stored = kind.encode()
    if stored not in _KNOWN:
        try:
            dtype = kind.dtype
        except Exception:  # what NumPy has no type for
            return None
        _KNOWN[stored] = np.dtype(dtype.str) if dtype.kind in NUMBERS else None
    return _KNOWN[stored]


_KNOWN: dict[bytes, np.dtype | None] = {}  # NumPy's type by HDF5's


def _kind(kind: Any) -> str:
    return type(kind).__name__.removeprefix("Type").removesuffix("ID").lower()


def _text(raw: Any) -> str:
    if isinstance(raw, str):
        return raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return bytes(raw or b"").decode("utf-8", "backslashreplace")


def read(asked: dict[str, Any]) -> tuple[dict[str, Any], Reader]:
    """Read one file whole."""
    reader = Reader(asked["values"], asked["texts"], asked["sequences"])
    with h5py.File(asked["path"], "r", locking=False) as file:
        return reader.group(h5g.open(file.id, b"/"), ""), reader


def grant(seconds: int) -> None:
    """Let this process run for so many seconds of the processor from now on, and no longer."""
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        bound(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + seconds))


def limit(values: int) -> int | None:
    """Bound this process's memory by what so many values take, where the system can.

    Returns:
        The bytes that the system allows, if those are fewer.
    """
    if resource is None or not MAPPED.exists():  # not on Linux
        return None
    held = int(MAPPED.read_text().split()[0]) * resource.getpagesize()
    return bound(resource.RLIMIT_AS, held + ROOM + 16 * values)


def bound(kind: int, wanted: int) -> int | None:
    """Set a limit of this process, but none above that of its start: the system refuses those.

    Returns:
        The limit of its start, if that is lower.
    """
    assert resource is not None
    least = min([wanted, *(n for n in GIVEN[kind] if n != resource.RLIM_INFINITY)])
    resource.setrlimit(kind, (least, GIVEN[kind][1]))
    return least if least < wanted else None


def main() -> None:
    """Answer requests until one fails: what a bad file leaves behind in here is not known."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other side, which ends this
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        failed: dict[str, Any] | None = None
        allowed = limit(asked["values"])
        try:
            tree, reader = read(asked)
        except Refused as error:
            failed = {"refused": str(error)}
        except Exception as error:  # h5py raises whatever the damage makes it stumble over
            if not isinstance(error, MemoryError) and NO_MEMORY not in str(error):
                failed = {"error": str(error) or type(error).__name__}
            elif allowed is None:
                failed = {"refused": "needs more memory than a file of its size may"}
            else:
                failed = {"limited": allowed}
        if failed is not None:
            out.write(json.dumps(failed).encode() + b"\n")
            return
        out.write(json.dumps({"bytes": reader.at, "tree": tree}).encode() + b"\n")
        for chunk in reader.chunks:
            out.write(chunk)
        out.flush()


if __name__ == "__main__":
    main()
