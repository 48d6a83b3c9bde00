"""What limits the scale of a population, and synapses rounded at a scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi.numbers import Numbers
from snn2hw.families.loihi.quantize.drive import Drive, Driving
from snn2hw.ir.integer import Connection, Rounding
from snn2hw.ir.synapses import Conv, Sparse, Synapses, row_sums, with_weight


def weight_limit(drive: Drive, numbers: Numbers) -> float:
    """Return the scale at which the connections into a population use their bits.

    The finest one fills them at exponent 0; coarser ones get larger exponents, at most the chip's.
    That of a value's highest digit is the largest of its connections.
    """
    _, top, _ = numbers.weight_range(mixed=True)
    peaks = [(p, s.sends.digits - 1) for p, s in zip(drive.peaks, drive.sources, strict=True) if p]
    coarsest = max(p * 2.0**lift for p, lift in peaks)
    return min(top / min(p for p, _ in peaks), top * 2.0**numbers.exponent_max / coarsest)


def current_limit(du: int, numbers: Numbers, bias: float = 0.0) -> float:
    """Return the largest step input for which ``u`` stays in range for ever: a geometric series.

    ``bias`` is the largest of the membrane, which needs room beside ``u`` where both wrap together.
    """
    room = numbers.current_max - (math.ceil(bias) if together(numbers) else 0)
    return min(room * (du + 1) / (1 << numbers.decay_bits), float(numbers.sum_max))


def together(numbers: Numbers) -> bool:
    """Say whether ``u`` and a bias that fit by themselves may wrap when they are added."""
    bits = max(numbers.state_bits - 1, numbers.state_shift + numbers.bias_bits - 1)
    return numbers.drive_bits - 1 <= bits


def reach(drive: Drive) -> float:
    """Largest sum of one sign that any neuron can receive in one step."""
    return _reach([(s.source.synapses, float(s.sends.largest)) for s in drive.sources])


def _reach(parts: list[tuple[Synapses, float]]) -> float:
    high: Any = 0.0
    low: Any = 0.0
    for synapses, largest in parts:
        high = high + row_sums(synapses, 1) * largest
        low = low + row_sums(synapses, -1) * largest
    return max(float(np.max(high, initial=0.0)), float(-np.min(low, initial=0.0)))


def fitted(
    drive: Drive, post: str, scale: float, limit: float, numbers: Numbers
) -> tuple[float, list[Connection]]:
    """Round synapses, at a smaller scale where rounding up takes their sum beyond the limit."""
    while True:
        connections = [rounded_at(s, post, scale, numbers) for s in drive.sources]
        worst = _worst(connections, drive)
        if worst <= limit or not any(c.synapses.weight.any() for c in connections):
            return scale, connections
        scale *= min(0.999, limit / worst)


def _worst(connections: list[Connection], drive: Drive) -> float:
    parts = [
        (c.synapses, s.sends.largest * 2.0**c.exponent)
        for c, s in zip(connections, drive.sources, strict=True)
    ]
    # A negative exponent rounds the sum down, by less than one each.
    return _reach(parts) + sum(c.exponent < 0 for c in connections)


MOST_SIZES = 256  # of weights that are no grid any more
SOME = 1 << 12  # of which more than so many are seen at once
SAME = 1e-6  # what single precision makes of a number, and of the sums of a few


def on_grid(drive: Drive, scale: float, numbers: Numbers) -> float:
    """Return the largest scale up to this one at which all numbers are whole, if they can be.

    Weights that are multiples of one unit, as is the threshold, keep all their sums then: a
    membrane that reaches the threshold exactly does so on the chip.
    """
    low, top, step = numbers.weight_range(mixed=True)
    peaks = [p for p in drive.peaks if p]
    if not peaks:
        return scale
    weights = [s.source.synapses.weight for s in drive.sources]
    unit = common_unit([*weights, drive.bias, np.ones(1)], min(peaks) / (top - low))
    if unit is None:
        return scale
    coarse = step << max(math.ceil(math.log2(max(peaks) / min(peaks)) - 1e-9), 0)
    for grid in (coarse, step, 1):
        times = math.floor(scale * unit / grid + SAME) * grid
        if times / unit > 0.5 * scale:
            return times / unit
    return scale


def common_unit(values: Sequence[NDArray[np.float64]], least: float) -> float | None:
    """Return the largest number of which all values are multiples; None if it is below ``least``.

    Of weights that take many values, none is sought.
    """
    found: list[NDArray[np.float64]] = []
    for some in (np.abs(v.reshape(-1)) for v in values):
        if some.size <= MOST_SIZES:
            found.append(some)
        elif np.unique(some[:SOME]).size > MOST_SIZES:
            return None  # without sorting all of them
        else:
            found.append(np.unique(some))
    known = np.unique(np.concatenate(found))
    known = known[known > 0]
    if not 0 < known.size <= MOST_SIZES:
        return None
    unit = float(known[0])
    for size in known[1:].tolist():
        unit = _common(size, unit)
        if unit < least:
            return None
    off = np.abs(known - np.rint(known / unit) * unit)
    return unit if (off <= SAME * np.maximum(known, unit)).all() else None


def _common(one: float, other: float) -> float:
    """Return the largest number of which two are multiples (Euclid)."""
    most = max(one, other)
    while other > SAME * most:
        one, other = other, abs(one - round(one / other) * other)
    return one


def rounded_at(driving: Driving, post: str, scale: float, numbers: Numbers) -> Connection:
    """Round the synapses of one source at a scale."""
    source, (largest, digits, _) = driving.source, driving.sends
    synapses = source.synapses
    weight = synapses.weight * scale
    mixed = bool(weight.size and weight.min() < 0 < weight.max())
    low, high, step = numbers.weight_range(mixed)
    peak = float(np.abs(weight).max(initial=0.0))
    exponent = math.ceil(math.log2(peak / high) - 1e-9) if peak else 0
    # Lava's and netx's convolution has no exponent, so a kernel only gets one where branches
    # of different size meet and it cannot do without.
    # Digits of a value get larger ones, one after another.
    whole_only = isinstance(synapses, Conv) or digits > 1
    least = 0 if whole_only else numbers.least_exponent(mixed)
    exponent = int(np.clip(exponent, least, numbers.exponent_max - (digits - 1)))
    parts = weight / (step * 2.0**exponent)
    whole = np.rint(parts)
    if largest > 1:
        # Pixels are bright together: what a neuron's weights add up to matters more than each.
        whole += _owed(parts, whole, _owners(synapses))
    whole = np.clip(whole * step, low, high).astype(np.int32)
    return Connection(source.name, post, with_weight(synapses, whole), exponent, source.delay)


def _owners(synapses: Synapses) -> NDArray[np.int64]:
    """Return for each weight, flat, the neuron or the kernel that it belongs to."""
    weight = synapses.weight
    if isinstance(synapses, Sparse):
        return np.repeat(np.arange(len(synapses.indptr) - 1), np.diff(synapses.indptr))
    return np.repeat(np.arange(len(weight)), weight.size // max(len(weight), 1))


def _owed(
    parts: NDArray[np.float64], whole: NDArray[np.float64], owners: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return -1, 0 or 1 for each number: with it, the sums of owners are rounded, not changed.

    Those that change were nearest to it. Numbers that are whole, zeros among them, stay.
    """
    error = (parts - whole).reshape(-1)
    count = int(owners[-1]) + 1 if owners.size else 0
    sums = np.rint(np.bincount(owners, error, count))
    sign = np.sign(sums)[owners]
    order = np.lexsort((-sign * error, owners))
    starts = np.searchsorted(owners, np.arange(count))
    rank = np.empty(owners.size, np.int64)
    rank[order] = np.arange(owners.size) - starts[owners]  # sorted by owners, as they are
    return np.where(rank < np.abs(sums)[owners], sign, 0.0).reshape(parts.shape)


def rounding_of(
    drive: Drive, connections: list[Connection], scale: float, limited_by: str
) -> Rounding:
    """Say what rounding did to the synapses."""
    weights = [s.source.synapses.weight for s in drive.sources]
    back = [c.synapses.weight * 2.0**c.exponent / scale for c in connections]
    return Rounding.of(scale, limited_by, weights, back)
