"""The definition of what a Xylo computes, written to be read next to the vendor's simulator.

One chip step after another, one neuron after another, one spike after another, each sample from
fresh state; no shortcut. A number of a neuron is that of every sample, ``[N]``.
Source of the arithmetic: xylosim 0.1.3, ``src/v2/cpp/XyloLayer.cpp`` (``evolve``,
``deliver_spikes``, ``evolve_neurons``) and ``XyloIAFNeuron.cpp`` (``decay``, ``receiveSpike``,
``evolve``). It is slow on purpose; ``engine.py`` must agree with it bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.xylo.numbers import (
    PARTS,
    Numbers,
    first_ids,
    group,
    numbers_of,
    populations,
    shift,
)
from snn2hw.families.xylo.populations import NO_ALIAS, Hidden, Population
from snn2hw.families.xylo.traces import state_names, trace_of
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import matrix
from snn2hw.ir.trace import SPIKES, Trace

Synapse = tuple[int, int, int]  # neuron, which of its currents, weight
Ints = NDArray[np.int64]  # [N], one for each sample


@dataclass(slots=True)
class Neuron:
    """The numbers and the states of one neuron."""

    threshold: int
    bias: int
    dash_mem: int
    dash_syn: tuple[int, ...]
    alias: int
    isyn: list[Ints]
    vmem: Ints


@dataclass(slots=True)
class Core:
    """A chip on which nothing has happened yet.

    ``synapses`` are those of each group of weights by source: ``synapses["input"][channel]``.
    """

    numbers: Numbers
    hidden: list[Neuron]
    readout: list[Neuron]
    synapses: dict[str, list[list[Synapse]]]
    shifts: dict[str, int]
    sent: list[Ints]  # by the hidden neurons, in the step before


def run(program: Program, inputs: Mapping[str, NDArray[np.integer[Any]]]) -> Trace:
    """Run samples, each on a chip of its own.

    Args:
        program: what the chip is told.
        inputs: for the input port, integers ``[N, T, *shape]``.

    Returns:
        The trace, with every layer's spikes and states.
    """
    began = time.perf_counter()
    (x,) = inputs.values()
    samples, steps = x.shape[:2]
    channels = x.reshape(samples, steps, -1)
    rows = _run(program, np.moveaxis(channels, 0, -1).astype(np.int64))
    kept = {
        p.name: {k: np.moveaxis(np.array(r), -1, 0) for k, r in rows[p.name].items()}
        for p in populations(program.network)
    }
    return trace_of(program, inputs, kept, time.perf_counter() - began, "reference")


def _run(program: Program, x: Ints) -> dict[str, dict[str, list[list[Ints]]]]:
    """Run samples ``[T, channels, N]`` and the steps after them that the last layer needs."""
    net = program.network
    core, n = fresh(net, x.shape[2]), numbers_of(net)
    first = first_ids(net)
    kept: dict[str, dict[str, list[list[Ints]]]] = {
        p.name: {k: [] for k in (*state_names(program, p), SPIKES)} for p in populations(net)
    }
    for step in range(len(x) + program.tail):
        events = list(x[step] if step < len(x) else np.zeros_like(x[0]))
        deliver(core, "input", events, core.hidden, n.input_spikes)
        deliver(core, "recurrent", core.sent, core.hidden, n.hidden_spikes)
        deliver(core, "readout", core.sent, core.readout, n.hidden_spikes)
        core.sent = evolve(core.hidden, n.hidden_spikes, n)
        out = evolve(core.readout, n.readout_spikes, n)
        for p in populations(net):
            hidden = isinstance(p, Hidden)
            own = slice(first[p.name], first[p.name] + p.size)
            neurons = (core.hidden if hidden else core.readout)[own]
            for k, rows in kept[p.name].items():
                if k == SPIKES:
                    rows.append((core.sent if hidden else out)[own])
                elif k == "vmem":
                    rows.append([neuron.vmem for neuron in neurons])
                else:
                    rows.append([neuron.isyn[PARTS.index(k)].copy() for neuron in neurons])
    return kept


def fresh(net: IntNetwork, samples: int) -> Core:
    """Configure chips with a network, one for each sample."""
    n, first = numbers_of(net), first_ids(net)
    pools: dict[bool, list[Neuron]] = {True: [], False: []}
    for p in populations(net):
        pools[isinstance(p, Hidden)] += _neurons(p, n, samples)
    sources = {
        "input": sum(p.size for p in net.inputs),
        "recurrent": len(pools[True]),
        "readout": len(pools[True]),
    }
    synapses: dict[str, list[list[Synapse]]] = {
        name: [[] for _ in range(count)] for name, count in sources.items()
    }
    for c in net.connections:
        entries = matrix(c.synapses).tocoo()
        for post, pre, weight in zip(entries.row, entries.col, entries.data, strict=True):
            synapse = (first[c.post] + int(post), PARTS.index(c.part), int(weight))
            synapses[group(net, c)][first[c.pre] + int(pre)].append(synapse)
    shifts = {name: shift(net, name) for name in ("input", "recurrent", "readout")}
    nothing = [np.zeros(samples, np.int64) for _ in pools[True]]
    return Core(n, pools[True], pools[False], synapses, shifts, nothing)


def _neurons(p: Population, n: Numbers, samples: int) -> list[Neuron]:
    dash = [p.dash_syn, p.dash_syn2][: n.synapses] if isinstance(p, Hidden) else [p.dash_syn]
    alias = p.alias if isinstance(p, Hidden) else np.full(p.size, NO_ALIAS)
    return [
        Neuron(
            int(p.threshold[i]), int(p.bias[i]), int(p.dash_mem[i]), tuple(int(d[i]) for d in dash),
            int(alias[i]), [np.zeros(samples, np.int64) for _ in dash],
            np.zeros(samples, np.int64),
        )
        for i in range(p.size)
    ]  # fmt: skip


def deliver(core: Core, of: str, sent: Sequence[Ints], neurons: list[Neuron], most: int) -> None:
    """Add the weight of every spike to the current that takes it, sources in order of their ids."""
    for source, spikes in enumerate(sent):
        for target, which, weight in core.synapses[of][source]:
            current = neurons[target].isyn[which]
            for spike in range(most):
                here = spikes > spike  # the samples that have one more
                if not here.any():
                    break
                current[here] = add(current[here], weight << core.shifts[of], core.numbers)


def evolve(neurons: list[Neuron], most: int, n: Numbers) -> list[Ints]:
    """One step of all neurons of a pool, in order of their ids; return what each sends.

    A neuron that is another's alias starts from what that one sent if it comes later, and sends
    that as well if it comes earlier.
    """
    sent = [np.zeros_like(neuron.vmem) for neuron in neurons]
    for i, neuron in enumerate(neurons):
        sent[i] = step(neuron, sent[i], most, n)
        if neuron.alias != NO_ALIAS:
            sent[neuron.alias] = np.minimum(sent[neuron.alias] + sent[i], most)
    return sent


def step(neuron: Neuron, spikes: Ints, most: int, n: Numbers) -> Ints:
    """One step of a neuron: currents, membrane, spikes; return how many, with ``spikes`` before."""
    for which, dash in enumerate(neuron.dash_syn):
        neuron.isyn[which] = neuron.isyn[which] - decay(neuron.isyn[which], dash)
    change = wrapped(-decay(neuron.vmem, neuron.dash_mem), n)
    change = add(change, np.sum(neuron.isyn, axis=0), n)
    change = add(change, neuron.bias, n)
    neuron.vmem = add(neuron.vmem, change, n)
    while (again := (neuron.vmem >= neuron.threshold) & (spikes < most)).any():
        spikes = spikes + again
        neuron.vmem = neuron.vmem - again * neuron.threshold
    return spikes


def decay(value: Ints, dash: int) -> Ints:
    """Return what a state loses in a step: ``value / 2**dash`` rounded down, at least one unit."""
    lost = value >> dash
    return np.where(lost == 0, np.sign(value), lost)


def add(x: Ints, y: Ints | int, n: Numbers) -> Ints:
    """Add, and stay at the largest or the smallest number."""
    return np.clip(x + y, -n.state_max - 1, n.state_max)


def wrapped(x: Ints, n: Numbers) -> Ints:
    """Keep the low bits, signed: what minus the smallest number, which is itself, takes."""
    return (x + n.state_max + 1) % (2 * n.state_max + 2) - n.state_max - 1
