"""Decays as shifts: a state loses ``2**-dash`` of itself in a step."""

from __future__ import annotations

import math

import numpy as np

from snn2hw.ir.network import Network

# Of a decay that is a power of two but for the rounding of float32 files.
TOLERANCE = 1e-5


def dash(lost: float, span: tuple[int, int]) -> int | None:
    """Return the shift with which this share is lost; None if there is none in a span."""
    if not 0 < lost <= 1 + TOLERANCE:
        return None
    nearest = int(np.rint(-math.log2(lost)))
    exact = abs(lost * 2.0**nearest - 1) <= TOLERANCE
    return nearest if exact and span[0] <= nearest <= span[1] else None


def tau_of(shift: int, net: Network) -> float:
    """Return the time constant in seconds with which a step loses ``2**-shift``."""
    lost = 2.0**-shift
    if net.rules.integration == "euler":
        return net.dt / lost
    return net.dt / -math.log1p(-lost) if lost < 1 else 0.0
