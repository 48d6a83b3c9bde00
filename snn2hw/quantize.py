"""Rounding a float network to a chip's integers: ``Network`` -> ``IntNetwork``.

Threshold, bias and all synapses into a population share one scale, integer units per float unit,
because the chip adds and compares them. The scale is the largest that keeps every number in its
bits and, summed over the worst input there can be, keeps the current from wrapping around: an
overflow cannot happen, whatever the data. A connection whose weights are smaller or larger than
its sisters' moves by a power of two (its exponent) to use its eight bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn2hw.errors import NetworkError, UnsupportedError
from snn2hw.ir import populations as chip
from snn2hw.ir.graph import Incoming, Source, Wiring, output_populations, wiring
from snn2hw.ir.integer import (
    Connection,
    InputPort,
    IntNetwork,
    Numbers,
    Rounding,
)
from snn2hw.ir.network import (
    Coefficients,
    Leaky,
    Lif,
    Network,
    Threshold,
    coefficients,
    input_shape,
)
from snn2hw.ir.synapses import Conv, Synapses, from_matrix, matrix, with_weight
from snn2hw.target import Target


def quantize(net: Network, target: Target, *, time_steps: int | None = None) -> IntNetwork:
    """Round a float network to the target's integers.

    Args:
        net: the float network; its ``dt`` decides the decays.
        target: the chip.
        time_steps: steps of one sample, where the network itself does not say.

    Raises:
        UnsupportedError: lists everything that the target cannot do, layer by layer.
    """
    steps = time_steps or net.time_steps
    if not steps:
        raise NetworkError(
            "The network does not say how many time steps a sample lasts.",
            "Give --time-steps.",
        )
    wires = wiring(net)
    found = refusals(net, wires, target)
    if found:
        raise UnsupportedError(
            f"{target.title} cannot run this network: {'; '.join(found)}.",
            "Change these layers, allow rewrites (--rewrite), or choose another target.",
        )
    largest = {name: node.max_value for name, node in net.inputs().items()}
    done = [_population(n, net, wires.into[n], target.numbers, largest) for n in wires.order]
    too_large = [text for *_, text in done if text]
    if too_large:
        raise UnsupportedError(
            f"{target.title} cannot hold this network: {'; '.join(too_large)}.",
            "Make these weights or biases smaller, or the largest input value.",
        )
    return IntNetwork(
        inputs=tuple(InputPort(k, n.shape, n.max_value) for k, n in sorted(net.inputs().items())),
        populations=tuple(p for p, *_ in done),
        connections=tuple(c for _, cs, *_ in done for c in cs),
        output=output_populations(net)[0],
        dt=net.dt,
        time_steps=steps,
        numbers=target.numbers,
        rounding={p.name: r for p, _, r, _ in done},
    )


def refusals(net: Network, wires: Wiring, target: Target) -> list[str]:
    """List everything in a network that the target's neurons and ports cannot do."""
    found: list[str] = []
    try:
        outputs = output_populations(net)
        if len(outputs) != 1:
            found.append(f"it has {len(outputs)} outputs ({', '.join(outputs)}); keep one")
    except NetworkError as error:
        found.append(str(error).rstrip("."))
    rules = net.rules
    if rules.fires == "at":
        found.append("its neurons spike at the threshold already, the chip's above it")
    if rules.spikes == "many":
        found.append("its neurons send several spikes a step, the chip's one")
    if rules.v_min is not None:
        found.append(f"its membranes stay above {rules.v_min:g}, the chip's do not")
    for name in wires.order:
        found += _refusals(name, net, wires.into[name], target)
    return found


def _refusals(name: str, net: Network, into: Incoming, target: Target) -> list[str]:
    cell = net.cells()[name]
    if isinstance(cell, Leaky):
        return [f"{name} gives its membrane potential and never spikes"]
    node, step = _neuron(cell, net)
    found = _reset_refusals(name, node, target) + _decay_refusals(name, node, step, net.dt, target)
    if node.tau_synapse is not None and into.bias.any():
        found.append(f"{name} has a bias on its synaptic current, the chip on the membrane")
    if into.late:
        found.append(f"{name} has a bias that a Delay holds back, which the chip cannot")
    if not target.abilities["graded_input"]:
        graded = {k for k, n in net.inputs().items() if n.max_value > 1}
        names = sorted(graded & {s.name for s in into.sources})
        found += [f"{name} takes graded values from {g}" for g in names]
    return found


