"""How events reach the neurons behind a connection, in the fast simulator.

An event adds a column of the weight matrix. A kernel that is mostly zeros is written out as
columns of single synapses. Else its weights stay as they are: the places that an event reaches
through one row of the kernel are neighbours, so with the channels of a place side by side, in the
kernel as in the sums, that row is one run of memory, added with vector instructions. A dense layer
is the kernel of an image of one pixel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.compiled import compiled
from snn2hw.ir.synapses import Conv, Dense, Pair, Synapses, matrix

# Adding a run takes about as long as an eighth of its synapses one by one (make bench).
RUN_COSTS = 8

Ints = NDArray[np.int32]


class Columns(NamedTuple):
    """The matrix ``[post, pre]`` by source: neuron j has ``ends[j]`` to ``ends[j + 1]``."""

    ends: NDArray[np.int64]
    targets: Ints
    weight: Ints


class Kernel(NamedTuple):
    """A convolution: which part of its kernel goes where.

    Args:
        weight: ``[s, in, kh, taps * out / groups]`` without dilation. With a horizontal stride s a
            pixel meets every s-th column of the kernel; the last one comes first.
        rows: ``[height, kh]``: where a row of the kernel puts a pixel of a row, or -1.
        first: ``[width]``: where the first tap puts a pixel of a column, perhaps outside.
        phase: ``[width]``: which of the s parts of ``weight`` a pixel meets.
        out: height and width behind it.
        groups: of channels.
    """

    weight: Ints
    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    phase: NDArray[np.int64]
    out: Pair
    groups: int


Way = Columns | Kernel


def way_of(synapses: Synapses) -> Way:
    """Return the faster way to deliver events."""
    if isinstance(synapses, Dense | Conv):
        there = np.count_nonzero(synapses.weight)
        if there * RUN_COSTS >= synapses.weight.size:
            return kernel(synapses)
    return columns(synapses)


def columns(synapses: Synapses) -> Columns:
    """Write the synapses out, one by one."""
    by_source = matrix(synapses).tocsc()
    return Columns(
        by_source.indptr.astype(np.int64),
        by_source.indices.astype(np.int32),
        by_source.data.astype(np.int32),
    )


def kernel(synapses: Dense | Conv) -> Kernel:
    """Lay the weights out in runs."""
    conv = synapses
    if isinstance(conv, Dense):
        conv = Conv(conv.weight[:, :, None, None], (conv.weight.shape[1], 1, 1))
    out, into, *sides = conv.weight.shape
    (dy, dx), across, groups = conv.dilation, conv.stride[1], conv.groups
    high, wide = (d * (k - 1) + 1 for d, k in zip(conv.dilation, sides, strict=True))
    taps = -(-wide // across)
    whole = np.zeros((out, into, high, taps * across), np.int32)
    whole[:, :, ::dy, :wide:dx] = conv.weight
    split = whole.reshape(groups, out // groups, into, high, taps, across)[..., ::-1, :]
    weight = split.transpose(5, 0, 2, 3, 4, 1).reshape(across, groups * into, high, -1)
    height, width = conv.input_shape[1:]
    row = np.arange(height)[:, None] + conv.padding[0] - np.arange(high)
    inside = (
        (row >= 0) & (row % conv.stride[0] == 0) & (row // conv.stride[0] < conv.output_shape[1])
    )
    at = np.arange(width) + conv.padding[1]
    return Kernel(
        np.ascontiguousarray(weight),
        np.where(inside, row // conv.stride[0], -1),
        at // across - (taps - 1),
        at % across,
        conv.output_shape[1:],
        groups,
    )


def deliver(sent: Ints, way: Way, exponent: int, delay: int, span: Pair, arrived: Any) -> None:
    """Add to a span of ``arrived [N, T, post]`` what the events of ``delay`` steps before bring.

    Args:
        sent: payloads ``[N, T, pre]``, 0 where there is no event.
        way: the connection's synapses.
        exponent: shift of the sum of the connection, to the right if it is negative.
        delay: steps.
        span: first step, and the one behind the last.
        arrived: sums in 64 bits.
    """
    if isinstance(way, Columns):
        _by_columns(sent, way, exponent, delay, span, arrived)
    else:
        _by_kernel(sent, way, exponent, delay, span, arrived)


@compiled(nogil=True)
def _by_columns(sent, columns, exponent, delay, span, arrived):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    (ends, targets, weight), (begin, end) = columns, span
    samples, _, sources = sent.shape
    total = np.zeros((1, arrived.shape[2]), np.int64)
    for n in range(samples):
        for t in range(max(begin, delay), end):
            total[:] = 0
            for j in range(sources):
                payload = np.int64(sent[n, t - delay, j])
                if payload != 0:
                    for k in range(ends[j], ends[j + 1]):
                        total[0, targets[k]] += payload * weight[k]
            _arrive(total, 1, exponent, arrived[n, t])


@compiled(nogil=True)
def _by_kernel(sent, kernel, exponent, delay, span, arrived):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    weight, rows, first, phase, (out_h, out_w), groups = kernel
    (begin, end), (_, into, high, run) = span, weight.shape
    samples, height, width = sent.shape[0], rows.shape[0], first.size
    channels = arrived.shape[2] // (groups * out_h * out_w)
    taps = run // channels
    total = np.zeros((groups, out_h * out_w * channels), np.int64)
    for n in range(samples):
        for t in range(max(begin, delay), end):
            total[:] = 0
            for c in range(into):
                into_group = total[c // (into // groups)]
                for y in range(height):
                    for x in range(width):
                        payload = np.int64(sent[n, t - delay, (c * height + y) * width + x])
                        if payload != 0:
                            low = max(0, -first[x])
                            many = max(0, min(taps, out_w - first[x]) - low) * channels
                            for k in range(high):
                                if rows[y, k] >= 0:
                                    place = rows[y, k] * out_w + first[x] + low
                                    _add(
                                        into_group[place * channels :][:many],
                                        weight[phase[x], c, k, low * channels :][:many],
                                        payload,
                                    )
            _arrive(total, channels, exponent, arrived[n, t])


@compiled(nogil=True)
def _add(total, weight, payload):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for i in range(total.size):
        total[i] += payload * weight[i]


@compiled(nogil=True)
def _arrive(total, channels, exponent, arrived):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Shift sums ``[groups, places * channels]`` and add them, channels first."""
    groups, size = total.shape
    places = size // channels
    for g in range(groups):
        for c in range(channels):
            at = (g * channels + c) * places
            for p in range(places):
                value = total[g, p * channels + c]
                arrived[at + p] += value << exponent if exponent > 0 else value >> -exponent
