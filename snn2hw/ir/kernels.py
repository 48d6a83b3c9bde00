"""Convolutions joined, added and applied as kernels, so that none is written out as a matrix.

What a kernel cannot say gives None, and whoever asked falls back on the matrix. Along one axis,
output ``m`` of a convolution takes pixel ``m stride - padding + k dilation`` by its tap ``k``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.arrays import Shape
from snn2hw.ir.convolution import Conv, Pair, of_groups, places

Floats = NDArray[np.float64]


def one_to_one(shape: Shape) -> Conv | None:
    """Return the kernel that connects each neuron of an image to itself, None for no image."""
    if len(shape) != 3:
        return None
    channels, height, width = shape
    return Conv(np.ones((channels, 1, 1, 1)), (channels, height, width), groups=channels)


class _Axis(NamedTuple):
    """How two convolutions, one behind the other, lie along one axis as one."""

    stride: int
    padding: int
    dilation: int
    taps: int
    apart: Pair  # taps of the joined kernel between two of the outer one's, and of the inner one's


def joined_size(outer: Conv, inner: Conv) -> tuple[int, int]:
    """Return how many weights the joined kernel has, and how many products make it."""
    groups = math.gcd(outer.groups, inner.groups)
    between = inner.weight.shape[0] // groups
    weights = outer.weight.shape[0] * inner.input_shape[0] // groups
    taps = math.prod(_axis(outer, inner, i).taps for i in (0, 1))
    each = math.prod(outer.weight.shape[2:]) * math.prod(inner.weight.shape[2:])
    return weights * taps, weights * between * each


def join(outer: Conv, inner: Conv) -> bool:
    """Say whether one kernel can do what ``inner`` and then ``outer`` do.

    It cannot where the padding between them matters: ``outer`` takes zeros around what ``inner``
    gives, and one kernel would take what ``inner`` sees there of the image.
    """
    return all(_padding_is_empty(outer, inner, axis) for axis in (0, 1))


def joined(outer: Conv, inner: Conv) -> Conv:
    """Return the convolution that does what ``inner`` and then ``outer`` do, if they ``join``."""
    down, across = _axis(outer, inner, 0), _axis(outer, inner, 1)
    groups = math.gcd(outer.groups, inner.groups)
    first = _blocks(of_groups(inner, groups), groups)
    last = _blocks(of_groups(outer, groups), groups)
    whole = np.zeros((*last.shape[:2], first.shape[2], down.taps, across.taps))
    for ty, tx in np.ndindex(*last.shape[3:]):
        for ky, kx in np.ndindex(*first.shape[3:]):
            y = ty * down.apart[0] + ky * down.apart[1]
            x = tx * across.apart[0] + kx * across.apart[1]
            whole[..., y, x] += last[..., ty, tx] @ first[..., ky, kx]
    return Conv(
        whole.reshape(-1, *whole.shape[2:]),
        inner.input_shape,
        (down.stride, across.stride),
        (down.padding, across.padding),
        (down.dilation, across.dilation),
        groups,
    )


def _blocks(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    return weight.reshape(groups, -1, *weight.shape[1:])


def _axis(outer: Conv, inner: Conv, axis: int) -> _Axis:
    """Lay outer tap ``t`` and inner tap ``k`` at ``t dilation stride + k dilation`` pixels."""
    steps = (outer.dilation[axis] * inner.stride[axis], inner.dilation[axis])
    taps = (outer.weight.shape[2 + axis], inner.weight.shape[2 + axis])
    dilation = math.gcd(*(s for s, n in zip(steps, taps, strict=True) if n > 1)) or 1
    apart = (steps[0] // dilation, steps[1] // dilation)
    return _Axis(
        outer.stride[axis] * inner.stride[axis],
        outer.padding[axis] * inner.stride[axis] + inner.padding[axis],
        dilation,
        (taps[0] - 1) * apart[0] + (taps[1] - 1) * apart[1] + 1,
        apart,
    )


def _padding_is_empty(outer: Conv, inner: Conv, axis: int) -> bool:
    """Say whether what lies in the padding between two convolutions sees nothing of the image."""
    out = np.arange(outer.output_shape[1 + axis])[:, None]
    taps = np.arange(outer.weight.shape[2 + axis])
    place = out * outer.stride[axis] - outer.padding[axis] + taps * outer.dilation[axis]
    beside = np.unique(place[(place < 0) | (place >= inner.output_shape[1 + axis])])
    seen = beside[:, None] * inner.stride[axis] - inner.padding[axis]
    seen = seen + np.arange(inner.weight.shape[2 + axis]) * inner.dilation[axis]
    return not ((seen >= 0) & (seen < inner.input_shape[1 + axis])).any()


def added(one: Conv, other: Conv) -> Conv | None:
    """Return the convolution that gives the sum of two; None where their taps do not meet."""
    if one.input_shape != other.input_shape or one.output_shape != other.output_shape:
        return None
    down, across = (_beside(one, other, axis) for axis in (0, 1))
    if down is None or across is None:
        return None
    groups = math.gcd(one.groups, other.groups)
    into = one.input_shape[0] // groups
    whole = np.zeros((one.weight.shape[0], into, down.taps, across.taps))
    for conv, top, left in zip((one, other), down.first, across.first, strict=True):
        high, wide = conv.weight.shape[2:]
        whole[:, :, top : top + high, left : left + wide] += of_groups(conv, groups)
    stride, padding, dilation = (
        (getattr(down, k), getattr(across, k)) for k in ("stride", "padding", "dilation")
    )
    return Conv(whole, one.input_shape, stride, padding, dilation, groups)


class _Beside(NamedTuple):
    """How two convolutions of one image lie along one axis as one; ``first`` tap of either."""

    stride: int
    padding: int
    dilation: int
    taps: int
    first: Pair


def _beside(one: Conv, other: Conv, axis: int) -> _Beside | None:
    pair = (one, other)
    size, out = one.input_shape[1 + axis], one.output_shape[1 + axis]
    strides = {conv.stride[axis] for conv in pair}
    dilations = {c.dilation[axis] for c in pair if c.weight.shape[2 + axis] > 1} or {1}
    if (out > 1 and len(strides) > 1) or len(dilations) > 1:
        return None
    (dilation,), stride = dilations, max(strides)  # a single output has any stride
    padding = max(conv.padding[axis] for conv in pair)
    shift = [padding - conv.padding[axis] for conv in pair]
    if any(s % dilation for s in shift):
        return None
    first = (shift[0] // dilation, shift[1] // dilation)
    ends = [f + c.weight.shape[2 + axis] for f, c in zip(first, pair, strict=True)]
    # The padding is that of both ends: zeros behind the kernel keep the outputs as few.
    most = (size + 2 * padding - stride * (out - 1) - 1) // dilation + 1
    least = (size + 2 * padding - stride * out) // dilation + 1
    taps = max(*ends, least)
    return _Beside(stride, padding, dilation, taps, first) if taps <= most else None


def gathered(rows: Floats, conv: Conv) -> Floats:
    """Return ``rows [n, post]`` times the matrix of a convolution: ``[n, pre]``."""
    count, groups = len(rows), conv.groups
    channels, out_h, out_w = conv.output_shape
    behind = rows.reshape(count, groups, channels // groups, out_h, out_w)
    total = np.zeros((count, groups, conv.weight.shape[1], *conv.input_shape[1:]))
    weight = _blocks(conv.weight, groups)
    for ky, kx in np.argwhere(weight.any(axis=(0, 1, 2))):
        (y, oy), (x, ox) = (places(conv, axis, k) for axis, k in ((0, ky), (1, kx)))
        total[..., y, x] += np.einsum(
            "ngoyx,goi->ngiyx", behind[..., oy, ox], weight[..., ky, kx], optimize=True
        )
    return total.reshape(count, -1)


def by_channel(values: NDArray[Any], shape: Shape) -> NDArray[Any] | None:
    """Return one value for each channel of an image ``[C, H, W]``; None if they differ inside."""
    flat = values.reshape(shape[0], -1)
    return flat[:, 0] if (flat == flat[:, :1]).all() else None


def scaled(conv: Conv, scale: Floats) -> Conv | None:
    """Multiply what each target receives, ``[post]``; None where it differs inside a channel."""
    each = by_channel(scale, conv.output_shape)
    if each is None:
        return None
    return replace(conv, weight=conv.weight * each[:, None, None, None])
