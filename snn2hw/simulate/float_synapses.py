# pyright: basic
"""How spikes reach the neurons behind a connection, in a float network.

Spikes add their weights in the order of the neurons that send them, whichever way is taken, so the
sums are the same to the last bit. A convolution stays a kernel: the matrix of a large one would
fill the memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.compiled import compiled, numba
from snn2hw.ir.synapses import Conv, Synapses, matrix, synapse_count

SPREAD = 1 << 14  # values from which waking the other threads costs less than it saves
# A kernel with fewer weights that are not zero than this part of them, and not too many synapses,
# is written out: who follows the kernel adds its zeros too.
MOSTLY_ZERO, MOST_SYNAPSES = 16, 1 << 22


class Columns(NamedTuple):
    """The matrix ``[post, pre]`` by source: neuron j has ``ends[j]`` to ``ends[j + 1]``."""

    ends: NDArray[np.int64]
    targets: NDArray[np.int32]
    weight: NDArray[np.float64]


class Kernel(NamedTuple):
    """A convolution.

    Args:
        weight: ``[in, kh, kw, out / groups]``: from each channel.
        looks: height and width before, height and width behind, then vertical and horizontal
            stride, padding and dilation, and the channels before of a group: one array, as
            parallel loops take no tuples.
    """

    weight: NDArray[np.float64]
    looks: NDArray[np.int64]


Way = Columns | Kernel


def way_of(synapses: Synapses) -> Way:
    """Return how the spikes of a connection are delivered."""
    if isinstance(synapses, Conv):
        there = np.count_nonzero(synapses.weight)
        sparse = there * MOSTLY_ZERO < synapses.weight.size
        if not sparse or synapse_count(synapses) > MOST_SYNAPSES:
            return _kernel(synapses)
    columns = matrix(synapses).tocsc()
    return Columns(
        columns.indptr.astype(np.int64),
        columns.indices.astype(np.int32),
        columns.data.astype(np.float64),
    )


def _kernel(conv: Conv) -> Kernel:
    out, members, *taps = conv.weight.shape
    grouped = conv.weight.reshape(conv.groups, out // conv.groups, members, *taps)
    weight = grouped.transpose(0, 2, 3, 4, 1).reshape(-1, *taps, out // conv.groups)
    looks = (
        *conv.input_shape[1:], *conv.output_shape[1:], *conv.stride, *conv.padding,
        *conv.dilation, members,
    )  # fmt: skip
    return Kernel(np.ascontiguousarray(weight, np.float64), np.array(looks, np.int64))


def deliver(sent: NDArray[np.float64], way: Way, total: NDArray[np.float64]) -> None:
    """Add what ``sent [N, pre]`` brings to ``total [N, post]``."""
    many = sent.size >= SPREAD
    if isinstance(way, Columns):
        (_columns_of_many if many else _columns_of_few)(sent, *way, total)
    else:
        (_kernel_of_many if many else _kernel_of_few)(sent, *way, total)


@compiled()
def _columns(sent, ends, targets, weight, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for j in range(sent.size):
        value = sent[j]
        if value != 0.0:
            for k in range(ends[j], ends[j + 1]):
                total[targets[k]] += value * weight[k]


@compiled()
def _columns_of_few(sent, ends, targets, weight, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for n in range(sent.shape[0]):
        _columns(sent[n], ends, targets, weight, total[n])


@compiled(parallel=True)
def _columns_of_many(sent, ends, targets, weight, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for n in numba.prange(sent.shape[0]):
        _columns(sent[n], ends, targets, weight, total[n])


@compiled()
def _kernel_row(sent, weight, looks, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    height, width, rows, columns = looks[0], looks[1], looks[2], looks[3]
    members = looks[10]
    each, place = weight.shape[3], rows * columns
    for j in range(sent.size):
        value = sent[j]
        if value == 0.0:
            continue
        channel, y, x = j // (height * width), j // width % height, j % width
        first = channel // members * each * place
        for a in range(weight.shape[1]):
            row = _behind(y, a, looks[4], looks[6], looks[8], rows)
            for b in range(weight.shape[2] if row >= 0 else 0):
                column = _behind(x, b, looks[5], looks[7], looks[9], columns)
                if column >= 0:
                    at = first + row * columns + column
                    for o in range(each):
                        total[at + o * place] += value * weight[channel, a, b, o]


@compiled()
def _behind(at, tap, stride, padding, dilation, many):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the row or column behind that a tap joins to this one before, or -1."""
    found = at + padding - tap * dilation
    if found < 0 or found % stride or found // stride >= many:
        return -1
    return found // stride


@compiled()
def _kernel_of_few(sent, weight, looks, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for n in range(sent.shape[0]):
        _kernel_row(sent[n], weight, looks, total[n])


@compiled(parallel=True)
def _kernel_of_many(sent, weight, looks, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for n in numba.prange(sent.shape[0]):
        _kernel_row(sent[n], weight, looks, total[n])
