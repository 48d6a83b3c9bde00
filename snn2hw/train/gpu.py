# pyright: basic
"""The neuron's loop over time on a GPU: one pass over memory forward, one backward, in Triton.

A thread keeps the states of its neurons in registers through all time steps. What is computed is
written in ``neurons.py``; products and sums are rounded one by one, as on a processor. Triton comes
with PyTorch's builds for GPUs.
"""

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-not-found]
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

from snn2hw.train.kernels import ATAN, BOX, SIGMOID, TRIANGLE

BLOCK = 1024
# A product and a sum are two roundings, as in the definition.
APART = {"enable_fp_fusion": False}


def forward(
    current: Tensor, alpha: float, beta: float, constants: Any, keep: bool
) -> tuple[Tensor, Tensor]:
    """Run neurons from rest.

    Args:
        current: ``[T, ...]``, or ``[1, ...]`` for the same at each step; float32 or 16 bits.
        alpha: share of the current that survives a step.
        beta: share of the membrane that does.
        constants: a ``neurons.Constants``.
        keep: the membranes are needed.

    Returns:
        Spikes ``[T, ...]``, and the membranes before reset, float32 ``[T, ...]``; ``[0, ...]`` if
        nobody needs them.
    """
    current = current.contiguous()
    shape = (constants.steps, *current.shape[1:])
    spikes = torch.empty(shape, dtype=current.dtype, device=current.device)
    before = torch.empty(
        shape if keep else (0, *shape[1:]), dtype=torch.float32, device=current.device
    )
    _run(current, before, spikes, alpha, beta, constants, keep=keep, mean=False)
    return spikes, before


def rates(current: Tensor, alpha: float, beta: float, constants: Any) -> Tensor:
    """Return the mean over time of the spikes that ``forward`` gives for ``current [1, ...]``."""
    current = current.contiguous()
    found = torch.empty_like(current)
    _run(current, found, found, alpha, beta, constants, keep=False, mean=True)
    return found


def _run(
    current: Tensor,
    before: Tensor,
    spikes: Tensor,
    alpha: float,
    beta: float,
    c: Any,
    **kinds: bool,
) -> None:
    size = current[0].numel()
    kernel: Any = _forward
    if size:
        kernel[(triton.cdiv(size, BLOCK),)](
            current, before, spikes, size, alpha, beta, c.threshold, 1.0 / c.steps,
            steps=c.steps, still=len(current) < c.steps, subtracts=c.subtracts, block=BLOCK,
            **kinds, **APART,
        )  # fmt: skip


