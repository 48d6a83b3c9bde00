"""How many clock cycles a step takes: the vendor's model, with every number in the target file.

Source: Rockpool 3.1.0, ``devices/xylo/syns61201/power_cycles_model.py`` and ``syns63300``. The core
works through inputs, hidden neurons and readout one after another. Several spikes of one source in
one step cost as much as one. The vendor takes mean rates; here each step has its own spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.family import Inputs
from snn2hw.families.xylo.numbers import first_ids, hidden, joined, readouts
from snn2hw.families.xylo.populations import NO_ALIAS
from snn2hw.ir.counts import Counts, Range, Times
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import matrix
from snn2hw.ir.target import Figure, Target
from snn2hw.ir.trace import Trace

Floats = NDArray[np.float64]
CYCLE = "cycle"


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """The cycles that the parts of a network take.

    Args:
        each_step: of hidden neurons, the inputs' own with them, and of the readout, ``[2]``.
        channel: of an input channel that has spikes, by the hidden neurons it is offered to: what
            each takes, ``[hidden]``.
        neuron: of a hidden neuron that has spikes, ``[hidden]``.
    """

    each_step: tuple[float, float]
    channel: Floats
    neuron: Floats

    def step(self, channels: float, spiking: Floats) -> float:
        """Return the cycles of a step.

        Args:
            channels: how many have spikes.
            spiking: which hidden neurons have, 0 or 1, ``[hidden]``.
        """
        return float(sum(self.each_step) + channels * self.channel.sum() + spiking @ self.neuron)


def core_of(net: IntNetwork, target: Target) -> Core:
    """Work out the cycles of a network.

    A chip whose inputs reach all hidden neurons offers a spike to each of them (so with the
    readout); the others offer it to those that have a weight.
    """
    t = {name: figure.value for name, figure in target.timing.items()}
    hears, heard, fan_out = _reached(net)
    if target.limit("input_expansion") >= target.limit("hidden_neurons"):
        hears, heard = np.ones_like(hears), np.ones_like(heard)
    alias = joined(hidden(net), "alias")
    there = alias != NO_ALIAS
    is_alias = np.bincount(alias[there], minlength=alias.size) > 0
    outputs, channels = (sum(p.size for p in some) for some in (readouts(net), net.inputs))
    return Core(
        each_step=(
            channels * t["input_channel"]
            + alias.size * (t["hidden_source"] + t["hidden_neuron"]),
            outputs * t["readout_neuron"],
        ),
        channel=hears * t["input_target"],
        neuron=(
            fan_out * t["hidden_target"]
            + heard * (t["readout_source"] + outputs * t["readout_target"])
            + t["hidden_spike"] + t["hidden_event"]
            + is_alias * t["alias_target"] + there * t["alias_source"]
        ),
    )  # fmt: skip


def _reached(net: IntNetwork) -> tuple[Floats, Floats, Floats]:
    """Return which hidden neurons hear inputs and are heard by the readout, and their fan-out."""
    first, parts = first_ids(net), hidden(net)
    own, last = ({p.name for p in some} for some in (parts, readouts(net)))
    count = sum(p.size for p in parts)
    hears, heard = np.zeros(count), np.zeros(count)
    between = np.zeros((count, count), np.bool_)
    for c in net.connections:
        rows = matrix(c.synapses).tocoo()
        if c.pre not in own:
            hears[first[c.post] + rows.row] = 1
        elif c.post in last:
            heard[first[c.pre] + rows.col] = 1
        else:
            between[first[c.post] + rows.row, first[c.pre] + rows.col] = True
    return hears, heard, between.sum(axis=0, dtype=np.float64)


def count(program: Program, inputs: Inputs, trace: Trace) -> Counts:
    """Count cycles by layer and step.

    What a spike sets off counts for the layer that sends it, and what an input's spike sets off
    for those that it is offered to.

    Args:
        program: what ran.
        inputs: what it was given, ``[N, T, *shape]``.
        trace: with the spikes of every layer.

    Returns:
        ``cycle``, by what happens and in each step.
    """
    net = program.network
    core, first = core_of(net, program.target), first_ids(net)
    channels = sum(_active(x).sum(axis=2) for x in inputs.values())
    work: list[Any] = []
    steady: list[float] = []
    sizes, last = core.neuron.size, {p.name: p.size for p in readouts(net)}
    for s in program.placement.slices:
        if s.layer in last:
            work.append(np.zeros((trace.samples, trace.steps)))
            steady.append(core.each_step[1] * last[s.layer] / sum(last.values()))
            continue
        own = slice(first[s.layer], first[s.layer] + s.stop)
        spiking = _active(trace.layers[s.layer].spikes) @ core.neuron[own]
        work.append(channels * core.channel[own].sum() + spiking)
        steady.append(core.each_step[0] * s.span.size / sizes)
    return Counts({CYCLE: np.stack(work)}, {CYCLE: np.array(steady)}, {})


def _active(sent: NDArray[Any]) -> Floats:
    """Return where spikes are, ``[N, T, size]``."""
    return (np.asarray(sent).reshape(*sent.shape[:2], -1) != 0).astype(np.float64)


def time(program: Program, counts: Counts, target: Target) -> Times:
    """Say how long a sample takes where the core goes from step to step without waiting.

    A sensor's own time is longer: there a step lasts as long as the network's, and the clock can be
    as slow as ``clock`` says.
    """
    cycles = counts.on_cores(program, {CYCLE: 1.0})[0].reshape(counts.samples, -1)
    mhz = target.timing["clock"]

    def lasts(total: float) -> Range:
        return Range(total / mhz.value, total / mhz.high, total / mhz.low)

    latency = cycles[:, : program.chip_steps(counts.steps)]
    return Times(lasts(latency.sum() / counts.samples), lasts(cycles.sum() / counts.samples))


def synop_price(target: Target) -> float:
    """Return what a synaptic operation between hidden neurons costs in pJ."""
    return target.prices[CYCLE].value * target.timing["hidden_target"].value


def worst(core: Core, channels: int) -> float:
    """Return the cycles of a step in which everything spikes."""
    return core.step(channels, np.ones_like(core.neuron))


def clock(core: Core, channels: int, dt: float, timing: Mapping[str, Figure]) -> float:
    """Return the clock in Hz with which the worst step is done in ``dt`` seconds, with a margin."""
    return worst(core, channels) * timing["margin"].value / dt
