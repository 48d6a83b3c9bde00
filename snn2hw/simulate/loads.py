# pyright: basic
"""How many synapses of each core an event meets: what counting needs, whatever the chip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.compiled import compiled
from snn2hw.ir.placement import Slice
from snn2hw.ir.synapses import Conv, Dense, Sparse, Synapses

EXACT = 1 << 24  # below, sums of whole numbers are exact in float32


def met(synapses: Synapses, slices: Sequence[Slice], *, zeros: bool = False) -> NDArray[np.int64]:
    """Return how many synapses in each slice of the target layer a source neuron has.

    Args:
        synapses: the connection, which is not unrolled.
        slices: of the layer that it ends in; they tile it.
        zeros: count weights of zero too, where the form holds them.

    Returns:
        ``[slices, pre]``.
    """
    starts = np.array([s.start for s in slices])
    match synapses:
        case Dense():
            there = np.ones_like(synapses.weight, bool) if zeros else synapses.weight != 0
            return np.add.reduceat(there.astype(np.int64), starts, axis=0)
        case Sparse():
            row = np.repeat(np.arange(synapses.indptr.size - 1), np.diff(synapses.indptr))
            part = np.searchsorted(starts, row, side="right") - 1
            there = np.ones_like(synapses.weight, bool) if zeros else synapses.weight != 0
            at = part[there] * synapses.pre_size + synapses.indices[there]
            found = np.bincount(at, minlength=len(slices) * synapses.pre_size)
            return found.reshape(len(slices), -1)
        case Conv():
            there = np.ones_like(synapses.weight, bool) if zeros else synapses.weight != 0
            channels, height, width = synapses.output_shape
            part = np.searchsorted(starts, np.arange(channels * height * width), side="right") - 1
            total = np.zeros((len(slices), *synapses.input_shape), np.int64)
            at = (synapses.stride, synapses.padding, synapses.dilation)
            shape = part.reshape(channels, height, width)
            _met_by_kernel(there, at, channels // synapses.groups, shape, total)
            return total.reshape(len(slices), -1)
        case _:
            assert_never(synapses)


@compiled(nogil=True)
def _met_by_kernel(there, at, members, part, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add each tap of each output ``part [O, Y, X]`` to the pixel that it looks at."""
    (sy, sx), (py, px), (dy, dx) = at
    _, into, taps_y, taps_x = there.shape
    _, _, high, wide = total.shape
    channels, height, width = part.shape
    for o in range(channels):
        first = (o // members) * into
        for y in range(height):
            for x in range(width):
                row = total[part[o, y, x]]
                for ky in range(taps_y):
                    iy = y * sy - py + ky * dy
                    if not 0 <= iy < high:
                        continue
                    for kx in range(taps_x):
                        ix = x * sx - px + kx * dx
                        if not 0 <= ix < wide:
                            continue
                        for i in range(into):
                            if there[o, i, ky, kx]:
                                row[first + i, iy, ix] += 1


def loads(synapses_met: NDArray[np.int64], sent: NDArray[Any]) -> NDArray[np.float64]:
    """Count the synapses that events meet in each slice: ``[slices, N, T]``.

    Args:
        synapses_met: ``[slices, pre]``, as from ``met``.
        sent: how many events each source neuron had, ``[N, T, pre]``.
    """
    most = int(sent.max(initial=0)) * int(synapses_met.sum(axis=1).max(initial=0))
    kind = np.float32 if most < EXACT else np.float64
    flat = sent.reshape(-1, sent.shape[-1]).astype(kind)
    found = synapses_met.astype(kind) @ flat.T
    return found.reshape(-1, *sent.shape[:2]).astype(np.float64)
