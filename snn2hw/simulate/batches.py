"""Samples are independent, so a fast simulator runs some of them in each thread."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.compiled import threads_there
from snn2hw.ir.arrays import Shape, size_of

# Bytes that a workspace may leave for the next run: the system clears memory anew each time that it
# is asked for some, which is much of a short run.
SPARE = 64 << 20

Spare = list[dict[str, NDArray[Any]]]


class Workspace:
    """Arrays that are used again for the next samples, while they are in the cache.

    Args:
        held: arrays that another workspace has left.
    """

    def __init__(self, held: dict[str, NDArray[Any]] | None = None) -> None:
        self._held: dict[str, NDArray[Any]] = {} if held is None else held
        self._kept: dict[str, NDArray[Any]] = {}

    def take(self, name: str, shape: Shape, dtype: Any) -> NDArray[Any]:
        """Return the array of a name; what it holds is left from before."""
        size = size_of(shape)
        held = self._held.get(name)
        if held is None or held.size < size or held.dtype != dtype:
            held = self._held[name] = np.empty(size, dtype)
        return held[:size].reshape(shape)

    def keep(self, name: str, shape: Shape, dtype: Any) -> NDArray[Any]:
        """Return the array of a name, which is zero the first time and then as it was left."""
        if name not in self._kept:
            self._kept[name] = np.zeros(shape, dtype)
        return self._kept[name]

    def leave(self, spare: Spare) -> None:
        """Leave what nobody looks at any more for another workspace."""
        held, self._held = self._held, {}
        if sum(x.nbytes for x in held.values()) <= SPARE:
            spare.append(held)


def in_threads(
    samples: int,
    each: int,
    simulate: Callable[[slice, Workspace], None],
    progress: Callable[[int, int], None] | None,
    memory: int,
    spare: Spare,
) -> tuple[Sequence[Workspace], float]:
    """Simulate samples in as many threads as Numba has.

    Args:
        samples: how many there are.
        each: bytes of working arrays that one takes.
        simulate: runs some of them, in kernels that release Python's lock.
        progress: called with (samples done, samples).
        memory: bytes the working arrays of one thread may take; one sample is always run.
        spare: what earlier runs of the same network have left, and where this one leaves it.

    Returns:
        Workspaces with what is to be kept, and the seconds it took.
    """
    threads = min(samples, threads_there())
    batch = max(1, min(-(-samples // threads), memory // each))
    pieces = [slice(start, min(start + batch, samples)) for start in range(0, samples, batch)]
    spaces = [_workspace(spare) for _ in range(min(threads, len(pieces)))]
    free: queue.SimpleQueue[Workspace] = queue.SimpleQueue()
    for space in spaces:
        free.put(space)

    def work(piece: slice) -> int:
        space = free.get()
        try:
            simulate(piece, space)
        finally:
            free.put(space)
        return piece.stop

    began = time.perf_counter()
    if len(spaces) == 1:  # a thread more would only cost its start
        for piece in pieces:
            done = work(piece)
            if progress:
                progress(done, samples)
    else:
        with ThreadPoolExecutor(len(spaces)) as pool:
            for done in pool.map(work, pieces):
                if progress:
                    progress(done, samples)
    for space in spaces:
        space.leave(spare)
    return spaces, time.perf_counter() - began


def _workspace(spare: Spare) -> Workspace:
    try:
        return Workspace(spare.pop())
    except IndexError:
        return Workspace()
