"""How long a call takes here."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

WARM, MOST, SECONDS = 3, 51, 2.0


class Timed(NamedTuple):
    """The median time of a call in microseconds, and of how many calls."""

    us: float
    calls: int


def timed(call: Callable[[], object], *, most: int = MOST, seconds: float = SECONDS) -> Timed:
    """Time a call, after it is warm.

    Args:
        call: what is timed.
        most: calls that are timed.
        seconds: after which no other call begins; five are timed in any case.
    """
    for _ in range(WARM):
        call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < most and (len(found) < 5 or time.perf_counter() < end):
        start = time.perf_counter()
        call()
        found.append(1e6 * (time.perf_counter() - start))
    return Timed(median(found), len(found))


def processor() -> str:
    """Return the name of this machine's processor, as far as the system says it."""
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        for line in told.splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
