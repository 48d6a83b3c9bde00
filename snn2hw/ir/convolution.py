"""A convolution as its kernel: what it sums, sends and holds, without its matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.errors import UnsupportedError
from snn2hw.ir.arrays import frozen, size_of

Pair = tuple[int, int]
Floats = NDArray[np.float64]

# How many entries a matrix may have that a few stored weights make: a base, and for each of them.
MOST_ENTRIES, ENTRIES_A_WEIGHT = 1 << 25, 1 << 12
MOST_SYNAPSES = 1 << 27  # of any convolution that is unrolled


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """Cross-correlation as in PyTorch and NIR: ``weight[out, in / groups, kh, kw]``.

    ``input_shape`` is ``(C, H, W)``; stride, padding and dilation are ``(vertical, horizontal)``.
    """

    weight: NDArray[Any]
    input_shape: tuple[int, int, int]
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight))
        if self.weight.ndim != 4 or len(self.input_shape) != 3:
            raise ValueError(f"conv weight must be [out, in, kh, kw], got {self.weight.shape}")
        out, into = self.weight.shape[:2]
        if self.groups < 1 or out % self.groups or into * self.groups != self.input_shape[0]:
            raise ValueError(
                f"conv weight {self.weight.shape} with {self.groups} groups does not match "
                f"{self.input_shape[0]} input channels"
            )
        if min(*self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise ValueError("conv stride and dilation must be positive, padding not negative")
        if min(self.output_shape) < 1:
            raise ValueError(f"conv kernel is larger than its padded input {self.input_shape}")

    @property
    def kind(self) -> str:
        """Name used in files and reports."""
        return "conv"

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Shape ``(C, H, W)`` of the result."""
        sides = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                self.input_shape[1:],
                self.weight.shape[2:],
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        ]
        return (self.weight.shape[0], sides[0], sides[1])


