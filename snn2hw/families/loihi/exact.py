"""Passes over integers that keep every spike: what cannot spike, or is not heard, goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    plain = _plain(net)
    draft = _Draft(net, plain)
    can = {name: most > 0 for name, most in _most(net, plain, draft.out_of).items()}
    place = {name: i for i, name in enumerate(plain)}
    waiting = list(plain)
    while waiting:
        # Those that only neurons of this round heard go in the next one.
        keep = {name: can[name] & draft.heard(name) for name in waiting}
        before: set[str] = set()
        for name in waiting:
            left = draft.only(name, keep[name])
            if left is not None:
                can[name] = can[name][left]
                before |= {net.connections[i].pre for i in net.into(name)}
        waiting = sorted(before & plain.keys(), key=place.__getitem__)
    return draft.network()


def _plain(net: IntNetwork) -> dict[str, chip.Lif]:
    """Return the populations that receive nothing but spikes and numbers from 0 on, by name."""
    signed = {p.name for p in net.inputs if p.min_value < 0}
    signed |= {p.name for p in net.populations if p.graded}
    return {
        p.name: p
        for p in net.populations
        if isinstance(p, chip.Lif)
        and p.driven_by is None
        and not any(net.connections[i].pre in signed for i in net.into(p.name))
    }


def _most(
    net: IntNetwork, plain: Mapping[str, chip.Lif], out_of: Mapping[str, Sequence[int]]
) -> dict[str, Floats]:
    """Return the largest value that each element of inputs and populations can send."""
    most = {p.name: np.full(p.size, float(p.max_value)) for p in net.inputs}
    most |= {p.name: np.ones(p.size) for p in net.populations}
    waiting = dict.fromkeys(reversed(list(plain)))  # the first on top
    while waiting:
        name, _ = waiting.popitem()
        dead = _never(net, plain[name], most) & (most[name] > 0)
        if dead.any():
            most[name] = np.where(dead, 0.0, most[name])
            after = (net.connections[i].post for i in out_of[name])
            waiting |= dict.fromkeys(post for post in after if post in plain)
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


class _Draft:
    """A network from which neurons go: it is built, and checked, once they all have gone."""

    def __init__(self, net: IntNetwork, plain: Mapping[str, chip.Lif]) -> None:
        self.net = net
        self.plain = dict(plain)  # of which neurons may go
        self.connections = list(net.connections)
        self.rounding = dict(net.rounding)
        self.read = set(net.outputs.values())
        self.out_of: dict[str, list[int]] = {p.name: [] for p in (*net.inputs, *net.populations)}
        for i, c in enumerate(net.connections):
            self.out_of[c.pre].append(i)

    def network(self) -> IntNetwork:
        populations = tuple(self.plain.get(p.name, p) for p in self.net.populations)
        if populations == self.net.populations:
            return self.net
        return replace(
            self.net,
            populations=populations,
            connections=tuple(self.connections),
            rounding=self.rounding,
        )

    def heard(self, name: str) -> NDArray[np.bool_]:
        """Say which neurons of a population have a synapse to somebody."""
        heard = np.zeros(self.plain[name].size, bool)
        for i in self.out_of[name]:
            heard |= fan_out(self.connections[i].synapses) > 0
        return heard

    def only(self, name: str, keep: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        """Keep some neurons, or channels, of a population.

        Returns:
            Those that are left, or None where nothing can go.
        """
        if keep.all() or name in self.read:
            return None
        p = self.plain[name]
        around = {
            i: self.connections[i] for i in sorted({*self.net.into(name), *self.out_of[name]})
        }
        channels = _channels(p, around.values())
        kept = np.flatnonzero(keep.reshape(channels, -1).any(axis=1))
        if kept.size in (0, channels) or any(_grouped(c) for c in around.values()):
            return None
        each = p.size // channels
        neurons = (kept[:, None] * each + np.arange(each)).reshape(-1)
        smaller = {i: _between(c, name, neurons) for i, c in around.items()}
        if any(c.mixed != around[i].mixed for i, c in smaller.items()):
            return None  # what is left has one sign, for which the chip has another grid
        for i, c in smaller.items():
            self.connections[i] = c
        shape = (kept.size, *p.shape[1:]) if p.shape[0] == channels else (neurons.size,)
        self.plain[name] = replace(p, shape=shape, bias=p.bias[neurons])
        if name in self.rounding:
            known = self.rounding[name]
            removed = known.removed + p.size - neurons.size
            self.rounding[name] = replace(known, removed=removed)
        return neurons


def _between(c: Connection, name: str, neurons: NDArray[np.int64]) -> Connection:
    """Return the part of a connection from, or to, some neurons of a population."""
    synapses = c.synapses
    if c.post == name:
        synapses = rows(synapses, neurons)
    if c.pre == name:
        synapses = columns(synapses, neurons)
    return replace(c, synapses=synapses)


def _channels(p: chip.Lif, around: Iterable[Connection]) -> int:
    """Return how many parts of a population can go: channels of an image, or neurons."""
    for c in around:
        if isinstance(c.synapses, Conv):
            return c.synapses.weight.shape[0] if c.post == p.name else c.synapses.input_shape[0]
    return p.shape[0] if len(p.shape) > 1 else p.size


def _grouped(c: Connection) -> bool:
    return isinstance(c.synapses, Conv) and c.synapses.groups > 1
