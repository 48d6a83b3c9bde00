"""Samples are independent, so a fast simulator runs some of them in each thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba

from snn2hw.ir.trace import Trace, join


def in_threads(
    samples: int,
    each: int,
    simulate: Callable[[slice], Trace],
    progress: Callable[[int, int], None] | None,
    memory: int,
) -> Trace:
    """Simulate samples in as many threads as Numba has, and put their traces together.

    Args:
        samples: how many there are.
        each: bytes of working arrays that one takes.
        simulate: runs some of them, in a kernel that releases Python's lock.
        progress: called with (samples done, samples).
        memory: bytes the working arrays may take.
    """
    threads = min(samples, numba.get_num_threads())
    batch = max(1, min(-(-samples // threads), memory // (each * threads)))
    pieces = [slice(start, start + batch) for start in range(0, samples, batch)]
    began, parts = time.perf_counter(), list[Trace]()
    with ThreadPoolExecutor(threads) as pool:
        for part in pool.map(simulate, pieces):
            parts.append(part)
            if progress:
                progress(min(len(parts) * batch, samples), samples)
    return join(parts, time.perf_counter() - began)