def same_padding(weight: NDArray[Any], dilation: Pair = (1, 1)) -> tuple[NDArray[Any], Pair]:
    """Return kernel and padding with which an image keeps its size at stride 1.

    An even kernel pads one more at the end, as in PyTorch. Our convolutions pad both ends alike,
    so that it gets a row of zeros in front.

    Raises:
        ValueError: an even kernel is dilated.
    """
    for axis, step in ((2, dilation[0]), (3, dilation[1])):
        if step * (weight.shape[axis] - 1) % 2:
            if step != 1:
                raise ValueError("'same' padding of an even kernel needs dilation 1")
            front = [(0, 0)] * 4
            front[axis] = (1, 0)
            weight = np.pad(weight, front)
    spans = [d * (k - 1) // 2 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    return weight, (spans[0], spans[1])


def of_groups(conv: Conv, groups: int) -> NDArray[Any]:
    """Return the weights as of fewer groups, with zeros between what groups kept apart.

    Args:
        conv: the convolution.
        groups: a divisor of its groups.

    Returns:
        ``[out, in / groups, kh, kw]``.
    """
    out, into, *sides = conv.weight.shape
    joined = conv.groups // groups
    wide = np.zeros((groups, joined, out // conv.groups, joined, into, *sides), conv.weight.dtype)
    apart = conv.weight.reshape(groups, joined, out // conv.groups, into, *sides)
    each = np.arange(joined)
    wide[:, each, :, each] = apart.swapaxes(0, 1)
    return wide.reshape(out, joined * into, *sides)


def synapse_count(conv: Conv) -> int:
    """Return how many non-zero synapses it has, each use of a weight counted."""
    down, across = (positions(np.arange(conv.weight.shape[2 + i]), i, conv)[1] for i in (0, 1))
    return int(down @ np.count_nonzero(conv.weight, axis=(0, 1)) @ across)


def row_sums(conv: Conv, sign: int) -> Floats:
    """Return ``[post]``: the sum of each neuron's positive (sign 1) or negative (-1) weights.

    Real numbers are added in the order in which a neuron's row of the matrix has them, so that the
    matrix gives the same bits.
    """
    if conv.weight.dtype.kind in "iu":  # whose sums are exact in any order
        of_sign = np.maximum(conv.weight, 0) if sign > 0 else np.minimum(conv.weight, 0)
        return _over_taps(conv, of_sign.sum(axis=1, dtype=np.int64))
    (rows, like_y), (columns, like_x) = (_seen(conv, axis) for axis in (0, 1))
    found = np.empty((len(conv.weight), len(rows), len(columns)))
    for i, j in np.ndindex(len(rows), len(columns)):
        seen = conv.weight[:, :, rows[i]][..., columns[j]].reshape(len(conv.weight), -1)
        there = seen > 0 if sign > 0 else seen < 0
        found[:, i, j] = sums_of_runs(seen[there], there.sum(axis=1))
    return found[:, like_y][:, :, like_x].reshape(-1)


def sums_of_runs(values: NDArray[Any], counts: NDArray[np.integer[Any]]) -> Floats:
    """Add values that lie one run behind the other, of so many each."""
    total = np.zeros(counts.size)
    filled = np.flatnonzero(counts)
    if filled.size:
        total[filled] = np.add.reduceat(values, (np.cumsum(counts) - counts)[filled])
    return total


def fan_in(conv: Conv) -> NDArray[np.int64]:
    """Return ``[post]``: how many non-zero synapses each neuron has."""
    return _over_taps(conv, np.count_nonzero(conv.weight, axis=1)).astype(np.int64)


def _over_taps(conv: Conv, taps: NDArray[Any]) -> Floats:
    """Sum for each output those of its channel's ``taps [out, kh, kw]`` that see the image."""
    (rows, like_y), (columns, like_x) = (_seen(conv, axis) for axis in (0, 1))
    found = np.stack([taps[:, r].sum(axis=1, dtype=np.float64) for r in rows], axis=1)
    found = np.stack([found[..., c].sum(axis=-1) for c in columns], axis=-1)
    return found[:, like_y][:, :, like_x].reshape(-1)


def _seen(conv: Conv, axis: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which taps outputs have inside the image, ``[kinds, taps]``, and each one's kind."""
    return _inside(
        conv.weight.shape[2 + axis], conv.output_shape[1 + axis], conv.input_shape[1 + axis],
        conv.stride[axis], conv.padding[axis], conv.dilation[axis],
    )  # fmt: skip


@lru_cache(maxsize=64)  # many layers are alike, and each is asked about often
def _inside(
    taps: int, outputs: int, pixels: int, stride: int, padding: int, dilation: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    first = np.arange(outputs) * stride - padding
    pixel = first[:, None] + np.arange(taps) * dilation
    inside = (pixel >= 0) & (pixel < pixels)
    kinds, like = np.unique(inside, axis=0, return_inverse=True)
    return frozen(kinds), frozen(like.reshape(-1))


def received(conv: Conv, sent: Floats) -> Floats:
    """Return ``[post]``: what arrives where every source ``[pre]`` sends a number.

    Where all of a channel send the same, outputs differ only by the taps that see the image.
    """
    weight = conv.weight.reshape(conv.groups, -1, *conv.weight.shape[1:])
    flat = sent.reshape(conv.input_shape[0], -1)
    if (flat == flat[:, :1]).all():
        each = flat[:, 0].reshape(conv.groups, 1, 1, -1)
        taps = each @ weight.reshape(*weight.shape[:3], -1)
        return _over_taps(conv, taps.reshape(-1, *conv.weight.shape[2:]))
    image = sent.reshape(conv.groups, -1, *conv.input_shape[1:])
    _, out_h, out_w = conv.output_shape
    total = np.zeros((conv.groups, weight.shape[1], out_h, out_w))
    for ky, kx in np.argwhere(weight.any(axis=(0, 1, 2))):
        (y, oy), (x, ox) = (places(conv, axis, k) for axis, k in ((0, ky), (1, kx)))
        total[..., oy, ox] += np.einsum(
            "goi,giyx->goyx", weight[..., ky, kx], image[..., y, x], optimize=True
        )
    return total.reshape(-1)


def matrix(conv: Conv) -> scipy.sparse.csr_array:
    """Unroll a convolution: one entry for each (output position, kernel weight) in the image.

    Raises:
        UnsupportedError: if that takes more memory than a common machine has.
    """
    count = synapse_count(conv)
    if count > min(MOST_SYNAPSES, MOST_ENTRIES + ENTRIES_A_WEIGHT * conv.weight.size):
        raise UnsupportedError(
            f"A convolution of {count:,} synapses is too large to be written out one by one.",
            "Make its image or its kernel smaller.",
        )
    _, height, width = conv.input_shape
    channels, out_h, out_w = conv.output_shape
    out, into, ky, kx = np.nonzero(conv.weight)
    source = (out // (channels // conv.groups)) * conv.weight.shape[1] + into
    oy, ny = positions(ky, 0, conv)
    ox, nx = positions(kx, 1, conv)
    ends = np.concatenate([[0], np.cumsum(ny * nx)])
    row, column = np.empty(ends[-1], np.int32), np.empty(ends[-1], np.int32)
    for a, b in _runs(ends):  # weights, a part at a time, each with all of its places
        each, place = _spread((ny * nx)[a:b])
        each += a
        y, x = oy[each] + place // nx[each], ox[each] + place % nx[each]
        row[ends[a] : ends[b]] = (out[each] * out_h + y) * out_w + x
        y = y * conv.stride[0] - conv.padding[0] + ky[each] * conv.dilation[0]
        x = x * conv.stride[1] - conv.padding[1] + kx[each] * conv.dilation[1]
        column[ends[a] : ends[b]] = (source[each] * height + y) * width + x
    values = np.repeat(conv.weight[out, into, ky, kx], ny * nx)
    return scipy.sparse.csr_array(
        scipy.sparse.coo_array(
            (values, (row, column)), shape=(size_of(conv.output_shape), size_of(conv.input_shape))
        )
    )


ENTRIES_AT_ONCE = 1 << 20


def _runs(ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut a list into runs that end after about so many entries, or after one item."""
    start = 0
    while start < ends.size - 1:
        stop = int(np.searchsorted(ends, ends[start] + ENTRIES_AT_ONCE, "right")) - 1
        stop = min(max(stop, start + 1), ends.size - 1)
        yield start, stop
        start = stop


def positions(
    taps: NDArray[np.int64], axis: int, conv: Conv
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each tap the first output that has it inside the image, and how many have."""
    size, out = conv.input_shape[1 + axis], conv.output_shape[1 + axis]
    offset = taps * conv.dilation[axis] - conv.padding[axis]
    first = np.maximum(0, -(offset // conv.stride[axis]))  # ceil of -offset / stride
    last = np.minimum(out - 1, (size - 1 - offset) // conv.stride[axis])
    return first, np.maximum(0, last - first + 1)


def places(conv: Conv, axis: int, tap: int) -> tuple[slice, slice]:
    """Return the pixels that a tap takes from inside the image, and the outputs that take them."""
    (first,), (many,) = positions(np.array([tap]), axis, conv)
    stride = conv.stride[axis]
    start = int(first) * stride - conv.padding[axis] + int(tap) * conv.dilation[axis]
    stop = start + (int(many) - 1) * stride + 1
    return slice(start, max(stop, start), stride), slice(int(first), int(first + many))


def _spread(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Repeat each index as often as it counts; return the indices and the number of each copy."""
    index = np.repeat(np.arange(counts.size), counts)
    starts = np.cumsum(counts) - counts
    return index, np.arange(index.size) - starts[index]


def fan_out(conv: Conv) -> NDArray[np.int64]:
    """Return ``[pre]``: how many non-zero synapses one spike of each source neuron reaches.

    A pixel meets the taps with which an output looks at it.
    """
    into = conv.weight.shape[1]
    there = (conv.weight != 0).reshape(conv.groups, -1, into, *conv.weight.shape[2:])
    taps = there.sum(1).reshape(-1, *conv.weight.shape[2:])
    met = [
        _met(n, out, k, s, p, d)
        for n, out, k, s, p, d in zip(
            conv.input_shape[1:], conv.output_shape[1:], conv.weight.shape[2:], conv.stride,
            conv.padding, conv.dilation, strict=True,
        )
    ]  # fmt: skip
    return np.einsum("cij,iy,jx->cyx", taps.astype(np.int64), *met, optimize=True).reshape(-1)


def _met(
    size: int, out: int, taps: int, stride: int, padding: int, dilation: int
) -> NDArray[np.int64]:
    """Say of each tap and each place whether an output has this tap there: ``[taps, size]``."""
    first = np.arange(size) + padding - dilation * np.arange(taps)[:, None]
    there = (first % stride == 0) & (first >= 0) & (first < stride * out)
    return there.astype(np.int64)
