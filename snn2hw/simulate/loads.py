"""How many synapses of each core an event meets: what counting needs, whatever the chip.

A neuron reaches few of the cores, so this is held sparsely: it takes as much memory as there are
pairs of a neuron and a core that hears it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, assert_never

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.ir.placement import Slice, Span, owners
from snn2hw.ir.synapses import Conv, Dense, Sparse, Synapses, sizes

EXACT = 1 << 24  # below, sums of whole numbers are exact in float32


class EventWorth(NamedTuple):
    """What an event of each element of a source adds to some sums, where it is not 0.

    An event of element i adds ``amount[k]`` to sum ``way[k]``, for k from ``ends[i]`` to
    ``ends[i + 1]``.

    Args:
        ends: ``[size + 1]``.
        way: ``[entries]``.
        amount: ``[entries]``.
        ways: how many sums there are.
    """

    ends: NDArray[np.int64]
    way: NDArray[np.int32]
    amount: NDArray[np.int32]
    ways: int

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.ends.nbytes + self.way.nbytes + self.amount.nbytes


def event_worth(ways: Sequence[Any], order: NDArray[np.int64]) -> EventWorth:
    """Put together what events of one source are worth.

    Args:
        ways: SciPy sparse arrays ``[some ways, size]``, as from ``met``.
        order: which element comes at each place of the order that is asked for, ``[size]``.
    """
    by_element: Any = scipy.sparse.vstack(ways, format="csc")[:, order]
    return EventWorth(
        by_element.indptr.astype(np.int64),
        by_element.indices.astype(np.int32),
        by_element.data.astype(np.int32),
        by_element.shape[0],
    )


def met(synapses: Synapses, slices: Sequence[Slice], *, zeros: bool = False) -> Any:
    """Return how many synapses in each slice of the target layer a source neuron has.

    Args:
        synapses: the connection, which is not unrolled.
        slices: of the layer that it ends in; they tile it.
        zeros: count weights of zero too, where the form holds them.

    Returns:
        ``[slices, pre]``, a ``scipy.sparse.csr_array`` of int32 without zeros. Typed ``Any``:
        SciPy's own types say less than its documentation.
    """
    match synapses:
        case Dense():
            there = np.ones_like(synapses.weight, bool) if zeros else synapses.weight != 0
            part = owners([s.span for s in slices], len(there))
            order = np.argsort(part, kind="stable")  # every slice has neurons
            starts = np.searchsorted(part[order], np.arange(len(slices)))
            found = np.add.reduceat(there[order], starts, axis=0, dtype=np.int32)
            return scipy.sparse.csr_array(found)
        case Sparse():
            part = owners([s.span for s in slices], synapses.indptr.size - 1)
            row = np.repeat(part, np.diff(synapses.indptr))
            there = np.ones_like(synapses.weight, bool) if zeros else synapses.weight != 0
            ones = np.ones(np.count_nonzero(there), np.int32)
            at = (row[there], synapses.indices[there])
            shape = (len(slices), synapses.pre_size)
            return scipy.sparse.coo_array((ones, at), shape).tocsr()  # which adds up
        case Conv():
            return _met_by_kernel(synapses, slices, zeros=zeros)
        case _:
            assert_never(synapses)


def _met_by_kernel(conv: Conv, slices: Sequence[Slice], *, zeros: bool) -> Any:
    """Do it by rectangles: all places of one meet the same taps, in either direction by itself."""
    there = np.ones_like(conv.weight, bool) if zeros else conv.weight != 0
    _, height, width = conv.output_shape
    known: dict[tuple[int, int], _Taps] = {}  # many slices have the same channels
    elements, counts, ends = list[NDArray[Any]](), list[NDArray[Any]](), [0]
    for s in slices:
        ends.append(ends[-1])
        for channels, y, x in _rectangles(s.span, height, width):
            own = (channels.start, channels.stop)
            if own not in known:
                known[own] = _taps(conv, there, channels)
            element, count = _met_in_rectangle(conv, known[own], y, x)
            elements.append(element)
            counts.append(count)
            ends[-1] += element.size
    found: Any = scipy.sparse.csr_array(
        (np.concatenate(counts), np.concatenate(elements), np.array(ends)),
        shape=(len(slices), sizes(conv)[1]),
    )
    found.sum_duplicates()  # a neuron may be heard in several rectangles of a slice
    return found


class _Taps(NamedTuple):
    """How many of some channels have each tap.

    Args:
        first: the first channel of the source that they listen to.
        number: ``[channels of the source, kh, kw]``.
    """

    first: int
    number: NDArray[np.float64]


def _taps(conv: Conv, there: NDArray[np.bool_], channels: slice) -> _Taps:
    """Count taps, which are ``there`` or not ``[out, in / groups, kh, kw]``, of some channels."""
    members, into = len(there) // conv.groups, there.shape[1]
    first = channels.start // members
    starts = np.arange(first, (channels.stop - 1) // members + 1) * members - channels.start
    count = np.add.reduceat(there[channels], np.maximum(starts, 0), axis=0, dtype=np.int32)
    return _Taps(first * into, count.reshape(-1, *there.shape[2:]).astype(np.float64))


def _met_in_rectangle(
    conv: Conv, taps: _Taps, y: slice, x: slice
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return which neurons send to a rectangle, and how many synapses each has there.

    Args:
        conv: the kernel.
        taps: of the rectangle's channels.
        y: its rows.
        x: its columns.
    """
    _, height, width = conv.input_shape
    rows, down = _reached(conv, 0, y)
    columns, across = _reached(conv, 1, x)
    count = (down.T @ taps.number @ across).astype(np.int32).reshape(-1)
    channels = taps.first + np.arange(len(taps.number))
    element = (channels[:, None, None] * height + rows[:, None]) * width + columns
    some = np.flatnonzero(count)
    return element.reshape(-1)[some].astype(np.int32), count[some]


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


def _reached(conv: Conv, axis: int, places: slice) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pixels that places hear, and whether one has it at a tap: ``[taps, pixels]``."""
    tap = np.arange(conv.weight.shape[2 + axis])[:, None]
    place = np.arange(places.start, places.stop) * conv.stride[axis] - conv.padding[axis]
    pixel = place + tap * conv.dilation[axis]
    inside = (pixel >= 0) & (pixel < conv.input_shape[1 + axis])
    heard, which = np.unique(pixel[inside], return_inverse=True)
    found = np.zeros((tap.size, heard.size))
    found[np.nonzero(inside)[0], which] = 1
    return heard, found


def loads(synapses_met: Any, sent: NDArray[Any]) -> NDArray[np.float64]:
    """Count the synapses that events meet in each slice: ``[slices, N, T]``.

    Args:
        synapses_met: ``[slices, pre]``, as from ``met``, or an array that is not sparse.
        sent: how many events each source neuron had, ``[N, T, pre]``.
    """
    most = int(sent.max(initial=0)) * int(synapses_met.sum(axis=1).max(initial=0))
    kind = np.float32 if most < EXACT else np.float64
    flat = np.ascontiguousarray(sent.reshape(-1, sent.shape[-1]).T, kind)
    found = synapses_met.astype(kind) @ flat
    return found.reshape(-1, *sent.shape[:2]).astype(np.float64)
