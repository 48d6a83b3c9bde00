# pyright: basic
"""Average pooling, whose gradient PyTorch computes slowly where channels are last in memory."""

from __future__ import annotations

from typing import Any

import numba
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from snn2hw.compiled import compiled
from snn2hw.train.eager import eager
from snn2hw.train.threads import threads_of_torch


@eager
def averaged(x: Tensor, side: int) -> Tensor:
    """Average ``[B, C, H, W]`` over squares; what is left at the edges is dropped."""
    height, width = (n // side * side for n in x.shape[2:])
    if (height, width) != x.shape[2:]:  # as a slice costs a copy of the gradient
        x = x[:, :, :height, :width]
    return _Average.apply(x, side)


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        ctx.side = side
        return functional.avg_pool2d(x, side)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        side = ctx.side
        share = (grads[0] / side**2).movedim(1, -1)  # channels last is memory's order
        n, height, width, channels = share.shape
        shape = (n, height * side, width * side, channels)
        if share.device.type == "cpu":
            found = share.new_empty(shape)
            with threads_of_torch():
                _spread(_bits(share.contiguous()), side, _bits(found))
        else:
            every = share[:, :, None, :, None].expand(n, height, side, width, side, channels)
            found = every.reshape(shape)
        return found.movedim(-1, 1), None


def _bits(x: Tensor) -> Any:
    """View numbers as what is copied alike: NumPy knows no bfloat16."""
    return x.view({2: torch.uint16, 4: torch.uint32, 8: torch.uint64}[x.element_size()]).numpy()


@compiled(parallel=True)
def _spread(share, side, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Copy each place ``[B, H, W, C]`` to its square of places."""
    for row in numba.prange(found.shape[0] * found.shape[1]):
        n, y = row // found.shape[1], row % found.shape[1]
        for x in range(found.shape[2]):
            place, square = found[n, y, x], share[n, y // side, x // side]
            for channel in range(len(place)):
                place[channel] = square[channel]
