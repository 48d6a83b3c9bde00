"""Decays as shifts: a state loses ``2**-dash`` of itself in a step."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.network import Network

# Of a decay that is a power of two but for the rounding of float32 files.
TOLERANCE = 1e-5


NONE = -1


def dashes(lost: NDArray[np.float64], span: tuple[int, int]) -> NDArray[np.int64]:
    """Return the shifts with which these shares are lost; ``NONE`` where a span has none."""
    possible = (lost > 0) & (lost <= 1 + TOLERANCE)
    share = np.where(possible, lost, 1.0)
    nearest = np.rint(-np.log2(share)).astype(np.int64)
    exact = np.abs(np.ldexp(share, nearest) - 1) <= TOLERANCE
    return np.where(possible & exact & (span[0] <= nearest) & (nearest <= span[1]), nearest, NONE)


def tau_of(shift: int, net: Network) -> float:
    """Return the time constant in seconds with which a step loses ``2**-shift``."""
    lost = 2.0**-shift
    if net.rules.integration == "euler":
        return net.dt / lost
    return net.dt / -math.log1p(-lost) if lost < 1 else 0.0
