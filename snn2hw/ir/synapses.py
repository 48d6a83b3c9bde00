"""Linear maps from one population to another: what a weight tensor is, in every stage.

The same three forms hold float weights (before quantization) and integers (after it). The
element order of a population is C order of its shape, channels first: ``[C, H, W]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn2hw.errors import UnsupportedError
from snn2hw.ir.arrays import Shape, frozen, size_of

Pair = tuple[int, int]

# How many entries a matrix may have that a few stored weights make: a base, and for each of them.
MOST_ENTRIES, ENTRIES_A_WEIGHT = 1 << 25, 1 << 12
MOST_SYNAPSES = 1 << 27  # of any convolution that is unrolled


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """All to all: ``weight[post, pre]`` over the flattened populations."""

    weight: NDArray[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight))
        if self.weight.ndim != 2:
            raise ValueError(f"dense weight must be [post, pre], got {self.weight.shape}")

    @property
    def kind(self) -> str:
        """Name used in files and reports."""
        return "dense"


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """A compressed-row matrix ``[post, pre]``: ``indptr [post + 1]``, ``indices``, ``weight``."""

    weight: NDArray[Any]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int32]
    pre_size: int

    def __post_init__(self) -> None:
        for name, dtype in (("weight", None), ("indices", np.int32), ("indptr", np.int32)):
            object.__setattr__(self, name, frozen(getattr(self, name), dtype))
        ends = self.indptr
        if self.weight.ndim != 1 or self.weight.shape != self.indices.shape:
            raise ValueError("sparse weight and indices must be vectors of one length")
        if ends.ndim != 1 or ends.size < 2 or ends[0] != 0 or ends[-1] != self.weight.size:
            raise ValueError("sparse indptr does not cover the weights")
        if (np.diff(ends) < 0).any():
            raise ValueError("sparse indptr must not decrease")
        if self.indices.size and not 0 <= self.indices.min() <= self.indices.max() < self.pre_size:
            raise ValueError("sparse index outside the source population")

    @property
    def kind(self) -> str:
        """Name used in files and reports."""
        return "sparse"


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


Synapses = Dense | Conv | Sparse


def identity(size: int, weight: Any = 1.0) -> Sparse:
    """Connect neuron i to neuron i with one weight."""
    return Sparse(
        weight=np.full(size, weight),
        indices=np.arange(size, dtype=np.int32),
        indptr=np.arange(size + 1, dtype=np.int32),
        pre_size=size,
    )


def diagonal(weight: NDArray[Any]) -> Sparse:
    """Connect neuron i to neuron i with a weight of its own; a zero connects nothing."""
    there = weight != 0
    ends = np.concatenate([[0], np.cumsum(there)]).astype(np.int32)
    return Sparse(weight[there], np.flatnonzero(there).astype(np.int32), ends, weight.size)


def from_matrix(matrix: Any) -> Sparse:
    """Wrap a SciPy sparse matrix ``[post, pre]``; explicit zeros are dropped."""
    rows: Any = sparse.csr_array(matrix)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    rows.sort_indices()
    return Sparse(rows.data, rows.indices, rows.indptr, int(rows.shape[1]))


def with_weight(synapses: Synapses, weight: NDArray[Any]) -> Synapses:
    """Return the same topology with other values."""
    return replace(synapses, weight=weight)


def whole_channels(keep: NDArray[np.integer[Any]], shape: Shape) -> NDArray[np.int64] | None:
    """Return the channels of an image that some of its elements are, in their order, or None."""
    if len(shape) < 2:
        return None
    each = size_of(shape[1:])
    first = keep[::each]
    channels = np.asarray(first // each, np.int64)
    whole = (channels[:, None] * each + np.arange(each)).reshape(-1)
    return channels if whole.size == keep.size and (whole == keep).all() else None


def rows(synapses: Synapses, keep: NDArray[np.integer[Any]]) -> Synapses:
    """Return the synapses of some of the neurons that receive; of whole channels, a kernel."""
    if isinstance(synapses, Dense):
        return Dense(synapses.weight[keep])
    if isinstance(synapses, Conv) and synapses.groups == 1:
        channels = whole_channels(keep, synapses.output_shape)
        if channels is not None:
            return replace(synapses, weight=synapses.weight[channels])
    return from_matrix(matrix(synapses)[keep])


def columns(synapses: Synapses, keep: NDArray[np.integer[Any]]) -> Synapses:
    """Return the synapses from some of the neurons that send; from whole channels, a kernel."""
    if isinstance(synapses, Dense):
        return Dense(synapses.weight[:, keep])
    if isinstance(synapses, Conv) and synapses.groups == 1:
        channels = whole_channels(keep, synapses.input_shape)
        if channels is not None:
            image = (channels.size, *synapses.input_shape[1:])
            return replace(synapses, weight=synapses.weight[:, channels], input_shape=image)
    return from_matrix(matrix(synapses).tocsc()[:, keep])


def sizes(synapses: Synapses) -> tuple[int, int]:
    """Return ``(post, pre)``, the number of neurons on either side."""
    match synapses:
        case Dense():
            return synapses.weight.shape[0], synapses.weight.shape[1]
        case Sparse():
            return synapses.indptr.size - 1, synapses.pre_size
        case Conv():
            return size_of(synapses.output_shape), size_of(synapses.input_shape)
        case _:
            assert_never(synapses)


def nonzeros(synapses: Synapses) -> int:
    """Return how many stored weights are not zero (a kernel is counted once)."""
    return int(np.count_nonzero(synapses.weight))


def reach(synapses: Synapses) -> int:
    """Return the largest sum of sizes of integer weights into one neuron."""
    size = np.abs(synapses.weight.astype(np.int64))
    match synapses:
        case Dense():
            total = size.sum(axis=1)
        case Sparse():
            total = np.diff(np.concatenate([[0], np.cumsum(size)])[synapses.indptr])
        case Conv():
            total = size.sum(axis=(1, 2, 3))
        case _:
            assert_never(synapses)
    return int(total.max(initial=0))


def synapse_count(synapses: Synapses) -> int:
    """Return how many non-zero synapses a map has, each use of a kernel's weight counted."""
    if not isinstance(synapses, Conv):
        return nonzeros(synapses)
    down, across = (
        _positions(np.arange(synapses.weight.shape[2 + axis]), axis, synapses)[1] for axis in (0, 1)
    )
    return int(down @ np.count_nonzero(synapses.weight, axis=(0, 1)) @ across)


