# pyright: basic
"""Training images altered: moved, mirrored, partly hidden; all drawn on the processor."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def augmented(x: Tensor, shift: int, flip: bool, cutout: int, generator: torch.Generator) -> Tensor:
    """Move samples ``[B, ..., H, W]`` by up to ``shift`` pixels, mirror half, hide a square.

    Args:
        x: integers, on any device.
        shift: pixels in both directions; what comes in is zero.
        flip: mirror half of them, left to right.
        cutout: side of the square, whose middle may lie anywhere; 0 for none.
        generator: on the processor, so that every device draws the same.
    """
    x = shifted(x, shift, generator)
    one = (-1, *(1 for _ in x.shape[1:]))
    if flip:
        mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
        x = torch.where(mirrored.reshape(one), x.flip(-1), x)
    if cutout:
        rows, columns = (
            _hidden(side, cutout, len(x), generator).to(x.device) for side in x.shape[-2:]
        )
        square = rows[:, :, None] & columns[:, None, :]
        x = x.masked_fill(square.reshape(len(x), *one[1:-2], *x.shape[-2:]), 0)
    return x


def _hidden(side: int, cutout: int, count: int, generator: torch.Generator) -> Tensor:
    """Return which of ``side`` pixels lie in a random stretch of ``cutout``: ``[count, side]``."""
    first = torch.randint(0, side, (count, 1), generator=generator) - cutout // 2
    return (torch.arange(side) >= first) & (torch.arange(side) < first + cutout)


def shifted(x: Tensor, by: int, generator: torch.Generator) -> Tensor:
    """Move each sample ``[B, ..., H, W]`` by up to ``by`` pixels, filling with zeros."""
    if by == 0:
        return x
    height, width = x.shape[-2:]
    padded = nn.functional.pad(x, (by, by, by, by))
    moves = torch.randint(0, 2 * by + 1, (len(x), 2), generator=generator).to(x.device)
    rows = moves[:, :1] + torch.arange(height, device=x.device)
    columns = moves[:, 1:] + torch.arange(width, device=x.device)
    sample = torch.arange(len(x), device=x.device)
    moved = padded.movedim((-2, -1), (1, 2))[
        sample[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return moved.movedim((1, 2), (-2, -1)).contiguous()
