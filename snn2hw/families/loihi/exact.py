"""Passes over integers that keep every spike: what cannot spike, or is not heard, goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.numbers import as_added, numbers_of
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.synapses import (
    Conv,
    columns,
    fan_out,
    received,
    rows,
    with_weight,
)

Floats = NDArray[np.float64]


def remove_dead(net: IntNetwork) -> IntNetwork:
    """Remove neurons that no input within range can make spike, and those that nobody hears.

    Of an image only whole channels go, so that kernels stay kernels. Output populations stay
    whole, and so do neighbours of grouped convolutions.
    """
    while True:
        most, smaller = _most(net), net
        for p in _plain(net):
            keep = (most[p.name] > 0) & _heard(net, p.name)
            smaller = _only(smaller, p, keep) or smaller
        if smaller is net:
            return net
        net = smaller


def _plain(net: IntNetwork) -> list[chip.Lif]:
    """Return the populations that receive nothing but spikes and numbers from 0 on."""
    signed = {p.name for p in net.inputs if p.min_value < 0}
    signed |= {p.name for p in net.populations if p.graded}
    return [
        p
        for p in net.populations
        if isinstance(p, chip.Lif)
        and p.driven_by is None
        and not signed & {net.connections[i].pre for i in net.into(p.name)}
    ]


def _most(net: IntNetwork) -> dict[str, Floats]:
    """Return the largest value that each element of inputs and populations can send."""
    most = {p.name: np.full(p.size, float(p.max_value)) for p in net.inputs}
    most |= {p.name: np.ones(p.size) for p in net.populations}
    plain = {p.name: p for p in _plain(net)}
    while True:
        changed = False
        for p in plain.values():
            dead = _never(net, p, most) & (most[p.name] > 0)
            if dead.any():
                most[p.name] = np.where(dead, 0.0, most[p.name])
                changed = True
        if not changed:
            return most


def _never(net: IntNetwork, p: chip.Lif, most: Mapping[str, Floats]) -> NDArray[np.bool_]:
    """Say which neurons stay below the threshold if all that excites them came in every step.

    Decays truncate toward zero, so the geometric series bounds them from above.
    """
    n = numbers_of(net)
    high, low = np.zeros(p.size), np.zeros(p.size)
    for i in net.into(p.name):
        c = as_added(net.connections[i], n)
        exciting, inhibiting = (
            received(with_weight(c.synapses, clip(c.synapses.weight, 0)), most[c.pre])
            for clip in (np.maximum, np.minimum)
        )
        high += exciting * 2.0**c.exponent
        low += inhibiting * 2.0**c.exponent - (c.exponent < 0)  # which rounds down
    one, top = float(1 << n.decay_bits), float(1 << (n.state_bits - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = one / (p.du + 1) if p.du >= 0 else np.inf
        came_high, came_low = (x * 2.0**n.state_shift for x in (high, low))
        u_high, u_low = (np.where(x == 0, 0.0, x * grown) for x in (came_high, came_low))
        push, pull = (u + p.bias * 2.0**p.bias_exp for u in (u_high, u_low))
        v_high = np.where(push > 0, push * (one / p.dv if p.dv else np.inf), 0.0)
    most_came, most_push = float(1 << (n.sum_bits - 1)), float(1 << (n.drive_bits - 1))
    wraps = (u_high >= top) | (u_low <= -top)
    wraps |= (came_high >= most_came) | (came_low <= -most_came)
    wraps |= (push >= most_push) | (pull <= -most_push)
    return ~wraps & (v_high < (p.vth << n.state_shift))


def _heard(net: IntNetwork, name: str) -> NDArray[np.bool_]:
    heard = np.zeros(net.population(name).size, bool)
    for c in net.connections:
        if c.pre == name:
            heard |= fan_out(c.synapses) > 0
    return heard


def _only(net: IntNetwork, p: chip.Lif, keep: NDArray[np.bool_]) -> IntNetwork | None:
    """Keep some neurons, or channels, of a population; None where nothing can go."""
    around = [c for c in net.connections if p.name in (c.pre, c.post)]
    channels = _channels(p, around)
    kept = np.flatnonzero(keep.reshape(channels, -1).any(axis=1))
    if (
        p.name in net.outputs.values()
        or kept.size in (0, channels)
        or any(_grouped(c) for c in around)
    ):
        return None
    each = p.size // channels
    neurons = (kept[:, None] * each + np.arange(each)).reshape(-1)
    shape = (kept.size, *p.shape[1:]) if p.shape[0] == channels else (neurons.size,)
    smaller = replace(p, shape=shape, bias=p.bias[neurons])
    connections: list[Connection] = []
    for c in net.connections:
        synapses = c.synapses
        if c.post == p.name:
            synapses = rows(synapses, neurons)
        if c.pre == p.name:
            synapses = columns(synapses, neurons)
        connections.append(replace(c, synapses=synapses))
    if any(c.mixed != old.mixed for c, old in zip(connections, net.connections, strict=True)):
        return None  # what is left has one sign, for which the chip has another grid
    populations = tuple(smaller if q.name == p.name else q for q in net.populations)
    rounding = dict(net.rounding)
    if p.name in rounding:
        removed = rounding[p.name].removed + p.size - smaller.size
        rounding[p.name] = replace(rounding[p.name], removed=removed)
    return replace(net, populations=populations, connections=tuple(connections), rounding=rounding)


def _channels(p: chip.Lif, around: list[Connection]) -> int:
    """Return how many parts of a population can go: channels of an image, or neurons."""
    for c in around:
        if isinstance(c.synapses, Conv):
            return c.synapses.weight.shape[0] if c.post == p.name else c.synapses.input_shape[0]
    return p.shape[0] if len(p.shape) > 1 else p.size


def _grouped(c: Connection) -> bool:
    return isinstance(c.synapses, Conv) and c.synapses.groups > 1