def matrix(synapses: Synapses) -> Any:
    """Return the map as a ``scipy.sparse.csr_array [post, pre]`` without explicit zeros.

    Typed ``Any``: SciPy's own types say less than its documentation.
    """
    match synapses:
        case Dense():
            return sparse.csr_array(synapses.weight)
        case Sparse():
            rows = sparse.csr_array(
                (synapses.weight, synapses.indices, synapses.indptr), shape=sizes(synapses)
            )
            rows = rows.copy()
            rows.eliminate_zeros()
            return rows
        case Conv():
            return _conv_matrix(synapses)
        case _:
            assert_never(synapses)


def row_sums(synapses: Synapses, sign: int) -> NDArray[np.float64]:
    """Return ``[post]``: the sum of each neuron's positive (sign 1) or negative (-1) weights."""
    if isinstance(synapses, Conv):
        return _conv_sums(synapses, sign)
    if isinstance(synapses, Sparse):
        return _chosen_sums(synapses.weight, synapses.indptr, sign)
    rows = matrix(synapses)
    return _chosen_sums(rows.data, rows.indptr, sign)


def _chosen_sums(
    weight: NDArray[Any], ends: NDArray[np.integer[Any]], sign: int
) -> NDArray[np.float64]:
    chosen = weight * sign > 0
    ends = np.concatenate([[0], np.cumsum(chosen)])[ends]
    total = np.zeros(ends.size - 1)
    filled = np.flatnonzero(np.diff(ends))
    if filled.size:
        total[filled] = np.add.reduceat(weight[chosen], ends[filled])
    return total


def _conv_sums(conv: Conv, sign: int) -> NDArray[np.float64]:
    """Do it without the matrix: outputs that see the same part of the kernel have one sum."""
    channels, out_h, out_w = conv.output_shape
    (seen_y, like_y), (seen_x, like_x) = (_seen(conv, axis) for axis in (0, 1))
    found = np.empty((channels, len(seen_y), len(seen_x)))
    for i, y in enumerate(seen_y):
        for j, x in enumerate(seen_x):
            part = conv.weight[:, :, y, x].reshape(channels, -1)
            ends = np.arange(channels + 1) * part.shape[1]
            found[:, i, j] = _chosen_sums(part.reshape(-1), ends, sign)
    return found[:, like_y][:, :, like_x].reshape(channels * out_h * out_w)


