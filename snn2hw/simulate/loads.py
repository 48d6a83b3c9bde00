"""How many synapses of each core an event meets: what counting needs, whatever the chip.

A layer that is cut by channels is on cores that all hear every neuron of the layer before, so
what each neuron meets on each core would take memory for cores times neurons. But a core holds
rectangles of an image, and how many events were in a rectangle follows from a few sums over all
rows and columns up to its corners. So a convolution into many cores is held by corners.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, assert_never

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.ir.convolution import Pair
from snn2hw.ir.placement import Slice, Span, owners
from snn2hw.ir.synapses import Conv, Dense, Sparse, Synapses, sizes

FEW = 4  # slices for which it is less work to add up what each event meets than to sum images


class Image(NamedTuple):
    """Where events are summed over rows and columns: ``[height, width, channels]``.

    The sum at a row and a column is of events there and at those that lie a stride, two strides and
    so on before, in either direction.

    Args:
        shape: of the image.
        stride: of the sums, vertical and horizontal.
        place: where in it each source neuron is, ``[pre]``.
    """

    shape: tuple[int, int, int]
    stride: Pair
    place: NDArray[np.int32]


class SynapsesMet(NamedTuple):
    """How many synapses in each slice of a layer the events of source neurons meet.

    Args:
        table: what an event of a source neuron meets ``[slices, pre]``, by column (a SciPy
            ``csc_array``); or what the sums over an image are multiplied by ``[slices, places]``,
            by row (``csr_array``). Of int32; typed ``Any``, as SciPy's own types say less than its
            documentation.
        image: the image, if events are summed.
    """

    table: Any
    image: Image | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        parts = [self.table.indptr, self.table.indices, self.table.data]
        if self.image is not None:
            parts.append(self.image.place)
        return sum(x.nbytes for x in parts)

    def ordered(self, order: NDArray[np.int64]) -> SynapsesMet:
        """Return it of source neurons in another order ``[pre]``."""
        if self.image is None:
            return SynapsesMet(self.table[:, order])
        return SynapsesMet(self.table, self.image._replace(place=self.image.place[order]))


def met(
    synapses: Synapses, slices: Sequence[Slice], *, zeros: bool = False, each: bool = False
) -> SynapsesMet:
    """Return how many synapses in each slice of the target layer a source neuron has.

    Args:
        synapses: the connection, which is not unrolled.
        slices: of the layer that it ends in; they tile it.
        zeros: count weights of zero too, where the form holds them.
        each: hold it of each neuron, not as sums over an image.
    """
    if isinstance(synapses, Conv):
        return _met_by_kernel(synapses, slices, zeros, summed=len(slices) > FEW and not each)
    there = np.ones_like(synapses.weight, bool) if zeros else synapses.weight != 0
    post, pre = sizes(synapses)
    part = owners([s.span for s in slices], post)
    match synapses:
        case Dense():
            order = np.argsort(part, kind="stable")  # every slice has neurons
            starts = np.searchsorted(part[order], np.arange(len(slices)))
            found = np.add.reduceat(there[order], starts, axis=0, dtype=np.int32)
            table = scipy.sparse.csc_array(found)
        case Sparse():
            row = np.repeat(part, np.diff(synapses.indptr))
            ones = np.ones(np.count_nonzero(there), np.int32)
            at = (row[there], synapses.indices[there])
            table = scipy.sparse.coo_array((ones, at), (len(slices), pre)).tocsc()  # adds up
        case _:
            assert_never(synapses)
    return SynapsesMet(table)


def _met_by_kernel(
    conv: Conv, slices: Sequence[Slice], zeros: bool, *, summed: bool
) -> SynapsesMet:
    """Do it by rectangles: all places of one meet the same taps, in either direction by itself."""
    there = np.ones_like(conv.weight, bool) if zeros else conv.weight != 0
    _, height, width = conv.output_shape
    known: dict[tuple[int, int], _Taps] = {}  # many slices have the same channels
    places, counts, ends = list[NDArray[Any]](), list[NDArray[Any]](), [0]
    for s in slices:
        ends.append(ends[-1])
        for own, y, x in _rectangles(s.span, height, width):
            key = (own.start, own.stop)
            if key not in known:
                known[key] = _taps(conv, there, own)
            place, count = _met_in_rectangle(conv, known[key], y, x, summed)
            places.append(place)
            counts.append(count)
            ends[-1] += place.size
    parts = (np.concatenate(counts), np.concatenate(places), np.array(ends))
    table: Any = scipy.sparse.csr_array(parts, (len(slices), sizes(conv)[1]))
    table.sum_duplicates()  # a neuron may be heard in several rectangles of a slice
    channels, rows, columns = conv.input_shape
    place = np.arange(rows * columns * channels, dtype=np.int32)
    place = np.ascontiguousarray(place.reshape(-1, channels).T).reshape(-1)
    if summed:
        return SynapsesMet(table, Image((rows, columns, channels), conv.stride, place))
    return SynapsesMet(table.tocsc()[:, place])


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
    number = np.add.reduceat(there[channels], np.maximum(starts, 0), axis=0, dtype=np.int32)
    return _Taps(first * into, number.reshape(-1, *there.shape[2:]).astype(np.float64))


def _met_in_rectangle(
    conv: Conv, taps: _Taps, y: slice, x: slice, summed: bool
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the places that count for a rectangle, and how many synapses are met there.

    Args:
        conv: the kernel.
        taps: of the rectangle's channels.
        y: its rows.
        x: its columns.
        summed: whether sums are at the places; else events are.
    """
    channels, _, width = conv.input_shape
    rows, down = _looked_at(conv, 0, y, summed)
    columns, across = _looked_at(conv, 1, x, summed)
    count = (down.T @ taps.number @ across).astype(np.int32).reshape(-1)
    channel = taps.first + np.arange(len(taps.number))[:, None, None]
    place = (rows[:, None] * width + columns) * channels + channel
    some = np.flatnonzero(count)
    return place.reshape(-1)[some].astype(np.int32), count[some]


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