def _reset_refusals(name: str, node: Lif, target: Target) -> list[str]:
    found: list[str] = []
    if not target.abilities[f"reset_{node.reset}"]:
        found.append(f"{name} resets by {node.reset}, which the chip's neuron does not do")
    if node.reset == "zero" and np.any(node.v_reset != 0):
        found.append(f"{name} resets to {float(np.max(node.v_reset)):g}, the chip to 0")
    if (node.v_threshold <= 0).any():
        found.append(f"{name} has a threshold that is not positive")
    return found


def _decay_refusals(
    name: str, node: Lif, step: Coefficients, dt: float, target: Target
) -> list[str]:
    found: list[str] = []
    for what, value in (("membrane", step.keep_voltage), ("synapse", step.keep_current)):
        if np.unique(value).size > 1:
            found.append(f"{name} has several {what} time constants, the chip one a population")
        elif not 0 <= float(value.flat[0]) <= 1:
            found.append(f"{name} has a {what} time constant below the time step {dt:g} s")
    if node.tau_synapse is not None and _decay(step.keep_current, target.numbers) == 0:
        found.append(f"{name} has a synapse time constant too long for {dt:g} s steps")
    return found


def _neuron(cell: Lif | Threshold, net: Network) -> tuple[Lif, Coefficients]:
    """Return a cell as spiking neurons and their step; a Threshold forgets all in each step."""
    if isinstance(cell, Lif):
        return cell, coefficients(cell, net.dt, net.rules.integration)
    one, none = np.ones(()), np.zeros(())
    node = Lif(cell.threshold.shape, np.full((), net.dt), one, cell.threshold, none, none)
    return node, Coefficients(none, one, none, one, none)


@dataclass(frozen=True, slots=True, eq=False)
class _Drive:
    """Everything into one population in units where the threshold is one for every neuron."""

    sources: tuple[tuple[Source, int], ...]
    bias: NDArray[np.float64]
    du: int
    dv: int


def _population(
    name: str, net: Network, into: Incoming, numbers: Numbers, largest: dict[str, int]
) -> tuple[chip.Lif, list[Connection], Rounding, str]:
    """Round one population and its synapses; the text says what is too large, if anything."""
    cell = net.cells()[name]
    assert not isinstance(cell, Leaky), "refused before"
    drive = _drive(net, cell, into, numbers, largest)
    scale, limited_by = _scale(drive, numbers)
    while True:
        connections = [_round(s, name, scale, numbers) for s, _ in drive.sources]
        worst = _worst(connections, largest)
        if scale < 1 or worst <= _current_limit(drive.du, numbers):
            break
        scale *= min(0.999, _current_limit(drive.du, numbers) / worst)  # rounding went up
    problem = ""
    if scale < 1:
        problem = (
            f"{name} can receive {1 / scale:.3g} times too much beside its threshold for the "
            f"chip's integers (limited by {limited_by})"
        )
    vth = int(np.clip(np.rint(scale), 1, numbers.threshold_max))
    bias = np.clip(np.rint(drive.bias * scale), -numbers.bias_max - 1, numbers.bias_max)
    shape, whole = input_shape(cell), bias.astype(np.int32)
    population = chip.Lif(name, shape, drive.du, drive.dv, vth, whole, numbers.state_shift)
    rounding = Rounding(
        scale=scale,
        limited_by=limited_by,
        relative_error=_error(drive, connections, scale),
        zeroed=sum(
            int(np.count_nonzero(s.synapses.weight) - np.count_nonzero(c.synapses.weight))
            for (s, _), c in zip(drive.sources, connections, strict=True)
        ),
    )
    return population, connections, rounding, problem


def _drive(
    net: Network, cell: Lif | Threshold, into: Incoming, numbers: Numbers, largest: dict[str, int]
) -> _Drive:
    node, step = _neuron(cell, net)
    gain = np.broadcast_to(step.gain_voltage * step.gain_current / node.v_threshold, node.shape)
    bias = into.bias.reshape(node.shape) * step.gain_voltage * step.gain_current + step.drift
    sources = tuple(
        (replace(s, synapses=_scaled(s.synapses, gain.reshape(-1))), largest.get(s.name, 1))
        for s in into.sources
    )
    return _Drive(
        sources,
        (bias / node.v_threshold).reshape(-1),
        du=_decay(step.keep_current, numbers) - 1,
        dv=_decay(step.keep_voltage, numbers),
    )


def _decay(keep: NDArray[np.float64], numbers: Numbers) -> int:
    """Round the share that is lost in a step to the chip's fraction."""
    return round((1 << numbers.decay_bits) * (1 - float(keep.flat[0])))