def _seen(conv: Conv, axis: int) -> tuple[list[slice], NDArray[np.int64]]:
    """Return the runs of taps that outputs have inside the image, and which run each has."""
    size, out, step = conv.input_shape[1 + axis], conv.output_shape[1 + axis], conv.dilation[axis]
    at = np.arange(out) * conv.stride[axis] - conv.padding[axis]
    first = np.maximum(0, -(at // step))  # ceil of -at / step
    last = np.minimum(conv.weight.shape[2 + axis] - 1, (size - 1 - at) // step)
    ends = np.stack([first, np.maximum(first, last + 1)], axis=1)
    runs, like = np.unique(ends, axis=0, return_inverse=True)
    return [slice(int(a), int(b)) for a, b in runs], like.reshape(-1)


def received(synapses: Synapses, sent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``[post]``: what arrives where every source ``[pre]`` sends a number."""
    match synapses:
        case Dense():
            return synapses.weight @ sent
        case Sparse():
            post = np.repeat(np.arange(synapses.indptr.size - 1), np.diff(synapses.indptr))
            terms = synapses.weight * sent[synapses.indices]
            return np.bincount(post, terms, synapses.indptr.size - 1).astype(np.float64)
        case Conv():
            return _conv_received(synapses, sent.reshape(synapses.input_shape)).reshape(-1)
        case _:
            assert_never(synapses)


def _conv_received(conv: Conv, image: NDArray[np.float64]) -> NDArray[np.float64]:
    channels, out_h, out_w = conv.output_shape
    total = np.zeros((conv.groups, channels // conv.groups, out_h, out_w))
    image = image.reshape(conv.groups, -1, *image.shape[1:])
    weight = conv.weight.reshape(conv.groups, -1, *conv.weight.shape[1:])
    taps = np.argwhere(weight.any(axis=(0, 1, 2)))
    for ky, kx in taps:
        (oy, ny), (ox, nx) = (_positions(np.array(k), a, conv) for a, k in ((0, ky), (1, kx)))
        y = oy * conv.stride[0] - conv.padding[0] + ky * conv.dilation[0]
        x = ox * conv.stride[1] - conv.padding[1] + kx * conv.dilation[1]
        seen = image[:, :, y : y + ny * conv.stride[0] : conv.stride[0],
                     x : x + nx * conv.stride[1] : conv.stride[1]][:, :, :ny, :nx]  # fmt: skip
        total[:, :, oy : oy + ny, ox : ox + nx] += np.einsum(
            "goi,giyx->goyx", weight[:, :, :, ky, kx], seen, optimize=True
        )
    return total.reshape(channels, out_h, out_w)


def _conv_matrix(conv: Conv) -> sparse.csr_array:
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
    oy, ny = _positions(ky, 0, conv)
    ox, nx = _positions(kx, 1, conv)
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
    return sparse.csr_array(sparse.coo_array((values, (row, column)), shape=sizes(conv)))


ENTRIES_AT_ONCE = 1 << 20


def _runs(ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut a list into runs that end after about so many entries, or after one item."""
    start = 0
    while start < ends.size - 1:
        stop = int(np.searchsorted(ends, ends[start] + ENTRIES_AT_ONCE, "right")) - 1
        stop = min(max(stop, start + 1), ends.size - 1)
        yield start, stop
        start = stop


def _positions(
    taps: NDArray[np.int64], axis: int, conv: Conv
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each tap the first output that has it inside the image, and how many have."""
    size, out = conv.input_shape[1 + axis], conv.output_shape[1 + axis]
    offset = taps * conv.dilation[axis] - conv.padding[axis]
    first = np.maximum(0, -(offset // conv.stride[axis]))  # ceil of -offset / stride
    last = np.minimum(out - 1, (size - 1 - offset) // conv.stride[axis])
    return first, np.maximum(0, last - first + 1)


def _spread(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Repeat each index as often as it counts; return the indices and the number of each copy."""
    index = np.repeat(np.arange(counts.size), counts)
    starts = np.cumsum(counts) - counts
    return index, np.arange(index.size) - starts[index]


def fan_out(synapses: Synapses) -> NDArray[np.int64]:
    """Return ``[pre]``: how many non-zero synapses one spike of each source neuron reaches."""
    if isinstance(synapses, Conv):
        return _conv_fan_out(synapses)
    pattern = matrix(synapses)
    return np.bincount(pattern.indices, minlength=pattern.shape[1]).astype(np.int64)


def fan_in(synapses: Synapses) -> NDArray[np.int64]:
    """Return ``[post]``: how many non-zero synapses each neuron has."""
    there = (synapses.weight != 0).astype(np.int64)
    return row_sums(with_weight(synapses, there), 1).astype(np.int64)


def _conv_fan_out(conv: Conv) -> NDArray[np.int64]:
    """Do it without the matrix: a pixel meets the taps with which an output looks at it."""
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


def describe_shape(shape: Shape) -> str:
    """Write a shape the way reports do: ``16x14x14``."""
    return "x".join(str(n) for n in shape) or "scalar"
