"""Reads recordings with other people's compiled code. Run as a plain file in its own process.

    python decoder.py

What a damaged or hostile file does to these packages ends with this process. Each line of standard
input is a request, ``{"path", "kind", "events"}``; the answer is a line ``{"bytes", "count",
"size"}`` followed by so many bytes, the times (int64, microseconds), columns (uint16), rows
(uint16) and polarities (uint8) of all events; or a line ``{"refused"}``, ``{"missing"}``,
``{"error"}`` or ``{"limited"}``, the bytes that the system allows, which are too few; after such a
line it ends. Imports nothing of snn2hw.
"""
# pyright: basic

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

try:
    import resource
except ImportError:  # on Windows; the other side has a clock as well
    resource = None

# Each limit that this process may set: what it was given at its start, now and at most.
GIVEN: dict[int, tuple[int, int]] = {}
if resource is not None:
    GIVEN = {k: resource.getrlimit(k) for k in (resource.RLIMIT_AS, resource.RLIMIT_CPU)}

SECONDS, BYTES_A_SECOND = 10, 1_000_000  # of the processor, for a file, and more the larger it is
ROOM, ROOM_A_BYTE = 1 << 29, 64  # bytes of address space, likewise
MAPPED = Path("/proc/self/statm")
ES_HEADER, ES_EVENT, ES_LAP = 20, 5, 127  # bytes, bytes, and microseconds that one byte passes


class Refused(Exception):
    """A file that is not read; the text says why."""


def aedat4(path: Path) -> tuple[list[int], Iterator[np.ndarray]]:
    """Open an AEDAT 4 file: the size of its sensor, and arrays of t, x, y and on."""
    decoder = import_module("aedat").Decoder(str(path))
    streams = [k for k, v in decoder.id_to_stream().items() if v["type"] == "events"]
    if len(streams) != 1:
        raise Refused(f"holds {len(streams)} streams of events; save one of them alone with DV")
    told = decoder.id_to_stream()[streams[0]]
    found = (p["events"] for p in decoder if p["stream_id"] == streams[0])
    return [told["width"], told["height"]], found


def es(path: Path) -> tuple[list[int], Iterator[np.ndarray]]:
    """Open an Event Stream file of a DVS."""
    decoder = import_module("event_stream").Decoder(str(path))
    if decoder.type != "dvs":
        raise Refused(f"holds events of type {decoder.type}; those of type dvs are read")
    return [decoder.width, decoder.height], iter(decoder)


KINDS = {".aedat4": aedat4, ".es": es}


def read(asked: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Read one file whole."""
    path, kind = Path(asked["path"]), asked["kind"]
    size, pieces = KINDS[kind](path)
    count, taken = 0, []
    for piece in pieces:
        count += len(piece)
        if count > asked["events"]:
            raise Refused(f"holds more than {asked['events']:,} events, the most that are read")
        taken.append(piece)
    types = {"t": np.int64, "x": np.uint16, "y": np.uint16, "on": np.uint8}
    columns = {
        name: np.concatenate([np.empty(0, kind), *(p[name].astype(kind) for p in taken)])
        for name, kind in types.items()
    }
    if kind == ".es":
        check_end(path, columns["t"])
    content = [c.tobytes() for c in columns.values()]
    return {"bytes": sum(map(len, content)), "count": count, "size": size}, content


def check_end(path: Path, t: np.ndarray) -> None:
    """Refuse an Event Stream file whose last event is incomplete, which its decoder leaves out.

    Five bytes are an event, and one byte passes 127 us.
    """
    passed = int((np.diff(t, prepend=0) // ES_LAP).sum())
    left = path.stat().st_size - ES_HEADER - ES_EVENT * len(t) - passed
    if left > 0 and path.read_bytes()[-left:].strip(b"\xff"):
        raise Refused("ends within an event")


def limit(size: int) -> int | None:
    """Bound this process's memory and time by the size of a file, where the system can.

    Returns:
        The bytes of memory that the system allows, if those are fewer.
    """
    if resource is None:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + SECONDS + size / BYTES_A_SECOND)
    bound(resource.RLIMIT_CPU, seconds)
    if not MAPPED.exists():  # not on Linux
        return None
    held = int(MAPPED.read_text().split()[0]) * resource.getpagesize()
    return bound(resource.RLIMIT_AS, held + ROOM + ROOM_A_BYTE * size)


def bound(kind: int, wanted: int) -> int | None:
    """Set a limit of this process, but none above that of its start: the system refuses those.

    Returns:
        The limit of its start, if that is lower.
    """
    assert resource is not None
    least = min([wanted, *(n for n in GIVEN[kind] if n != resource.RLIM_INFINITY)])
    resource.setrlimit(kind, (least, GIVEN[kind][1]))
    return least if least < wanted else None


def answer(asked: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Read a file, or say why not."""
    allowed = None
    try:
        allowed = limit(Path(asked["path"]).stat().st_size)
        return read(asked)
    except Refused as error:
        return {"refused": str(error)}, []
    except ImportError as error:
        return {"missing": str(error.name)}, []
    except MemoryError:
        if allowed is not None:
            return {"limited": allowed}, []
        return {"refused": "needs more memory than a file of its size may"}, []
    except BaseException as error:  # a panic of Rust is no Exception
        return {"error": str(error) or type(error).__name__}, []


def main() -> None:
    """Answer requests until one fails: what a bad file leaves behind in here is not known."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other side, which ends this
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        told, content = answer(json.loads(line))
        out.write(json.dumps(told).encode() + b"\n")
        if "bytes" not in told:
            return
        for piece in content:
            out.write(piece)
        out.flush()


if __name__ == "__main__":
    main()