def _scaled(synapses: Synapses, gain: NDArray[np.float64]) -> Synapses:
    """Multiply the rows of a map by a factor for each target neuron."""
    if np.ptp(gain) == 0:
        return with_weight(synapses, synapses.weight * gain[0])
    if isinstance(synapses, Conv):
        channels = gain.reshape(synapses.output_shape)
        if np.ptp(channels, axis=(1, 2)).any():  # no kernel is shared then
            return from_matrix(sparse.diags_array(gain) @ matrix(synapses))
        return with_weight(synapses, synapses.weight * channels[:, 0, 0][:, None, None, None])
    if synapses.kind == "dense":
        return with_weight(synapses, synapses.weight * gain[:, None])
    counts = np.diff(synapses.indptr)  # type: ignore[union-attr]
    return with_weight(synapses, synapses.weight * np.repeat(gain, counts))


def _scale(drive: _Drive, numbers: Numbers) -> tuple[float, str]:
    """Return the largest usable scale and what limits it."""
    _, top, _ = numbers.weight_range(mixed=True)
    peaks = [float(np.abs(s.synapses.weight).max(initial=0.0)) for s, _ in drive.sources]
    limits = {"threshold": float(numbers.threshold_max)}
    if any(peaks):
        # The finest connection fills its bits at exponent 0; coarser ones get larger exponents,
        # at most the chip's largest.
        finest, coarsest = min(p for p in peaks if p), max(peaks)
        limits["weights"] = min(top / finest, top * 2.0**numbers.exponent_max / coarsest)
    bias = float(np.abs(drive.bias).max(initial=0.0))
    if bias:
        limits["bias"] = numbers.bias_max / bias
    reach = _reach([(s.synapses, m) for s, m in drive.sources])
    if reach:
        limits["current"] = _current_limit(drive.du, numbers) / reach
    limited_by = min(limits, key=lambda k: limits[k])
    return limits[limited_by], limited_by


def _current_limit(du: int, numbers: Numbers) -> float:
    """Largest step input for which ``u`` stays in range for ever: a geometric series."""
    return numbers.current_max * (du + 1) / (1 << numbers.decay_bits)


def _reach(parts: list[tuple[Synapses, int]]) -> float:
    """Largest sum of one sign that any neuron can receive in one step."""
    high: Any = 0.0
    low: Any = 0.0
    for synapses, largest in parts:
        rows = matrix(synapses)
        high = high + np.asarray(rows.maximum(0).sum(axis=1)).ravel() * largest
        low = low + np.asarray(rows.minimum(0).sum(axis=1)).ravel() * largest
    return max(float(np.max(high, initial=0.0)), float(-np.min(low, initial=0.0)))


def _worst(connections: list[Connection], largest: dict[str, int]) -> float:
    parts = [
        (
            with_weight(c.synapses, c.synapses.weight.astype(np.float64) * 2.0**c.exponent),
            largest.get(c.pre, 1),
        )
        for c in connections
    ]
    # A negative exponent rounds the sum down, by less than one each.
    return _reach(parts) + sum(c.exponent < 0 for c in connections)


def _round(source: Source, post: str, scale: float, numbers: Numbers) -> Connection:
    synapses = source.synapses
    weight = synapses.weight * scale
    mixed = bool(weight.size and weight.min() < 0 < weight.max())
    low, high, step = numbers.weight_range(mixed)
    peak = float(np.abs(weight).max(initial=0.0))
    exponent = math.ceil(math.log2(peak / high) - 1e-9) if peak else 0
    # Lava's and netx's convolution has no exponent, so a kernel only gets one where branches
    # of different size meet and it cannot do without.
    least = 0 if isinstance(synapses, Conv) else numbers.exponent_min
    exponent = int(np.clip(exponent, least, numbers.exponent_max))
    steps = np.rint(weight / (step * 2.0**exponent)) * step
    whole = np.clip(steps, low, high).astype(np.int32)
    return Connection(source.name, post, with_weight(synapses, whole), exponent, source.delay)


def _error(drive: _Drive, connections: list[Connection], scale: float) -> float:
    """Root of the squared weight error over the squared weights, all connections together."""
    error = total = 0.0
    for (s, _), c in zip(drive.sources, connections, strict=True):
        back = c.synapses.weight * 2.0**c.exponent / scale
        error += float(((back - s.synapses.weight) ** 2).sum())
        total += float((s.synapses.weight**2).sum())
    return math.sqrt(error / total) if total else 0.0
