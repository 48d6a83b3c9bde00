"""How many synapses of each core an event meets: what counting needs, whatever the chip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.placement import Slice, Span, owners
from snn2hw.ir.synapses import Conv, Dense, Sparse, Synapses, sizes

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
    part = owners([s.span for s in slices], sizes(synapses)[0])
    match synapses:
        case Dense():
            there = np.ones_like(synapses.weight, bool) if zeros else synapses.weight != 0
            order = np.argsort(part, kind="stable")  # every slice has neurons
            starts = np.searchsorted(part[order], np.arange(len(slices)))
            return np.add.reduceat(there[order].astype(np.int64), starts, axis=0)
        case Sparse():
            row = np.repeat(np.arange(synapses.indptr.size - 1), np.diff(synapses.indptr))
            there = np.ones_like(synapses.weight, bool) if zeros else synapses.weight != 0
            at = part[row[there]] * synapses.pre_size + synapses.indices[there]
            found = np.bincount(at, minlength=len(slices) * synapses.pre_size)
            return found.reshape(len(slices), -1)
        case Conv():
            return _met_by_kernel(synapses, slices, zeros=zeros)
        case _:
            assert_never(synapses)


def _met_by_kernel(conv: Conv, slices: Sequence[Slice], *, zeros: bool) -> NDArray[np.int64]:
    """Do it by rectangles: all places of one meet the same taps, in either direction by itself."""
    there = np.ones_like(conv.weight, bool) if zeros else conv.weight != 0
    _, height, width = conv.output_shape
    members, into = len(conv.weight) // conv.groups, conv.weight.shape[1]
    total = np.zeros((len(slices), *conv.input_shape), np.int64)
    for row, s in zip(total, slices, strict=True):
        for channels, y, x in _rectangles(s.span, height, width):
            down, across = _reached(conv, 0, y), _reached(conv, 1, x)
            for group in range(channels.start // members, (channels.stop - 1) // members + 1):
                first, last = group * members, (group + 1) * members
                own = slice(max(channels.start, first), min(channels.stop, last))
                taps = there[own].sum(axis=0, dtype=np.float64)
                row[group * into : (group + 1) * into] += (down.T @ taps @ across).astype(np.int64)
    return total.reshape(len(slices), -1)


def _rectangles(span: Span, height: int, width: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut neurons of an image into channels, rows and columns."""
    if span.stride == height * width:  # the same places of several channels
        for first, y, x in _rectangles(Span(span.start, span.stop), height, width):
            yield slice(first.start, first.start + span.repeats), y, x
        return
    for start in span.starts.tolist():
        yield from _rectangles_of_run(start, start + span.stop - span.start, height, width)


def _rectangles_of_run(
    start: int, stop: int, height: int, width: int
) -> Iterator[tuple[slice, slice, slice]]:
    """Cut neurons ``start`` to ``stop`` of an image into channels, rows and columns."""
    while start < stop:
        channel, place = divmod(start, height * width)
        y, x = divmod(place, width)
        whole = (stop - start) // (height * width) if place == 0 else 0
        if whole:
            found = (slice(channel, channel + whole), slice(0, height), slice(0, width))
        else:
            left = min(stop - start, height * width - place)
            lines = left // width if x == 0 else 0
            end = width if lines else min(width, x + left)
            found = (slice(channel, channel + 1), slice(y, y + max(lines, 1)), slice(x, end))
        yield found
        start += math.prod(part.stop - part.start for part in found)


def _reached(conv: Conv, axis: int, places: slice) -> NDArray[np.float64]:
    """Say of each tap and each pixel whether one of these places has it there: ``[taps, size]``."""
    tap = np.arange(conv.weight.shape[2 + axis])[:, None]
    place = np.arange(places.start, places.stop) * conv.stride[axis] - conv.padding[axis]
    pixel = place + tap * conv.dilation[axis]
    found = np.zeros((tap.size, conv.input_shape[1 + axis]))
    inside = (pixel >= 0) & (pixel < conv.input_shape[1 + axis])
    found[np.nonzero(inside)[0], pixel[inside]] = 1
    return found


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
