"""The scale of each neuron, and the shifts that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.xylo.numbers import Numbers

Floats = NDArray[np.float64]


class Group:
    """The weights that share a shift, by the neuron that they end in: largest, and how many."""

    def __init__(self, size: int) -> None:
        self.peak, self.count = np.zeros(size), np.zeros(size)

    def add(self, begin: int, rows: Any) -> None:
        """Count sizes of weights ``[post, pre]`` into neurons from ``begin`` on."""
        own = slice(begin, begin + rows.shape[0])
        self.peak[own] = np.maximum(self.peak[own], rows.max(axis=1).toarray().reshape(-1))
        self.count[own] += np.diff(rows.indptr)


def fitted(
    groups: Sequence[Group], bias: Floats, n: Numbers
) -> tuple[Floats, tuple[int, ...], NDArray[Any]]:
    """Choose shifts, and each neuron's scale in units per threshold.

    First the difference between the shifts: that with which rounding loses least. Then both grow
    together, as far as every state still holds the thresholds that a neuron may spend in a step.

    Args:
        groups: two groups of weights, in thresholds; one may be empty.
        bias: of the membrane, in thresholds.
        n: the arithmetic.

    Returns:
        The scale, the two shifts, and what limits each neuron's scale.
    """
    most = n.shift_max
    apart = sorted(range(-most, most + 1), key=lambda d: (_loss(groups, bias, _pair(d), n), abs(d)))
    base = _pair(apart[0])
    driven = groups[0].count + groups[1].count > 0
    more = 0
    while max(base) + more < most:
        scale, _ = scales(groups, bias, (base[0] + more + 1, base[1] + more + 1), n)
        if (scale[driven] > room(n)).any():
            break
        more += 1
    shifts = (base[0] + more, base[1] + more)
    scale, limits = scales(groups, bias, shifts, n)
    return scale, shifts, limits


def _pair(apart: int) -> tuple[int, int]:
    return (max(apart, 0), max(-apart, 0))


def room(n: Numbers) -> int:
    """Return the largest threshold of which a state holds all that a neuron may spend in a step."""
    return (n.state_max + 1) // (n.hidden_spikes + 1)


def scales(
    groups: Sequence[Group], bias: Floats, shifts: tuple[int, int], n: Numbers
) -> tuple[Floats, NDArray[Any]]:
    """Return each neuron's largest scale, and what limits it."""
    with np.errstate(divide="ignore"):
        weights = [
            np.where(g.peak > 0, n.weight_max * 2.0**s / g.peak, np.inf)
            for g, s in zip(groups, shifts, strict=True)
        ]
        of_bias = np.where(bias != 0, n.state_max / np.abs(bias), np.inf)
    silent = np.isinf(np.minimum(*weights))
    threshold = np.where(silent, room(n), n.state_max)
    found = np.stack([np.minimum(*weights), threshold, of_bias])
    return found.min(axis=0), np.array(["weights", "threshold", "bias"])[found.argmin(axis=0)]


def _loss(groups: Sequence[Group], bias: Floats, shifts: tuple[int, int], n: Numbers) -> float:
    """Return the squared rounding error of all weights, in thresholds, that is to be expected."""
    scale, _ = scales(groups, bias, shifts, n)
    return float(
        sum((g.count * (2.0**s / scale) ** 2).sum() for g, s in zip(groups, shifts, strict=True))
    )
