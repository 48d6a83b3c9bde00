"""How many clock cycles a step takes: the vendor's model, with every number in the target file.

Source: Rockpool 3.1.0, ``devices/xylo/syns61201/power_cycles_model.py`` and ``syns63300``. The core
works through inputs, hidden neurons and readout one after another. Several spikes of one source in
one step cost as much as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.xylo.numbers import first_ids, hidden, joined, readout
from snn2hw.families.xylo.populations import NO_ALIAS
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.synapses import matrix
from snn2hw.ir.target import Figure, Target

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """What of a network the cycles depend on.

    Args:
        inputs: channels.
        hidden: hidden neurons.
        readout: readout neurons.
        input_targets: hidden neurons that a channel's spike is offered to.
        fan_out: hidden neurons that each sends to, ``[hidden]``.
        readout_sources: which hidden neurons are offered to the readout, ``[hidden]``.
        alias_sources: aliases of each hidden neuron, 0 or 1, ``[hidden]``.
        alias_targets: how many each is an alias of, ``[hidden]``.
    """

    inputs: int
    hidden: int
    readout: int
    input_targets: int
    fan_out: Floats
    readout_sources: Floats
    alias_sources: Floats
    alias_targets: Floats


def core_of(net: IntNetwork, target: Target) -> Core:
    """Gather it from a network.

    A chip whose inputs reach all hidden neurons offers a spike to each of them (so with the
    readout); the others offer it to those that have a weight.
    """
    first, parts = first_ids(net), hidden(net)
    count = sum(p.size for p in parts)
    hears, heard = np.zeros(count), np.zeros(count)
    between = np.zeros((count, count), np.bool_)
    for c in net.connections:
        rows = matrix(c.synapses).tocoo()
        if c.pre not in {p.name for p in parts}:
            hears[first[c.post] + rows.row] = 1
        elif c.post == net.output:
            heard[first[c.pre] + rows.col] = 1
        else:
            between[first[c.post] + rows.row, first[c.pre] + rows.col] = True
    everywhere = target.limit("input_expansion") >= target.limit("hidden_neurons")
    alias = joined(parts, "alias")
    there = alias != NO_ALIAS
    return Core(
        inputs=sum(p.size for p in net.inputs),
        hidden=count,
        readout=readout(net).size,
        input_targets=count if everywhere else int(hears.sum()),
        fan_out=between.sum(axis=0, dtype=np.float64),
        readout_sources=np.ones(count) if everywhere else heard,
        alias_sources=there.astype(np.float64),
        alias_targets=np.bincount(alias[there], minlength=count).astype(np.float64),
    )


def cycles(
    core: Core, inputs: Floats, spiking: Floats, timing: Mapping[str, Figure]
) -> NDArray[np.float64]:
    """Return the cycles of each step ``[...]``.

    Args:
        core: the network.
        inputs: share of samples in which each channel has spikes, ``[..., inputs]``.
        spiking: the same of the hidden neurons, ``[..., hidden]``.
        timing: cycles of each kind of work.
    """
    t = {name: figure.value for name, figure in timing.items()}
    entering = inputs.sum(axis=-1) * core.input_targets * t["input_target"]
    sent, among = spiking.sum(axis=-1), (spiking * core.fan_out).sum(axis=-1)
    read = (spiking * core.readout_sources).sum(axis=-1)
    share = spiking.mean(axis=-1)
    source, target = core.alias_sources.mean(), core.alias_targets.mean()
    both = target * source
    update = (
        np.maximum(share, both) * t["hidden_spike"]
        + np.maximum(share * target, both) * t["alias_target"]
        + np.maximum(share, target) * source * t["alias_source"]
    )
    return (
        core.inputs * t["input_channel"] + entering
        + core.hidden * t["hidden_source"] + among * t["hidden_target"]
        + read * (t["readout_source"] + core.readout * t["readout_target"])
        + core.hidden * (t["hidden_neuron"] + update) + sent * t["hidden_event"]
        + core.readout * t["readout_neuron"]
    )  # fmt: skip


def worst(core: Core, timing: Mapping[str, Figure]) -> float:
    """Return the cycles of a step in which everything spikes."""
    return float(cycles(core, np.ones(core.inputs), np.ones(core.hidden), timing))


def clock(core: Core, dt: float, timing: Mapping[str, Figure]) -> float:
    """Return the clock in Hz with which the worst step is done in ``dt`` seconds, with a margin."""
    return worst(core, timing) * timing["margin"].value / dt


def power(cycles_a_second: float, prices: Mapping[str, Figure]) -> float:
    """Return the power in watts: idle, and each cycle's energy."""
    return prices["idle"].value + cycles_a_second * prices["cycle"].value * 1e-12
