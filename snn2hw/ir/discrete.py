"""Neurons in time steps: what a step of ``dt`` seconds keeps, gains and adds."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir.arrays import size_of
from snn2hw.ir.nodes import Integration, Leaky, Lif


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """One time step: ``i = keep_i i + gain_i I``; ``v = keep_v v + gain_v i + drift``."""

    keep_current: NDArray[np.float64]
    gain_current: NDArray[np.float64]
    keep_voltage: NDArray[np.float64]
    gain_voltage: NDArray[np.float64]
    drift: NDArray[np.float64]

    def __post_init__(self) -> None:
        for f in fields(self):
            value = np.asarray(getattr(self, f.name))
            value.flags.writeable = False  # as many are given the same ones
            object.__setattr__(self, f.name, value)


DECIMALS = 12
ROUNDED = 2.0**-50  # four times the rounding of a float64 near 1


def _before(value: NDArray[np.float64], size: float = 0.0) -> NDArray[np.float64]:
    """Return decays or gains that went through a quotient and back, as they were before.

    ``tau = dt / (1 - decay)`` and ``1 - dt / tau`` differ in the last bits from the decay of which
    they were made. If a number of few decimals, or one of float32, is within that rounding, it was
    that one: a membrane on its threshold must be there exactly.

    Args:
        value: what came back.
        size: of the numbers that it is the difference of.
    """
    near = ROUNDED * np.maximum(np.abs(value), size)
    with np.errstate(over="ignore"):
        plain, single = np.round(value, DECIMALS), value.astype(np.float32).astype(np.float64)
    value = np.where(np.abs(single - value) <= near, single, value)
    return np.where(np.abs(plain - value) <= near, plain, value)


# Neurons of a population whose step is remembered with those of thousands of others, and of one
# whose step is with those of a few: arrays of more would take much memory.
FEW, MANY = 64, 1 << 14


def coefficients(
    neuron: Lif | Leaky, dt: float, integration: Integration = "euler"
) -> Coefficients:
    """Discretize a neuron with step ``dt`` seconds (NIR paper, methods)."""
    size = size_of(neuron.shape)
    found = _among_thousands if size <= FEW else _among_few if size <= MANY else _coefficients
    return found(neuron, dt, integration)


def contents(neuron: Lif | Leaky) -> Hashable:
    """Return a key that neurons of equal numbers share; a large population is its own."""
    if size_of(neuron.shape) > MANY:
        return neuron
    values = (getattr(neuron, f.name) for f in fields(neuron))
    return type(neuron), *(
        (v.shape, sha256(v.tobytes()).digest()) if isinstance(v, np.ndarray) else v for v in values
    )


def _coefficients(neuron: Lif | Leaky, dt: float, integration: Integration) -> Coefficients:
    def lost(tau: NDArray[np.float64]) -> NDArray[np.float64]:
        return dt / tau if integration == "euler" else -np.expm1(-dt / tau)

    leaks = np.isfinite(neuron.tau)
    leak = np.where(leaks, lost(np.where(leaks, neuron.tau, 1.0)), 0.0)
    gain = np.where(leaks, leak * neuron.r, dt * neuron.r)
    if neuron.tau_synapse is None:
        keep_current, gain_current = np.zeros(()), np.ones(())
    else:
        w_in = neuron.w_in if neuron.w_in is not None else np.ones(())
        keep_current = 1.0 - lost(neuron.tau_synapse)
        gain_current = lost(neuron.tau_synapse) * w_in
    return Coefficients(
        _before(keep_current, 1.0),
        _before(gain_current),
        _before(1.0 - leak, 1.0),
        _before(gain),
        leak * neuron.v_leak,
    )


# Every stage and every target asks.
_among_thousands = lru_cache(maxsize=1 << 14)(_coefficients)
_among_few = lru_cache(maxsize=16)(_coefficients)
