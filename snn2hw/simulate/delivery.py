"""How events reach the neurons behind a connection, in the fast simulator.

An event adds a column of the weight matrix. Of a dense layer or a convolution, the weights from
one channel, through one tap of the kernel, to all channels of a place are a row: one run of
memory, in the weights as in the sums (``layout.py``), added with vector instructions. A dense layer
is a convolution over images of one place. There are two ways to add rows. To *scatter*: each event
adds its rows where they belong. To *gather*: each place that receives adds up its rows, eight at a
time in 16 bits, which is several times faster a row, but visits places that receive nothing. Which
is faster is decided by counting the events. A kernel that is mostly zeros is written out as single
synapses.
"""

# pyright: basic
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.compiled import compiled
from snn2hw.ir.synapses import Conv, Dense, Synapses, matrix
from snn2hw.simulate.batches import Workspace
from snn2hw.simulate.events import Events
from snn2hw.simulate.layout import outer

# Adding a run takes about as long as a sixteenth of its synapses one by one (make bench).
RUN_COSTS = 16
TOGETHER = 8  # rows that are added at a time
# What a row that is gathered saves, and what a place costs where rows are: the same unit (of about
# a nanosecond; make bench).
SAVED_BY_ROW, SAVED_BY_WEIGHT, A_PLACE = 1.5, 0.06, 100.0


class Columns(NamedTuple):
    """The matrix ``[post, pre]`` by source: neuron j has ``ends[j]`` to ``ends[j + 1]``."""

    ends: NDArray[np.int64]
    targets: NDArray[np.int32]
    weight: NDArray[np.int32]


class Rows(NamedTuple):
    """Runs of weights, and which place each tap of the kernel joins to which.

    Args:
        weight: ``[taps * channels + 1, out / groups]``; the last row is zero. 16 bits wide where
            ``TOGETHER`` of them add up in 16 bits, else 32.
        taps: ``[places behind, taps]``: the place that a tap looks at, or -1.
        ends: the joints of place p are ``ends[p]`` to ``ends[p + 1]``.
        joints: ``[joints, 2]``: the place behind, and the tap.
        groups: of channels.
    """

    weight: NDArray[np.signedinteger[Any]]
    taps: NDArray[np.int32]
    ends: NDArray[np.int64]
    joints: NDArray[np.int32]
    groups: int


Way = Columns | Rows


def way_of(synapses: Synapses, pre_channels: int, post_channels: int) -> Way:
    """Return the faster way to deliver events between populations in the inner order.

    Args:
        synapses: the connection's.
        pre_channels: of a place, where events come from.
        post_channels: of a place, where they arrive.
    """
    if isinstance(synapses, Dense | Conv):
        there = np.count_nonzero(synapses.weight)
        if there * RUN_COSTS >= synapses.weight.size:
            if isinstance(synapses, Dense):
                return dense_rows(synapses, pre_channels, post_channels)
            if (synapses.input_shape[0], len(synapses.weight)) == (pre_channels, post_channels):
                return conv_rows(synapses)
    return columns(synapses, pre_channels, post_channels)


def columns(synapses: Synapses, pre_channels: int, post_channels: int) -> Columns:
    """Write the synapses out, one by one."""
    whole = matrix(synapses).tocsr()
    post, pre = whole.shape
    by_source = whole[outer(post, post_channels)][:, outer(pre, pre_channels)].tocsc()
    return Columns(
        by_source.indptr.astype(np.int64),
        by_source.indices.astype(np.int32),
        by_source.data.astype(np.int32),
    )


