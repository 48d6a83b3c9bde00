"""Neurons that can never spike, whatever comes in: said, as such a network is hardly meant."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import Snn2hwError, listed
from snn2hw.ir.arrays import size_of
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.graph import Incoming, Wiring, wiring
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Leaky, Lif
from snn2hw.ir.synapses import received, with_weight
from snn2hw.passes import simplify

Floats = NDArray[np.float64]
SHOWN = 5  # neurons that a note names


def notes(net: Network) -> list[str]:
    """Name populations and outputs of which some neurons can never spike."""
    try:
        net = simplify(net)
        wires = wiring(net)
    except Snn2hwError:  # which whoever compiles the network is told
        return []
    found = never(net, wires)
    outputs = {s.name for name in net.outputs() for s in wires.into[name].sources}
    whole = [name for name, dead in found.items() if dead.all()]
    said: list[str] = []
    for name, dead in found.items():
        if name in outputs and dead.any() and not dead.all():
            rows = np.flatnonzero(dead).tolist()
            more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
            said.append(
                f"{name}: its neurons {', '.join(map(str, rows[:SHOWN]))}{more} can never spike, "
                "as all that excites them stays below their threshold"
            )
    if whole:
        said.append(
            f"{listed(whole)}: can never spike, as all that excites these neurons stays below "
            "their threshold"
        )
    return said


def never(net: Network, wires: Wiring) -> dict[str, NDArray[np.bool_]]:
    """Say which neurons stay below their threshold if all that excites them came in every step.

    Args:
        net: inputs send from 0 to their largest value.
        wires: its wiring.

    Returns:
        For each population of spiking neurons, ``[size]``.
    """
    most = {k: np.full(size_of(n.shape), float(n.max_value)) for k, n in net.inputs().items()}
    most |= {name: np.full(wires.into[name].bias.size, np.inf) for name in wires.order}
    several = net.rules.spikes == "many"
    neurons = net.neurons()
    for name in neurons:
        most[name][:] = np.inf if several else 1.0
    found = {name: np.zeros(most[name].size, bool) for name in neurons}
    after: dict[str, list[str]] = {}
    for name in neurons:
        for source in wires.into[name].sources:
            after.setdefault(source.name, []).append(name)
    waiting = dict.fromkeys(n for n in reversed(wires.order) if n in neurons)  # the first on top
    while waiting:
        name, _ = waiting.popitem()
        node = neurons[name]
        dead = _highest(node, wires.into[name], net, most) <= _limit(node, net)
        if (dead & ~found[name]).any():
            found[name] |= dead
            most[name][dead] = 0.0
            waiting |= dict.fromkeys(after.get(name, ()))
    return found


def _limit(node: Lif, net: Network) -> Floats:
    threshold = np.broadcast_to(node.v_threshold, node.shape).reshape(-1)
    at = (node.fires or net.rules.fires) == "at"
    return np.nextafter(threshold, -np.inf) if at else threshold


def _highest(node: Lif, into: Incoming, net: Network, most: Mapping[str, Floats]) -> Floats:
    """Bound a membrane from above: geometric series of the largest drive, from 0."""
    step = coefficients(node, net.dt, net.rules.integration)
    keep_i, gain_i, keep_v, gain_v, drift = (
        np.broadcast_to(x, node.shape).reshape(-1)
        for x in (
            step.keep_current, step.gain_current, step.keep_voltage, step.gain_voltage, step.drift
        )
    )  # fmt: skip
    highest, lowest = (_drive(into, net, most, sign) for sign in (1, -1))
    if highest is None or lowest is None:
        return np.full(keep_v.shape, np.inf)
    gain = gain_i * gain_v  # below 0 where r or w_in is: what inhibits then excites
    with np.errstate(divide="ignore", invalid="ignore"):
        current = np.where(gain > 0, gain * highest, np.where(gain < 0, gain * lowest, 0.0))
        current = np.where(current > 0, current / (1.0 - keep_i), current)
        push = current + drift
        return np.where(push > 0, push / (1.0 - keep_v), 0.0)


def _drive(into: Incoming, net: Network, most: Mapping[str, Floats], sign: int) -> Floats | None:
    """Return the most (sign 1) or the least (-1) that arrives in a step; None for any amount."""
    choose = np.maximum if sign > 0 else np.minimum
    drive = into.bias + sum(choose(late, 0.0) for late in into.late.values())
    for source in into.sources:
        if isinstance(net.nodes[source.name], Leaky):  # a membrane of any size and sign
            return None
        counted = with_weight(source.synapses, choose(source.synapses.weight, 0.0))
        sent = most[source.name]
        finite = np.where(np.isfinite(sent), sent, 0.0)
        drive = drive + received(counted, finite)
        endless = np.where(np.isfinite(sent), 0.0, 1.0)
        drive = np.where(received(counted, endless) != 0, sign * np.inf, drive)
    return drive
