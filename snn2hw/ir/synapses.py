"""Linear maps from one population to another: what a weight tensor is, in every stage.

The same three forms hold float weights (before quantization) and integers (after it). The
element order of a population is C order of its shape, channels first: ``[C, H, W]``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn2hw.errors import UnsupportedError
from snn2hw.ir.arrays import Shape, frozen, size_of

Pair = tuple[int, int]

# How many entries a matrix may have that a few stored weights make: a base, and for each of them.
MOST_ENTRIES, ENTRIES_A_WEIGHT = 1 << 25, 1 << 12
MOST_SYNAPSES = 1 << 27  # of any convolution that is unrolled
MOST_STEPS_A_PRODUCT = 1 << 28


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
    _, height, width = synapses.input_shape
    _, out_h, out_w = synapses.output_shape

    def uses(axis: int, size: int, out: int) -> NDArray[np.int64]:
        taps = np.arange(synapses.weight.shape[2 + axis]) * synapses.dilation[axis]
        at = np.arange(out)[:, None] * synapses.stride[axis] - synapses.padding[axis] + taps
        return ((at >= 0) & (at < size)).sum(axis=0)

    each = np.count_nonzero(synapses.weight, axis=(0, 1))
    return int(uses(0, height, out_h) @ each @ uses(1, width, out_w))


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


class Rows(NamedTuple):
    """Weights row by row: ``indices`` say from whom, ``indptr`` where rows begin and end."""

    weight: NDArray[Any]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int32]


def by_row(synapses: Synapses) -> Rows:
    """Return the map row by row, one row for each target neuron."""
    if isinstance(synapses, Sparse):
        return Rows(synapses.weight, synapses.indices, synapses.indptr)
    whole = matrix(synapses)
    return Rows(whole.data, whole.indices, whole.indptr)


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
    per_group = channels // conv.groups
    out, into, ky, kx = np.nonzero(conv.weight)
    source = (out // per_group) * conv.weight.shape[1] + into
    oy, ny = _positions(ky, 0, conv)
    ox, nx = _positions(kx, 1, conv)
    # Every weight with each of its output rows, and each of those with its output columns.
    weight, y = _spread(ny)
    y += oy[weight]
    nx_of = nx[weight]
    place, x = _spread(nx_of)
    weight, y = weight[place], y[place]
    x += ox[weight]
    row = (out[weight] * out_h + y) * out_w + x
    from_y = y * conv.stride[0] - conv.padding[0] + ky[weight] * conv.dilation[0]
    from_x = x * conv.stride[1] - conv.padding[1] + kx[weight] * conv.dilation[1]
    column = (source[weight] * height + from_y) * width + from_x
    values = conv.weight[out, into, ky, kx][weight]
    return sparse.csr_array(sparse.coo_array((values, (row, column)), shape=sizes(conv)))


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


def product(one: Any, other: Any) -> Any:
    """Join two linear maps ``[post, middle] @ [middle, pre]``.

    Raises:
        UnsupportedError: a few weights on either side would become a matrix without end.
    """
    before = np.bincount(one.indices, minlength=one.shape[1]).astype(float)
    steps = float(before @ np.diff(other.indptr))
    stored = one.nnz + other.nnz
    entries = min(steps, float(one.shape[0]) * other.shape[1])
    if entries > MOST_ENTRIES + 16 * stored or steps > MOST_STEPS_A_PRODUCT + 64 * stored:
        raise UnsupportedError(
            f"Linear maps of {one.nnz:,} and {other.nnz:,} weights would join to one of "
            f"{entries:,.0f}.",
            "Put neurons between them, or make what lies between smaller.",
        )
    return one @ other


def fan_out(synapses: Synapses) -> NDArray[np.int64]:
    """Return ``[pre]``: how many non-zero synapses one spike of each source neuron reaches."""
    if isinstance(synapses, Conv):
        return _conv_fan_out(synapses)
    pattern = matrix(synapses)
    return np.bincount(pattern.indices, minlength=pattern.shape[1]).astype(np.int64)


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