def dense_rows(dense: Dense, pre_channels: int, post_channels: int) -> Rows:
    """Lay a dense layer out: one place behind, and a tap for each place before it."""
    post, pre = dense.weight.shape
    weight = dense.weight.T
    if post_channels not in (1, post):
        weight = weight[:, outer(post, post_channels)]
    if pre_channels not in (1, pre):
        weight = weight[outer(pre, pre_channels)]
    places = np.arange(pre // pre_channels, dtype=np.int32)
    return _rows(weight, places[None], pre // pre_channels, 1)


def conv_rows(conv: Conv) -> Rows:
    """Lay a convolution out."""
    out, _, high, wide = conv.weight.shape
    members = out // conv.groups
    # [groups, members, in, kh, kw] -> [taps, groups * in, members]
    split = conv.weight.reshape(conv.groups, members, -1, high * wide)
    weight = split.transpose(3, 0, 2, 1).reshape(-1, members)
    _, height, width = conv.input_shape
    y, x = (_looks(conv, axis) for axis in (0, 1))
    inside = (y[:, None, :, None] >= 0) & (x[None, :, None] >= 0)
    place = np.where(inside, y[:, None, :, None] * width + x[None, :, None], -1)
    return _rows(weight, place.reshape(-1, high * wide), height * width, conv.groups)


def _looks(conv: Conv, axis: int) -> NDArray[np.int64]:
    """Return which row or column each tap looks at from each of those behind, or -1."""
    many, side = conv.output_shape[1 + axis], conv.input_shape[1 + axis]
    first = np.arange(many) * conv.stride[axis] - conv.padding[axis]
    at = first[:, None] + np.arange(conv.weight.shape[2 + axis]) * conv.dilation[axis]
    return np.where((at >= 0) & (at < side), at, -1)


def _rows(weight: NDArray[Any], taps: NDArray[Any], places: int, groups: int) -> Rows:
    """Fit the numbers into their types, and turn ``taps [places behind, taps]`` around."""
    rows, width = weight.shape
    largest = int(np.abs(weight.astype(np.int64)).max(initial=0))
    dtype = np.int16 if largest * TOGETHER < 1 << 15 else np.int32
    held = np.zeros((rows + 1, width), dtype)
    held[:-1] = weight
    behind, tap = np.nonzero(taps >= 0)
    before = taps[behind, tap]
    order = np.argsort(before, kind="stable")
    ends = np.searchsorted(before[order], np.arange(places + 1))
    joints = np.stack([behind[order], tap[order]], axis=1).astype(np.int32)
    return Rows(held, taps.astype(np.int32), ends.astype(np.int64), joints, groups)


def deliver(
    events: Events,
    way: Way,
    exponent: int,
    arrived: NDArray[Any],
    begin: int,
    store: bool,
    space: Workspace,
) -> None:
    """Add what events bring to ``arrived [N, T, post]``, or, to ``store``, put it there.

    Sums are those of the type of ``arrived``; in 32 bits they wrap around.

    Args:
        events: of as many samples, and of some steps.
        way: the connection's synapses.
        exponent: shift of the sum of the connection, to the right if it is negative.
        arrived: what has arrived in each step.
        begin: the step in which the first events arrive.
        store: whether nothing has arrived before, whatever the array holds.
        space: for what is needed on the way.
    """
    span = (begin, begin + events.ends.shape[1])
    size = arrived.shape[2]
    if not store and events.count == 0:
        return
    scratch = space.take(f"scratch {arrived.dtype}", (1 if store else size,), arrived.dtype)
    how = (exponent, span, arrived, store, scratch)
    if isinstance(way, Columns):
        _by_columns(events, way, *how)
    elif _crowded(events, way):
        _gather(events, way, *how)
    else:
        _scatter(events, way, *how)


def _crowded(events: Events, way: Rows) -> bool:
    """Say whether the places behind have so many rows to add that they had better be gathered."""
    if events.value.size or way.groups > 1 or way.weight.dtype != np.int16:
        return False
    samples, steps, _ = events.ends.shape
    rows = events.count * len(way.joints) / (len(way.ends) - 1)
    saved = SAVED_BY_ROW + SAVED_BY_WEIGHT * way.weight.shape[1]
    return rows * saved >= A_PLACE * samples * steps * len(way.taps)


@compiled(nogil=True)
def _by_columns(events, way, exponent, span, arrived, store, scratch):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    (ends, element, value, _), (first, targets, weight) = events, way
    plain = value.size == 0
    for n in range(arrived.shape[0]):
        for t in range(span[0], span[1]):
            now = arrived[n, t]
            total = now if store else scratch
            total[:] = 0
            for e in range(ends[n, t - span[0], 0], ends[n, t - span[0], -1]):
                j = element[e]
                payload = np.int32(1) if plain else value[e]
                for k in range(first[j], first[j + 1]):
                    total[targets[k]] += payload * weight[k]
            _arrive(total, exponent, now, store)


@compiled(nogil=True)
def _scatter(events, way, exponent, span, arrived, store, scratch):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    (ends, element, value, channels), (weight, _, first, joints, groups) = events, way
    plain, width = value.size == 0, weight.shape[1]
    members = channels // groups
    for n in range(arrived.shape[0]):
        for t in range(span[0], span[1]):
            now, end = arrived[n, t], ends[n, t - span[0]]
            total = now if store else scratch
            total[:] = 0
            places = total.reshape((-1, width))
            for p in range(first.size - 1):
                for e in range(end[p], end[p + 1]):
                    c = element[e] - p * channels
                    group = c // members if groups > 1 else 0
                    payload = np.int32(1) if plain else value[e]
                    for k in range(first[p], first[p + 1]):
                        to = places[joints[k, 0] * groups + group]
                        row = weight[joints[k, 1] * channels + c]
                        for i in range(width):
                            to[i] += payload * row[i]
            _arrive(total, exponent, now, store)


@compiled(nogil=True)
def _arrive(total, exponent, arrived, store):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Shift sums and add them; those to store are shifted where they are."""
    if store:
        if exponent > 0:
            total <<= exponent
        elif exponent < 0:
            total >>= -exponent
    elif exponent > 0:
        arrived += total << exponent
    else:
        arrived += total >> -exponent


@compiled(nogil=True)
def _gather(events, way, exponent, span, arrived, store, scratch):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add eight rows at a time in 16 bits, which is the type of the weights, then their sum."""
    (ends, element, _, channels), (weight, taps, _, _, _) = events, way
    width, nothing = weight.shape[1], weight.shape[0] - 1
    rows = np.empty(nothing + TOGETHER, np.int64)
    for n in range(arrived.shape[0]):
        for t in range(span[0], span[1]):
            now = arrived[n, t].reshape((-1, width))
            for q in range(taps.shape[0]):
                many = _heard(ends[n, t - span[0]], element, taps[q], channels, nothing, rows)
                total = now[q] if store else scratch[:width]
                if many == 0:
                    total[:] = 0
                for k in range(0, many, TOGETHER):
                    a, b = weight[rows[k]], weight[rows[k + 1]]
                    c, d = weight[rows[k + 2]], weight[rows[k + 3]]
                    e, f = weight[rows[k + 4]], weight[rows[k + 5]]
                    g, h = weight[rows[k + 6]], weight[rows[k + 7]]
                    if k == 0:
                        for i in range(width):
                            total[i] = np.int16(
                                a[i] + b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i]
                            )
                    else:
                        for i in range(width):
                            total[i] += np.int16(
                                a[i] + b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i]
                            )
                _arrive(total, exponent, now[q], store)


@compiled(nogil=True)
def _heard(end, element, taps, channels, nothing, rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Write down the rows that a place adds up, and rows of nothing to a whole number of eights."""
    many = 0
    for a in range(taps.size):
        p = taps[a]
        if p >= 0:
            at = (a - p) * channels
            for i in range(end[p], end[p + 1]):
                rows[many] = at + element[i]
                many += 1
    while many % TOGETHER:
        rows[many] = nothing
        many += 1
    return many
