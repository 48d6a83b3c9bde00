"""``Network`` -> ``IntNetwork``: each cell and its synapses, one after another."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from snn2hw.errors import UnsupportedError, listed
from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.numbers import Numbers, numbers_of
from snn2hw.families.loihi.quantize.abilities import digits, refusals
from snn2hw.families.loihi.quantize.drive import Drive, Sends, drive_of, fires_at
from snn2hw.families.loihi.quantize.parts import Units, divided
from snn2hw.families.loihi.quantize.relays import Relay, relay_of, relayed
from snn2hw.families.loihi.quantize.scale import (
    current_limit,
    fitted,
    on_grid,
    reach,
    rounding_of,
    together,
    weight_limit,
)
from snn2hw.families.shared import accepted, fed_of
from snn2hw.ir.graph import Wiring, output_populations
from snn2hw.ir.integer import Connection, DigitPort, InputPort, IntNetwork, Rounding
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Input, Leaky, Lif, Threshold, input_shape
from snn2hw.ir.target import Target


def quantize(net: Network, target: Target, *, time_steps: int | None = None) -> IntNetwork:
    """Round a float network to the target's integers.

    Args:
        net: the float network; its ``dt`` decides the decays.
        target: the chip.
        time_steps: steps of one sample, where the network itself does not say.

    Raises:
        UnsupportedError: lists everything that the target cannot do, layer by layer.
    """
    net = relayed(net, target)
    wires, steps = accepted(net, target, time_steps, refusals)
    return _rounded(net, wires, target, steps)


def _rounded(net: Network, wires: Wiring, target: Target, steps: int) -> IntNetwork:
    """Round a network that the target refuses nothing of.

    Args:
        net: the float network.
        wires: its wiring.
        target: the chip.
        steps: of one sample.

    Raises:
        UnsupportedError: lists the layers whose numbers are too large for the target's bits.
    """
    sends = {k: Sends(n.max_value, digits(n, target)) for k, n in net.inputs().items()}
    numbers, outputs = numbers_of(target), output_populations(net)
    units = divided(net, wires, outputs.values(), numbers)
    ticking = _unused("bias", {*net.nodes, *units.cells})
    relays, too_large = _relays(net, units, sends, numbers)
    sends |= {k: Sends(r.largest, scale=r.scale) for k, r in relays.items()}
    done: list[_Rounded] = []
    extremes: list[str] = []
    for name, cell in units.cells.items():
        into = units.into[name]
        with np.errstate(over="ignore", invalid="ignore"):
            drive = drive_of(net, cell, into, numbers, sends)
        if extreme := drive.extreme():
            times = f"{extreme:.3g} times" if math.isfinite(extreme) else "far more than"
            extremes.append(f"{name} is driven by {times} its threshold")
            continue
        if name in relays:
            relay = relays[name]
            rounding = rounding_of(drive, relay.connections, relay.scale, "relay")
            done.append(_Rounded(relay.population, relay.connections, rounding))
        elif isinstance(cell, Leaky):
            done.append(_readout(name, cell, drive, ticking, numbers, steps))
        else:
            at = fires_at(cell, net)
            done.append(_neurons(name, cell, drive, ticking, numbers, at=at))
    if extremes:
        raise UnsupportedError(
            f"No integers stand for the numbers of this network: {listed(extremes, '; ')}.",
            "Scale the weights, the biases and the thresholds to similar sizes.",
            reasons=extremes,
        )
    too_large += [made.problem for made in done if made.problem]
    if too_large:
        raise UnsupportedError(
            f"{target.title} cannot hold this network: {listed(too_large, '; ')}.",
            "Make these weights or biases smaller, or the largest input value.",
            reasons=too_large,
        )
    ports = {k: _ports(k, n, net, target) for k, n in sorted(net.inputs().items())}
    connections = tuple(
        sent for made in done for c in made.connections for sent in _by_port(c, ports)
    )
    heard = any(c.pre == ticking for c in connections)
    return IntNetwork(
        inputs=tuple(p for of_one in ports.values() for p in of_one),
        populations=(
            *([_every_step(ticking, numbers)] if heard else []),
            *(made.population for made in done),
        ),
        connections=connections,
        outputs=outputs,
        dt=net.dt,
        time_steps=steps,
        numbers=numbers,
        rounding={
            n: replace(made.rounding, part_of=units.part_of.get(n, ""))
            for n, made in zip(units.order, done, strict=True)
        },
    )


def _relays(
    net: Network, units: Units, sends: Mapping[str, Sends], numbers: Numbers
) -> tuple[dict[str, Relay], list[str]]:
    """Round the integrators that other cells hear, and say which of them no integers stand for."""
    heard = {s.name for into in units.into.values() for s in into.sources}
    found: dict[str, Relay] = {}
    problems: list[str] = []
    for name, cell in units.cells.items():
        if isinstance(cell, Leaky) and name in heard:
            drive = drive_of(net, cell, units.into[name], numbers, sends)
            made = relay_of(name, cell, drive, numbers)
            if isinstance(made, Relay):
                found[name] = made
            else:
                problems.append(made)
    return found, problems


def _ports(name: str, node: Input, net: Network, target: Target) -> list[InputPort]:
    """Return what the host sends an input's values to: one port, or one for each digit."""
    count = digits(node, target)
    if count == 1:
        return [InputPort(name, node.shape, node.max_value, fed=fed_of(node))]
    return [
        DigitPort(
            _unused(f"{name}.digit{i}", net.nodes),
            node.shape,
            of=name,
            digit=i,
            most=node.max_value,
            fed=fed_of(node),
        )
        for i in range(count)
    ]