def backward(
    before: Tensor,
    grad: Tensor,
    alpha: float,
    beta: float,
    constants: Any,
    still: bool,
    learns: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the neurons' gradients back through time.

    Args:
        before: membranes before reset, ``[T, ...]``.
        grad: gradient of the spikes, ``[T, ...]``.
        alpha: as in ``forward``.
        beta: as in ``forward``.
        constants: a ``neurons.Constants``.
        still: the current was given once.
        learns: the gradients of the decays are needed.

    Returns:
        Gradients of the current, ``[T, ...]`` or ``[1, ...]``, of alpha and of beta.
    """
    grad, size = grad.contiguous(), before[0].numel()
    found = torch.empty(
        (1 if still else constants.steps, *before.shape[1:]), dtype=grad.dtype, device=grad.device
    )
    blocks = triton.cdiv(size, BLOCK)
    decays = before.new_zeros((2, blocks if learns else 0))
    kernel: Any = _backward
    if size:
        kernel[(blocks,)](
            before, grad, found, decays, size, alpha, beta, constants.threshold,
            steps=constants.steps, still=still, subtracts=constants.subtracts, kind=constants.kind,
            learns=learns, block=BLOCK, **APART,
        )  # fmt: skip
    by_alpha, by_beta = decays.double().sum(1)
    return found, by_alpha, by_beta


@triton.jit
def _after(v, threshold, subtracts: tl.constexpr):  # noqa: ANN001, ANN202
    """Return the membrane after reset."""
    return tl.where(v > threshold, v - threshold if subtracts else 0.0, v)


@triton.jit
def _slope(v, threshold, kind: tl.constexpr):  # noqa: ANN001, ANN202
    """What stands for the derivative of the spike: see ``neurons.SURROGATES``."""
    x = v / threshold - 1.0
    if kind == TRIANGLE_:
        found = 1.0 - tl.abs(x)
        found = tl.where(found < 0.0, 0.0, found)  # a maximum would make 0 of NaN
    elif kind == ATAN_:
        found = 1.0 / (1.0 + (PI_ * x) * (PI_ * x))
    elif kind == SIGMOID_:
        power = tl.exp(-4.0 * tl.abs(x))
        found = 4.0 * power / ((1.0 + power) * (1.0 + power))
    elif kind == BOX_:
        found = tl.where(tl.abs(x) < 0.5, 1.0, 0.0)
    else:
        wide = 1.0 + 10.0 * tl.abs(x)
        found = 1.0 / (wide * wide)
    return found / threshold


TRIANGLE_, ATAN_, SIGMOID_, BOX_ = (tl.constexpr(k) for k in (TRIANGLE, ATAN, SIGMOID, BOX))
PI_ = tl.constexpr(torch.pi)


@triton.jit
def _forward(  # noqa: ANN202
    current,  # noqa: ANN001
    before,  # noqa: ANN001
    spikes,  # noqa: ANN001
    size,  # noqa: ANN001
    alpha,  # noqa: ANN001
    beta,  # noqa: ANN001
    threshold,  # noqa: ANN001
    share,  # noqa: ANN001
    steps: tl.constexpr,
    still: tl.constexpr,
    subtracts: tl.constexpr,
    keep: tl.constexpr,
    mean: tl.constexpr,
    block: tl.constexpr,
):
    # Whole tensors may have more entries than 32 bits can count.
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    row, inside = at, at < size
    i = tl.zeros((block,), tl.float32)
    v = tl.zeros((block,), tl.float32)
    total = tl.zeros((block,), tl.float32)
    given = tl.load(current + at, mask=inside, other=0.0).to(tl.float32)
    for _ in range(steps):
        if not still:
            given = tl.load(current + row, mask=inside, other=0.0).to(tl.float32)
        i = alpha * i + given
        v = beta * v + i
        if keep:
            tl.store(before + row, v, mask=inside)
        fired = tl.where(v > threshold, 1.0, 0.0)
        if mean:
            total += fired
        else:
            tl.store(spikes + row, fired.to(spikes.dtype.element_ty), mask=inside)
        v = _after(v, threshold, subtracts)
        row += size
    if mean:
        tl.store(spikes + at, (total * share).to(spikes.dtype.element_ty), mask=inside)


@triton.jit
def _backward(  # noqa: ANN202
    before,  # noqa: ANN001
    grad,  # noqa: ANN001
    found,  # noqa: ANN001
    decays,  # noqa: ANN001
    size,  # noqa: ANN001
    alpha,  # noqa: ANN001
    beta,  # noqa: ANN001
    threshold,  # noqa: ANN001
    steps: tl.constexpr,
    still: tl.constexpr,
    subtracts: tl.constexpr,
    kind: tl.constexpr,
    learns: tl.constexpr,
    block: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    row, inside = at + tl.cast(size, tl.int64) * (steps - 1), at < size
    of_i = tl.zeros((block,), tl.float32)
    of_v = tl.zeros((block,), tl.float32)
    total = tl.zeros((block,), tl.float32)
    by_alpha = tl.zeros((block,), tl.float32)
    by_beta = tl.zeros((block,), tl.float32)
    for back in range(steps):
        v = tl.load(before + row, mask=inside, other=0.0)
        if not subtracts:
            of_v = tl.where(v > threshold, 0.0, of_v)
        given = tl.load(grad + row, mask=inside, other=0.0).to(tl.float32)
        of_v = beta * of_v + given * _slope(v, threshold, kind)
        of_i = of_v + alpha * of_i
        if still:
            total += of_i
        else:
            tl.store(found + row, of_i.to(found.dtype.element_ty), mask=inside)
        if learns:  # noqa: SIM102 - one is known when it compiles, the other is not
            if back < steps - 1:
                last = tl.load(before + row - size, mask=inside, other=0.0)
                flow = last
                if back < steps - 2:
                    older = tl.load(before + row - 2 * size, mask=inside, other=0.0)
                    flow = last - beta * _after(older, threshold, subtracts)
                by_alpha += of_i * flow
                by_beta += of_v * _after(last, threshold, subtracts)
        row -= size
    if still:
        tl.store(found + at, total.to(found.dtype.element_ty), mask=inside)
    if learns:
        tl.store(decays + tl.program_id(0), tl.sum(by_alpha))
        tl.store(decays + tl.num_programs(0) + tl.program_id(0), tl.sum(by_beta))