def _looked_at(
    conv: Conv, axis: int, places: slice, summed: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which pixels some places look at, and with which taps, in one direction.

    Returns:
        Pixels, and ``[taps, pixels]``: 1 where one of the places has a pixel at a tap. Of sums,
        only the two at the ends: 1 at the last pixel, and -1 a stride before the first.
    """
    size, stride = conv.input_shape[1 + axis], conv.stride[axis]
    place = np.arange(places.start, places.stop) * stride - conv.padding[axis]
    pixels, worth = list[NDArray[np.int64]](), list[NDArray[np.float64]]()
    for tap in range(conv.weight.shape[2 + axis]):
        found = place + tap * conv.dilation[axis]
        found = found[(found >= 0) & (found < size)]
        signs = np.ones(found.size)
        if summed and found.size:
            ends = np.array([found[-1], found[0] - stride])
            inside = ends >= 0
            found, signs = ends[inside], np.array([1.0, -1.0])[inside]
        pixels.append(found)
        worth.append(signs)
    some, which = np.unique(np.concatenate(pixels), return_inverse=True)
    found = np.zeros((len(pixels), some.size))
    found[np.repeat(np.arange(len(pixels)), [p.size for p in pixels]), which] = np.concatenate(
        worth
    )
    return some, found


def loads(synapses: SynapsesMet, sent: NDArray[Any]) -> NDArray[np.float64]:
    """Count the synapses that events meet in each slice: ``[slices, N, T]``.

    Args:
        synapses: how many one event meets.
        sent: how many events each source neuron had, ``[N, T, pre]``.
    """
    table, image = synapses
    flat = np.ascontiguousarray(sent.reshape(-1, sent.shape[-1]).T, np.float64)
    if image is not None:
        counted = np.empty_like(flat)
        counted[image.place] = flat
        whole = counted.reshape(*image.shape, -1)
        for axis, stride in enumerate(image.stride):
            along = np.moveaxis(whole, axis, 0)
            for first in range(stride):
                np.cumsum(along[first::stride], axis=0, out=along[first::stride])
        flat = counted
    found: NDArray[np.float64] = table.astype(np.float64) @ flat
    return found.reshape(-1, *sent.shape[:2])
