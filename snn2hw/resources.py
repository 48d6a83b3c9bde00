"""What this machine has left."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from snn2hw.errors import InputError, sized

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
# Whoever needs less is not held up by the question, which takes a tenth of a millisecond.
SMALL = 16 << 20


def memory_left() -> float:
    """Return the bytes of memory that may still be taken; infinity where nobody says."""
    return min(_of_machine(), _of_group())


def check_memory(need: float, what: str, way_out: str | Callable[[float], str]) -> None:
    """Refuse what does not fit into memory, before the system ends it without a word.

    Args:
        need: bytes.
        what: needs them, as the start of a sentence.
        way_out: what to do instead; it may depend on the bytes that are free.

    Raises:
        InputError: there are fewer bytes.
    """
    left = math.inf if need < SMALL else memory_left()
    if need > left:
        raise InputError(
            f"{what} needs {sized(need)} of memory, and {sized(left)} are free.",
            way_out if isinstance(way_out, str) else way_out(left),
        )


def _of_machine() -> float:
    try:
        for line in MEMINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return 1024.0 * int(value.split()[0])
    except (OSError, ValueError, IndexError):
        pass
    return math.inf


def _of_group() -> float:
    """Return what a container's limit leaves (cgroup 2); its caches can be given back."""
    try:
        most = int((GROUP / "memory.max").read_text())
        taken = int((GROUP / "memory.current").read_text())
        rows = (line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
        return float(most - taken + {k: int(v) for k, v in rows}.get("inactive_file", 0))
    except (OSError, ValueError):
        return math.inf
