# pyright: basic
"""Convolutions that take slices, orders and factors of channels, and zeros around them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Shape
from snn2hw.ir.synapses import Conv, Pair
from snn2hw.train.modules.origins import Floats

Matrix = Any  # a SciPy sparse matrix [post, pre]


def taken_channels(
    node: ir.Conv2d | ir.Conv1d, m: Matrix, given: Shape
) -> ir.Conv2d | ir.Conv1d | None:
    """Let a convolution hear a signal itself, instead of channels made of it.

    Args:
        node: the convolution.
        m: what it hears of the signal, ``[C H W, size]``: whole channels, in any order, each with a
            factor, with as many zeros around each.
        given: the signal's shape.

    Returns:
        A convolution of all channels of the signal; None if it hears anything else.
    """
    kernel = node.kernel
    channels, height, width = kernel.input_shape
    image = given if len(given) == 3 else (given[0], 1, given[1]) if len(given) == 2 else None
    if image is None or not sparse.csr_array(m).nnz:
        return None
    entries = sparse.coo_array(m)
    to, y, x = np.unravel_index(entries.row, (channels, height, width))
    source, v, u = np.unravel_index(entries.col, image)
    down, across = int((y - v)[0]), int((x - u)[0])
    if (y - v != down).any() or (x - u != across).any():
        return None
    table = np.zeros((channels, *image))
    table[to, source, v, u] = entries.data
    factor = table[:, :, 0, 0]
    if (table != factor[:, :, None, None]).any():
        return None
    around = (down, height - image[1] - down), (across, width - image[2] - across)
    found = _padded(kernel, around)
    taken = None if found is None else _reordered(found[0], factor, kernel.groups)
    if found is None or taken is None:
        return None
    weight, groups = taken
    conv = Conv(weight, image, kernel.stride, found[1], kernel.dilation, groups)
    return replace(node, kernel=conv)


def _padded(kernel: Conv, around: tuple[Pair, Pair]) -> tuple[Floats, Pair] | None:
    """Return weights and padding with which a convolution adds zeros around its image itself.

    Both sides of an image have one padding: where they differ the kernel gets rows of zeros.
    """
    weight, padding = kernel.weight, list(kernel.padding)
    for axis, (before, after) in enumerate(around):
        if min(before, after) < 0:
            return None
        step, most = kernel.dilation[axis], max(before, after)
        front, back = most - before, most - after
        if front % step or back % step:
            return None
        wide = [(0, 0)] * 4
        wide[2 + axis] = front // step, back // step
        weight = np.pad(weight, wide)
        padding[axis] += most
    return weight, (padding[0], padding[1])


def _reordered(weight: Floats, factor: Floats, groups: int) -> tuple[Floats, int] | None:
    """Return weights of the channels ``j`` of which ``factor[i, j]`` times makes channel ``i``."""
    if groups == 1:
        return np.einsum("ocyx,ci->oiyx", weight, factor), 1
    if factor.shape[0] != factor.shape[1] or np.count_nonzero(factor - np.diag(np.diag(factor))):
        return None
    into = weight.shape[1]
    group = np.arange(len(weight)) // (len(weight) // groups)
    channel = group[:, None] * into + np.arange(into)
    return weight * np.diag(factor)[channel][:, :, None, None], groups
