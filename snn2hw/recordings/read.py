"""Reading a recording of any kind, by what its name ends with."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from snn2hw.errors import InputError, beyond_limit, limit_told, listed
from snn2hw.files import first_line, reading
from snn2hw.processes import Helper
from snn2hw.recordings.atis import read_bin, read_bs1, read_bs2
from snn2hw.recordings.prophesee import read_dat, read_raw
from snn2hw.recordings.recording import MOST_EVENTS, Events, Recording

_DECODER = Helper(Path(__file__).with_name("decoder.py"))
# By the clock, where the decoder's own limit, of the processor's time, does not end it.
SECONDS, BYTES_A_SECOND = 120, 1_000_000
HINT = "Is it complete, and the right file?"


def _decoded(package: str) -> Callable[[Path], Recording]:
    """Return a reader that has a package read a file in a process of its own."""

    def read(path: Path) -> Recording:
        if find_spec(package) is None:
            raise InputError(
                f"Reading {path} needs the package {package!r}, which is not installed.",
                'Run: pip install "snn2hw[events]"',
            )
        asked = {"path": str(path.absolute()), "kind": path.suffix.lower(), "events": MOST_EVENTS}
        told, content = _DECODER.ask(asked, SECONDS + path.stat().st_size // BYTES_A_SECOND)
        if "limited" in told:
            raise beyond_limit(path, told["limited"])
        if "refused" in told:
            raise InputError(f"{path} {told['refused']}.", HINT)
        if "missing" in told:
            raise InputError(f"Reading {path} needs the package {told['missing']!r}.")
        if "bytes" not in told:
            crashed = f"{package} crashed on it, or did not come to an end"
            why = first_line(ValueError(told.get("error", crashed)))
            hint = f"{HINT} {limit_told()}".rstrip()
            raise InputError(f"{path} is no recording that can be read: {why}.", hint)
        t, x, y, p = _columns(content, int(told["count"]))
        width, height = told["size"]
        return Recording(Events(t, p, y, x), (int(width), int(height)))

    return read


def _columns(content: bytes, count: int) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    at = 0
    for dtype in (np.dtype(np.int64), np.dtype(np.uint16), np.dtype(np.uint16), np.dtype(np.uint8)):
        found.append(np.frombuffer(content, dtype, count, at))
        at += dtype.itemsize * count
    return found


READERS: dict[str, Callable[[Path], Recording]] = {
    ".aedat4": _decoded("aedat"),
    ".bin": read_bin,
    ".bs1": read_bs1,
    ".bs2": read_bs2,
    ".dat": read_dat,
    ".es": _decoded("event_stream"),
    ".raw": read_raw,
}
# What else recordings come in, and what it is.
UNREAD = {
    ".aedat": "AEDAT 1 to 3", ".bag": "a ROS bag", ".csv": "text", ".h5": "HDF5",
    ".hdf5": "HDF5", ".mat": "MATLAB's", ".npy": "an array", ".txt": "text",
}  # fmt: skip


def is_recording(path: Path) -> bool:
    """Say whether a file's name ends like a recording's."""
    return path.suffix.lower() in READERS


def read_recording(path: Path) -> Recording:
    """Read the events of one file.

    Raises:
        InputError: it is of no kind in ``READERS``, damaged, or without events.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        kind = f", {UNREAD[suffix]}" if suffix in UNREAD else ""
        raise InputError(
            f"{path} is no recording that is read ({suffix or 'no ending'}{kind}); "
            f"known: {listed(READERS)}.",
            "Convert it, or store frames of event counts as x [N, S, *in] with numpy.savez.",
        )
    with reading(path, f"a {suffix} recording"):
        found = READERS[suffix](path)
        if not found.events.t.size:
            raise ValueError("it holds no events")
    return found
