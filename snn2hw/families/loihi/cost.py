"""Loihi: what a trace makes the chip do, and how long that takes.

A synapse that an event reads from memory is charged, with the zeros that are stored there
(docs/decisions/0004-energy.md); every neuron is updated in every chip step.
"""

from __future__ import annotations

import numpy as np

from snn2hw.families.family import Inputs
from snn2hw.families.loihi.place import DENSE
from snn2hw.ir.counts import Counts, Floats, Range, Times
from snn2hw.ir.program import Program
from snn2hw.ir.target import Figure, Target
from snn2hw.ir.trace import Trace
from snn2hw.simulate.loads import loads, met


def count(program: Program, inputs: Inputs, trace: Trace) -> Counts:
    """Count events by core and step.

    Args:
        program: what ran; its placement says which core did what, and how synapses are stored.
        inputs: what it was given, ``[N, T, *shape]``.
        trace: with the spikes of every layer.

    Returns:
        ``synop``: synapses that events read. ``update``: neurons, in each chip step. ``io_value``:
        input values that are not 0, which the host delivers.
    """
    net, placement = program.network, program.placement
    sent = {k: np.asarray(x).reshape(*x.shape[:2], -1) != 0 for k, x in inputs.items()}
    sent |= {
        k: layer.spikes.reshape(*layer.spikes.shape[:2], -1) != 0
        for k, layer in trace.layers.items()
    }
    reads: list[Floats] = []
    for p in net.populations:
        slices = placement.of(p.name)
        onto = np.zeros((len(slices), trace.samples, trace.steps))
        for i in net.into(p.name):
            c, zeros = net.connections[i], placement.stored[i] == DENSE
            onto += loads(met(c.synapses, slices, zeros=zeros), sent[c.pre])
        reads.append(onto)
    neurons = np.array([s.stop - s.start for s in placement.slices], np.float64)
    values = sum(sent[p.name].sum(axis=(1, 2)) for p in net.inputs)
    return Counts(
        {"synop": np.concatenate(reads)},
        {"update": neurons},
        {"io_value": np.asarray(values, np.float64)},
    )


def time(program: Program, counts: Counts, target: Target) -> Times:
    """Say how long a sample takes: a step lasts as its busiest core, and until all have met.

    Samples follow each other without a gap, so one takes T chip steps of throughput, and T + depth
    steps of latency. With loops or delays, a sample waits until the one before has left the chip.
    """

    def lasts(pick: str) -> Floats:
        figures: dict[str, Figure] = dict(target.timing)
        worth = {k: float(getattr(figures[k], pick)) * 1e-3 for k in counts.events}  # ns to us
        return counts.on_cores(program, worth).max(axis=0) + getattr(figures["step"], pick)

    each = {"typical": lasts("value"), "low": lasts("low"), "high": lasts("high")}
    period = Range(**{k: float(x.sum()) / counts.samples for k, x in each.items()})
    steps = counts.steps
    if program.streams:
        return Times(period.times(program.chip_steps(steps) / steps), period)
    inside = {k: x.reshape(counts.samples, -1)[:, : steps + program.depth] for k, x in each.items()}
    return Times(Range(**{k: float(x.sum()) / counts.samples for k, x in inside.items()}), period)
