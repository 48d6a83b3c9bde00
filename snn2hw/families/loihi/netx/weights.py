"""What lava-dl's loader and Lava's Dense make of a weight matrix, and its place on our grid.

Source: lava-dl 0.6.0 ``netx/utils.py`` (``optimize_weight_bits``), Lava 0.10.0
``utils/weightutils.py`` (``clip_weights``, ``truncate_weights``). The loader shifts a matrix up as
far as 8 bits allow and gives it an exponent, Lava clips and cuts what does not fit the bits it was
told. Mostly nothing is lost. Where it is, the network is not the one in the file, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi.numbers import Numbers

Weights = NDArray[np.int64]


def loaded_exponent(parts: Sequence[Weights]) -> int:
    """Return the exponent that the loader gives to matrices that it shifts together.

    Raises:
        ValueError: if it cannot load them, or changes them.
    """
    whole = np.concatenate([p.ravel() for p in parts])
    bits, exponent = optimized(whole)
    up = -exponent
    for part in parts:
        if (held(part << up, bits) != part << up).any():
            raise ValueError(
                f"has weights from {part.min()} to {part.max()}, which lava-dl's loader changes "
                "(make one of them positive, or all of them even)"
            )
    return exponent


def optimized(weight: Weights) -> tuple[int, int]:
    """Return ``(weight bits, exponent)`` with which weights are shifted up into 8 bits.

    Raises:
        ValueError: if they need more than 8 bits, or are all zero, which the loader cannot scale.
    """
    low, high = int(weight.min()), int(weight.max())
    if low == high == 0:
        raise ValueError("has only zero weights, which lava-dl's loader cannot scale")
    mixed = low < 0 <= high
    if low < -256 or high > (254 if mixed else 255):
        raise ValueError(f"has weights from {low} to {high}, beyond 8 bits")
    if mixed:
        scale = min(127 / high if high else np.inf, -128 / low)
    else:
        scale = -256 / low if high < 0 else 255 / high
    up = int(np.floor(np.log2(scale))) + mixed
    common = int(np.bitwise_or.reduce(np.abs(weight), axis=None))
    zeros = min(8, (common & -common).bit_length() - 1)  # binary zeros that all weights end in
    return 8 - up - (zeros - mixed), -up


def held(mantissa: Weights, bits: int) -> Weights:
    """Clip and cut as Lava's Dense does before its first step."""
    if mantissa.min() >= 0:
        sign, low, mixed = 1, 0, 0
    elif mantissa.max() <= 0:
        sign, low, mixed = -1, 0, 0
    else:
        sign, low, mixed = 1, -256, 1
    drop = 8 - bits + mixed
    clipped = np.clip(sign * mantissa, low, 255)
    if drop < 0:  # a shift that C does not define, and NumPy makes all zeros of
        return np.zeros_like(mantissa)
    return sign * ((clipped >> drop) << drop)


def on_grid(weight: Weights, numbers: Numbers) -> tuple[NDArray[np.int32], int]:
    """Return weights as the chip's mantissas and an exponent: 0 where possible, else -1 or 1.

    Raises:
        ValueError: if the chip's grid has no room for them.
    """
    for exponent in (0, -1, 1):  # a grid without odd weights, or one without -256
        if exponent > 0 and (weight & 1).any():
            continue
        moved = weight << 1 if exponent < 0 else weight >> exponent
        low, high = int(moved.min(initial=0)), int(moved.max(initial=0))
        least, most, step = numbers.weight_range(mixed=low < 0 < high)
        if low >= least and high <= most and not (moved % step).any():
            return moved.astype(np.int32), exponent
    raise ValueError(
        f"has weights from {weight.min()} to {weight.max()}, which are not on the chip's grid "
        "(both signs: even, -256 to 254, or half of that; one sign: up to 255)"
    )
