"""Linear maps from one population to another: what a weight tensor is, in every stage.

The same three forms hold float weights (before quantization) and integers (after it). The
element order of a population is C order of its shape, channels first: ``[C, H, W]``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, assert_never

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.ir import convolution
from snn2hw.ir.arrays import Shape, frozen, size_of
from snn2hw.ir.convolution import Conv, Pair


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
        if (ends[1:] < ends[:-1]).any():
            raise ValueError("sparse indptr must not decrease")
        if self.indices.size and not 0 <= self.indices.min() <= self.indices.max() < self.pre_size:
            raise ValueError("sparse index outside the source population")

    @property
    def kind(self) -> str:
        """Name used in files and reports."""
        return "sparse"


Synapses = Dense | Conv | Sparse
__all__ = [
    "Conv", "Dense", "Pair", "Sparse", "Synapses", "columns", "describe_shape", "diagonal",
    "fan_in", "fan_out", "from_matrix", "identity", "matrix", "nonzeros", "pattern", "reach",
    "received", "row_sums", "rows", "sizes", "synapse_count", "whole_channels", "with_weight",
]  # fmt: skip


def identity(size: int, weight: Any = 1.0) -> Sparse:
    """Connect neuron i to neuron i with one weight."""
    return Sparse(np.full(size, weight), *_one_to_one(size), size)


def diagonal(weight: NDArray[Any]) -> Sparse:
    """Connect neuron i to neuron i with a weight of its own; a zero connects nothing."""
    if weight.all():
        return Sparse(weight, *_one_to_one(weight.size), weight.size)
    there = weight != 0
    ends = np.concatenate([[0], np.cumsum(there)]).astype(np.int32)
    return Sparse(weight[there], np.flatnonzero(there).astype(np.int32), ends, weight.size)


@lru_cache(maxsize=1)  # many layers of one size follow each other
def _one_to_one(size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return ``indices`` and ``indptr`` that connect neuron i to neuron i."""
    ends = frozen(np.arange(size + 1, dtype=np.int32))
    return ends[:-1], ends


def from_matrix(matrix: Any) -> Sparse:
    """Wrap a SciPy sparse matrix ``[post, pre]``; explicit zeros are dropped."""
    rows: Any = scipy.sparse.csr_array(matrix)
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
    if isinstance(synapses, Conv):
        channels = whole_channels(keep, synapses.output_shape)
        if channels is not None:
            weight = convolution.of_groups(synapses, 1)[channels]
            return replace(synapses, weight=weight, groups=1)
    return from_matrix(matrix(synapses)[keep])


def columns(synapses: Synapses, keep: NDArray[np.integer[Any]]) -> Synapses:
    """Return the synapses from some of the neurons that send; from whole channels, a kernel."""
    if isinstance(synapses, Dense):
        return Dense(synapses.weight[:, keep])
    if isinstance(synapses, Conv):
        channels = whole_channels(keep, synapses.input_shape)
        if channels is not None:
            image = (channels.size, *synapses.input_shape[1:])
            weight = convolution.of_groups(synapses, 1)[:, channels]
            return replace(synapses, weight=weight, input_shape=image, groups=1)
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
    return convolution.synapse_count(synapses)


def matrix(synapses: Synapses) -> Any:
    """Return the map as a ``scipy.sparse.csr_array [post, pre]`` without explicit zeros.

    Typed ``Any``: SciPy's own types say less than its documentation.
    """
    match synapses:
        case Dense():
            return scipy.sparse.csr_array(synapses.weight)
        case Sparse():
            rows = scipy.sparse.csr_array(
                (synapses.weight, synapses.indices, synapses.indptr), shape=sizes(synapses)
            )
            rows = rows.copy()
            rows.eliminate_zeros()
            return rows
        case Conv():
            return convolution.matrix(synapses)
        case _:
            assert_never(synapses)


def pattern(synapses: Synapses) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return ``indptr [post + 1]`` and ``indices`` of ``matrix``: who hears whom, without weights.

    SciPy takes longer to wrap a small matrix than this takes to find its entries.
    """
    if isinstance(synapses, Dense):
        there = synapses.weight != 0
        counts = np.count_nonzero(there, axis=1)
        return np.concatenate([[0], np.cumsum(counts)]), np.nonzero(there)[1]
    if isinstance(synapses, Sparse) and synapses.weight.all():
        return synapses.indptr, synapses.indices
    rows = matrix(synapses)
    return rows.indptr, rows.indices


def row_sums(synapses: Synapses, sign: int) -> NDArray[np.float64]:
    """Return ``[post]``: the sum of each neuron's positive (sign 1) or negative (-1) weights."""
    weight = synapses.weight
    there = weight > 0 if sign > 0 else weight < 0
    match synapses:
        case Dense():
            return convolution.sums_of_runs(weight[there], there.sum(axis=1))
        case Sparse():
            ends = np.concatenate([[0], np.cumsum(there)])[synapses.indptr]
            return convolution.sums_of_runs(weight[there], np.diff(ends))
        case Conv():
            return convolution.row_sums(synapses, sign)
        case _:
            assert_never(synapses)


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
            return convolution.received(synapses, sent)
        case _:
            assert_never(synapses)


def fan_out(synapses: Synapses) -> NDArray[np.int64]:
    """Return ``[pre]``: how many non-zero synapses one spike of each source neuron reaches."""
    match synapses:
        case Dense():
            return np.count_nonzero(synapses.weight, axis=0).astype(np.int64)
        case Sparse():
            there = synapses.indices[synapses.weight != 0]
            return np.bincount(there, minlength=synapses.pre_size).astype(np.int64)
        case Conv():
            return convolution.fan_out(synapses)
        case _:
            assert_never(synapses)


def fan_in(synapses: Synapses) -> NDArray[np.int64]:
    """Return ``[post]``: how many non-zero synapses each neuron has."""
    if isinstance(synapses, Conv):
        return convolution.fan_in(synapses)
    there = (synapses.weight != 0).astype(np.int64)
    return row_sums(with_weight(synapses, there), 1).astype(np.int64)


def describe_shape(shape: Shape) -> str:
    """Write a shape the way reports do: ``16x14x14``."""
    return "x".join(str(n) for n in shape) or "scalar"