def _by_port(c: Connection, ports: Mapping[str, list[InputPort]]) -> list[Connection]:
    """Return the connections that carry what ``c`` does from each port of its source."""
    if c.pre not in ports:
        return [c]
    return [replace(c, pre=p.name, exponent=c.exponent + i) for i, p in enumerate(ports[c.pre])]


class _Rounded(NamedTuple):
    """A cell in integers, with its synapses; ``problem`` says what is too large, if anything."""

    population: chip.Population
    connections: list[Connection]
    rounding: Rounding
    problem: str = ""


def _neurons(
    name: str, cell: Lif | Threshold, drive: Drive, ticking: str, numbers: Numbers, *, at: bool
) -> _Rounded:
    """Round spiking neurons and their synapses.

    Those that spike ``at`` their threshold have whole membranes, and spike above one less.

    The chip's bias is one of the membrane. One of the synaptic current comes from a neuron named
    ``ticking``, which spikes in every step and has the bias as its synapses.
    """
    most = current_limit(drive.du, numbers)
    biased = drive.bias_peak if together(numbers) else 0.0
    limits = {"threshold": float(numbers.threshold_max)}
    if any(drive.peaks):
        limits["weights"] = weight_limit(drive, numbers)
    limits |= _bias_limit(drive, numbers)
    drive = drive.heard_from(ticking)
    received = reach(drive)
    current = [most / received] if received else []
    if biased:
        grown = received * (1 << numbers.decay_bits) / max(drive.du + 1, 1)
        current.append(max(numbers.current_max - 1, 0.5) / (grown + biased))
    if current:
        limits["current"] = min(current)
    limited_by = min(limits, key=lambda k: limits[k])
    scale = on_grid(drive, limits[limited_by], numbers)
    scale, connections = _fitted_beside(drive, name, scale, biased, numbers)
    problem = ""
    if scale < 1:
        problem = (
            f"{name} can receive {1 / scale:.3g} times too much beside its threshold for the "
            f"chip's integers (limited by {limited_by})"
        )
    vth = int(np.clip(np.rint(scale), 1, numbers.threshold_max))
    if at and vth == 1:
        problem = f"{name} spikes at a threshold that is one of the chip's integers"
    vth = max(vth - at, 1)
    bias = np.clip(np.rint(drive.bias * scale), -numbers.bias_max - 1, numbers.bias_max)
    shape, whole = input_shape(cell), bias.astype(np.int32)
    population = chip.Lif(name, shape, drive.du, drive.dv, vth, whole, numbers.state_shift)
    rounding = rounding_of(drive, connections, scale, limited_by)
    return _Rounded(population, connections, rounding, problem)


def _fitted_beside(
    drive: Drive, name: str, scale: float, bias: float, numbers: Numbers
) -> tuple[float, list[Connection]]:
    """Round synapses so that their sums leave room for a bias at the same scale."""
    return fitted(drive, name, scale, current_limit(drive.du, numbers, bias * scale), numbers)


def _readout(
    name: str, cell: Leaky, drive: Drive, ticking: str, numbers: Numbers, steps: int
) -> _Rounded:
    """Round an integrator at the output and its synapses.

    Lava's has no bias, which comes from ``ticking`` as in ``_neurons``.
    """
    forgets, message = drive.dv > 0, (1 << (numbers.message_bits - 1)) - 1
    kind, most = (chip.Graded, message) if forgets else (chip.Sigma, message / steps)
    peaks = [p for p in drive.peaks if p]
    limits = {"weights": weight_limit(drive, numbers)} if peaks else {}
    limits |= _bias_limit(drive, numbers)
    drive = drive.heard_from(ticking)
    received = reach(drive)
    if received:
        limits["message"] = most / received
    limits = limits or {"nothing": 1.0}
    limited_by = min(limits, key=lambda k: limits[k])
    scale, connections = fitted(drive, name, limits[limited_by], most, numbers)
    problem = ""
    if peaks and not any(c.synapses.weight.any() for c in connections):
        problem = (
            f"{name} can receive {received / max(peaks):.3g} times its largest weight in a "
            f"step, which the {numbers.message_bits} bits of a message do not tell apart"
        )
    rounding = rounding_of(drive, connections, scale, limited_by)
    return _Rounded(kind(name, input_shape(cell)), connections, rounding, problem)


def _bias_limit(drive: Drive, numbers: Numbers) -> dict[str, float]:
    """Return the scale at which a bias fills its bits, or synapses in its place theirs."""
    found: list[float] = []
    if drive.bias_peak:
        found.append(numbers.bias_max / drive.bias_peak)
    if drive.held_peak:
        largest = numbers.weight_range(mixed=True)[1] * 2.0**numbers.exponent_max
        found.append(largest / drive.held_peak)
    return {"bias": min(found)} if found else {}


def _every_step(name: str, numbers: Numbers) -> chip.Lif:
    """Return a neuron that spikes in every step."""
    one = 1 << numbers.decay_bits
    return chip.Lif(name, (1,), one - 1, one, 1, np.full(1, 2, np.int32), numbers.state_shift)


def _unused(name: str, taken: Container[str]) -> str:
    return name if name not in taken else _unused(f"{name}_", taken)
