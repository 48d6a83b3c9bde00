# pyright: basic
"""Dense layers of spikes on a processor: the work follows the spikes.

A product with a matrix of zeros and ones is a sum of rows. Where few entries are ones, to add those
rows takes less time than the product, forward and for the gradient of the weights; the gradient of
the spikes is a product of two full matrices, and stays one. Rows are added in one order whatever
the number of threads is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from snn2hw.compiled import compiled
from snn2hw.train.eager import eager
from snn2hw.train.threads import threads_of_torch

# Up to this share of ones rows are added; above, and in small layers, the product is as fast or
# faster (python tests/bench/ways.py). Weights that do not fit the second cache are slow to gather.
MOST_ONES, MOST_ONES_OF_LARGE, LARGE = 0.2, 0.1, 1 << 19
SMALLEST = 1 << 26  # products of two numbers
NARROWEST = 128  # outputs
ROWS_TOGETHER = 8
# So many rows of gradients stay in the cache while they are added to those of the weights.
BLOCK = 256


class Ones(NamedTuple):
    """Where a matrix ``[N, in]`` is one: in row n at ``at[ends[n]:ends[n + 1]]``."""

    ends: NDArray[np.int64]
    at: NDArray[np.int32]


@eager
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what ``torch.nn.functional.linear`` returns, but for the order of its sums.

    Args:
        x: ``[N, in]``; rows are added of no other shape.
        weight: ``[out, in]``.
        bias: ``[out]``, or None.
    """
    share = MOST_ONES if weight.numel() <= LARGE else MOST_ONES_OF_LARGE
    ones = ones_of(x, share) if _can(x, weight) else None
    if ones is None:
        return functional.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias, ones)


def _can(x: Tensor, weight: Tensor) -> bool:
    return (
        x.ndim == 2
        and x.shape[1] == weight.shape[1]
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and len(weight) >= NARROWEST
        and x.numel() * len(weight) >= SMALLEST
    )


def ones_of(x: Tensor, share: float) -> Ones | None:
    """Return where a matrix ``[N, in]`` is one; None if other numbers than 0 and 1 are in it.

    None too if more than ``share`` of it are ones.
    """
    rows = x.detach().contiguous().numpy()
    counts, others = np.empty((2, len(rows)), np.float32)
    with threads_of_torch():
        _count(rows, counts, others)
        if others.any() or counts.sum(dtype=np.float64) > share * rows.size:
            return None
        ends = np.concatenate([[0], counts.astype(np.int64).cumsum()])
        at = np.empty(ends[-1] + 1, np.int32)  # as one more is written than counts
        _list(rows, ends, at)
    return Ones(ends, at)


class Dense(nn.Linear):
    """A dense layer of spikes."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map ``[..., in]`` to ``[..., out]``."""
        return linear(input, self.weight, self.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, ones: Ones) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.ones, ctx.biased = ones, bias is not None
        found = x.new_empty(len(x), len(weight))
        first = weight.new_zeros(len(weight)) if bias is None else bias.detach()
        with threads_of_torch():
            _gather(ones.ends, ones.at, weight.detach().t().contiguous().numpy(), first.numpy(),
                    found.numpy())  # fmt: skip
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        grad = grads[0].contiguous()
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = grad @ weight
        if ctx.needs_input_grad[1]:
            of_weight = weight.new_zeros(weight.shape[::-1])
            with threads_of_torch():
                for low in range(0, len(grad), BLOCK):
                    _add(ctx.ones.ends[low : low + BLOCK + 1], ctx.ones.at,
                         grad[low : low + BLOCK].numpy(), of_weight.numpy())  # fmt: skip
            of_weight = of_weight.t()
        if ctx.biased and ctx.needs_input_grad[2]:
            of_bias = grad.sum(0)
        return of_x, of_weight, of_bias, None


_kernel = compiled(parallel=True)


# Sums of zeros and ones are the same in any order, so vectors may add them up.
@compiled(parallel=True, fastmath={"reassoc"})
def _count(rows, counts, others):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Sum up each row, and what it holds that is neither 0 nor 1: 0 if there is no such entry."""
    for n in numba.prange(len(rows)):
        row, count, other = rows[n], np.float32(0), np.float32(0)
        for k in range(len(row)):
            count += row[k]
            other += abs(row[k] * (row[k] - np.float32(1)))
        counts[n], others[n] = count, other


@_kernel
def _list(rows, ends, at):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Write down where each row is not zero; a branch would be guessed wrong often."""
    for n in numba.prange(len(rows)):
        end, last = np.uint64(ends[n]), np.uint64(ends[n + 1])
        for k in range(rows.shape[1]):
            if end < last:  # the next row's entries may be there already
                at[end] = k
            end += np.uint64(rows[n, k] != 0)


@_kernel
def _gather(ends, at, weight, bias, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill ``found [N, out]`` with the sums of the rows of ``weight [in, out]`` and the bias."""
    for n in numba.prange(len(found)):
        found[n] = bias
        _add_rows(weight, at[ends[n] : ends[n + 1]], found[n])


@_kernel
def _add(ends, at, grad, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add to ``found [in, out]``, for each one of some rows, the row of ``grad``."""
    starts = np.zeros(len(found) + 1, np.int64)
    for k in at[ends[0] : ends[-1]]:
        starts[k + 1] += 1
    starts = starts.cumsum()
    rows, to = np.empty(starts[-1], np.int32), starts.copy()
    for n in range(len(grad)):
        for k in at[ends[n] : ends[n + 1]]:
            rows[to[k]] = n
            to[k] += 1
    for k in numba.prange(len(found)):
        _add_rows(grad, rows[starts[k] : starts[k + 1]], found[k])


@numba.njit
def _add_rows(of, which, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    whole = len(which) // ROWS_TOGETHER * ROWS_TOGETHER
    for e in range(0, whole, ROWS_TOGETHER):
        a, b, c, d = of[which[e]], of[which[e + 1]], of[which[e + 2]], of[which[e + 3]]
        f, g, h, i = of[which[e + 4]], of[which[e + 5]], of[which[e + 6]], of[which[e + 7]]
        for k in range(len(total)):
            total[k] += ((a[k] + b[k]) + (c[k] + d[k])) + ((f[k] + g[k]) + (h[k] + i[k]))
    for e in range(whole, len(which)):
        a = of[which[e]]
        for k in range(len(total)):
            total[k] += a[k]
