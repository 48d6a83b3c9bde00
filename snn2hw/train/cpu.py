# pyright: basic
"""The neuron's loop over time on a processor: tensors in, tensors out, ``kernels.py`` between."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn2hw.train import kernels
from snn2hw.train.threads import threads_of_torch


def forward(
    current: Tensor, alpha: float, beta: float, constants: Any, keep: bool, side: int = 1
) -> tuple[Tensor, Tensor]:
    """Run neurons from rest.

    Args:
        current: ``[T, ...]``, or ``[1, ...]`` for the same at each step; float32, float64 or
            bfloat16.
        alpha: share of the current that survives a step.
        beta: share of the membrane that does.
        constants: a ``neurons.Constants``.
        keep: gradients are wanted.
        side: of the squares that spikes are averaged over, 1 for none. With squares the current is
            ``[T, B, H, W, C]``, and H and W are multiples of the side.

    Returns:
        Spikes ``[T, ...]`` or their averages ``[T, B, H / side, W / side, C]``, and what
        ``backward`` needs: the current.
    """
    current = current.contiguous()
    scalars, steps = _scalars(alpha, beta, constants, current.dtype), constants.steps
    found = torch.empty((steps, *_averages(current.shape[1:], side)), dtype=current.dtype)
    common = _rows(current), steps, scalars, constants.subtracts
    with threads_of_torch():
        if side == 1:
            kernels.forward(*common, kernels.block_of(steps), _rows(found))
        else:
            kernels.forward_averaged(*common, (side, *current.shape[-2:]), _rows(found))
    return found, current if keep else current[:0]


def rates(current: Tensor, alpha: float, beta: float, constants: Any) -> Tensor:
    """Return the mean over time of the spikes that ``forward`` gives for ``current [1, ...]``."""
    current = current.contiguous()
    found = torch.empty_like(current)
    *_, one, _ = scalars = _scalars(alpha, beta, constants, current.dtype)
    each = one / type(one)(constants.steps)
    with threads_of_torch():
        kernels.rates(
            _rows(current), constants.steps, scalars, constants.subtracts, each, _rows(found)
        )
    return found


def backward(
    current: Tensor,
    grad: Tensor,
    alpha: float,
    beta: float,
    constants: Any,
    still: bool,
    learns: bool,
    side: int = 1,
) -> tuple[Tensor, float, float]:
    """Return the gradients of the current, of alpha and of beta.

    Args:
        current: what ``forward`` kept.
        grad: gradient of what it returned, in the precision of the current.
        alpha: as in ``forward``.
        beta: as in ``forward``.
        constants: as in ``forward``.
        still: the current is that of every step: its gradient is the sum of theirs, ``[1, ...]``.
        learns: the gradients of alpha and beta are wanted; else they are 0.
        side: as in ``forward``.
    """
    steps, neurons = constants.steps, math.prod(current.shape[1:])
    found = torch.empty((1 if still else steps, *current.shape[1:]), dtype=grad.dtype)
    width = kernels.block_of(steps) if side == 1 else side * math.prod(current.shape[-2:])
    decays = np.zeros((-(-neurons // width) if learns else 0, 2))
    scalars = _scalars(alpha, beta, constants, current.dtype)
    common = (
        _rows(current), _rows(grad.contiguous()), steps, scalars, constants.subtracts,
        constants.kind,
    )  # fmt: skip
    with threads_of_torch():
        if side == 1:
            kernels.backward(*common, width, _rows(found), decays)
        else:
            square = (side, *current.shape[-2:])
            kernels.backward_averaged(*common, square, _rows(found), decays)
    by_alpha, by_beta = decays.sum(axis=0)
    return found, float(by_alpha), float(by_beta)


def _averages(shape: torch.Size, side: int) -> tuple[int, ...]:
    if side == 1:
        return tuple(shape)
    samples, height, width, channels = shape
    return samples, height // side, width // side, channels


def _rows(x: Tensor) -> NDArray[Any]:
    """View ``[T, ...]`` as a NumPy array ``[T, N]``, bfloat16 as its bits."""
    flat = x.detach().reshape(len(x), math.prod(x.shape[1:]))
    return (flat.view(torch.uint16) if x.dtype == torch.bfloat16 else flat).numpy()


def _scalars(alpha: float, beta: float, constants: Any, dtype: torch.dtype) -> tuple[Any, ...]:
    """Return the numbers of the kernels in the precision of states, which 16 bits are too few for.

    A membrane is a sum over time.
    """
    kind = np.float64 if dtype == torch.float64 else np.float32
    return tuple(kind(v) for v in (alpha, beta, constants.threshold, 1.0, math.pi))
