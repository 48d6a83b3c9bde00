"""Loihi: what a trace makes the chip do, and how long that takes.

A synapse that an event reads from memory is charged, with the zeros that are stored there, and
every neuron is updated in every chip step (docs/decisions/0004-energy.md). Zeros of a kernel are
not charged, as Loihi 2's counters do not have them (0027-pilotnet-rebuilt.md). Of Loihi 1 more is
known: a target file that prices finer events has them counted, and its neurons are updated only
where there is something to update.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.families.family import Inputs
from snn2hw.families.loihi.mesh import tiles
from snn2hw.families.loihi.numbers import populations
from snn2hw.families.loihi.place import DENSE
from snn2hw.families.loihi.populations import Lif, Population
from snn2hw.ir.counts import Counts, Floats, Range, Times
from snn2hw.ir.integer import Connection
from snn2hw.ir.placement import Slice
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, sizes
from snn2hw.ir.target import Target
from snn2hw.ir.trace import LayerTrace, Trace
from snn2hw.simulate.layout import channels as channels_of
from snn2hw.simulate.layout import outer
from snn2hw.simulate.loads import SynapsesMet, loads, met

COARSE = ("synop", "update")
COARSE_TIMING: Mapping[str, str] = {"synop": "ns", "update": "ns", "step": "us"}

# The units of a core that SANA-FE's model of Loihi tells apart (sanafe 2.2.9,
# examples/loihi.yaml), and messages that pass from tile to tile.
READS = ("synop_dense", "synop_sparse", "synop_conv")
SENDING = ("soma_access", "soma_update", "spike", "axon_out")
RECEIVING = ("axon_in", *READS)
FINE = (*READS, *SENDING, "axon_in", "hop_x", "hop_y")
BARRIERS = (1, 2, 4, 29)  # tiles for which the time until all have met is known
FINE_TIMING: Mapping[str, str] = {
    **dict.fromkeys((*SENDING, *RECEIVING), "ns"),
    **{f"barrier_{tiles}": "us" for tiles in BARRIERS},
}


def count(program: Program, inputs: Inputs, trace: Trace) -> Counts:
    """Count events by core and step.

    Args:
        program: what ran; its placement says which core did what, and how synapses are stored.
        inputs: what it was given, ``[N, T, *shape]``.
        trace: with what ``worth`` asks for, or with the spikes of every layer; for a target with
            finer prices, with these and the states.

    Returns:
        ``synop``: synapses that events read. ``update``: neurons, in each chip step. Of a target
        with finer prices: ``synop_dense``, ``synop_sparse`` and ``synop_conv`` by the way they are
        stored; ``soma_access``: neurons, in each chip step; ``soma_update``: those that are not at
        rest, in a sample's own steps; ``spike``; ``axon_out`` and ``axon_in``: messages where they
        leave and arrive, one for each core that hears a spike; ``hop_x`` and ``hop_y``: tiles that
        they pass. ``io_value``: input events, which the host delivers: values that are not 0, or,
        where digits are sent, those that are 1; how their messages reach a core is part of that.
    """
    net, fine = program.network, is_fine(program.target)
    neurons = np.array([s.span.size for s in program.placement.slices], np.float64)
    if trace.weighed:
        values = sum(trace.weighed[p.name][..., -1].sum(axis=1) for p in net.inputs)
        found = _weighed(program, trace.weighed)
    else:
        sent = {k: _events(x) for k, x in inputs.items()}
        sent |= {k: _events(layer.spikes) for k, layer in trace.layers.items()}
        values = sum(sent[p.name].sum(axis=(1, 2)) for p in net.inputs)
        found = _fine(program, sent, trace) if fine else _reads(program, sent)
    work: dict[str, list[Floats]] = defaultdict(
        lambda: [np.zeros((trace.samples, trace.steps)) for _ in neurons]
    )
    for event, row, counts in found:
        work[event][row] += counts
    steady = "soma_access" if fine else "update"
    counted = [e for e in (FINE if fine else COARSE) if e != steady]
    return Counts(
        {e: np.stack(work[e]) for e in counted},
        {steady: neurons},
        {"io_value": np.asarray(values, np.float64)},
    )


def worth(program: Program) -> dict[str, list[SynapsesMet]]:
    """Return what an event is to be counted as, while a program runs, by source.

    The ways are, for each connection, the synapses that it reads in each of the slices behind it.
    Elements are in the order in which the engine holds them (``simulate/layout.py``). A target with
    finer prices has nothing here.
    """
    if is_fine(program.target):
        return {}
    found = _known.get(program)
    if found is None:
        found = _worth(program)
        if sum(x.nbytes for some in found.values() for x in some) <= KEPT:
            _known[program] = found
    return found


KEPT = 1 << 27  # bytes of what events are worth that are kept as long as a program
_known: WeakKeyDictionary[Program, dict[str, list[SynapsesMet]]] = WeakKeyDictionary()


def _worth(program: Program) -> dict[str, list[SynapsesMet]]:
    net, channels = program.network, channels_of(program.network)
    found: dict[str, list[SynapsesMet]] = {p.name: [] for p in net.inputs}
    for c, _, synapses in _read_by(program):
        order = outer(sizes(c.synapses)[1], channels[c.pre])
        found.setdefault(c.pre, []).append(synapses.ordered(order))
    return found


def is_fine(target: Target) -> bool:
    """Say whether a target tells the finer events apart."""
    return READS[0] in target.prices


def _events(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where events are, ``[N, T, size]``; one with a payload is one."""
    return np.asarray(x).reshape(*x.shape[:2], -1) != 0


Found = Iterator[tuple[str, int, Floats]]  # an event, the slice it is of, and counts [N, T]


def _rows(program: Program) -> dict[str, list[int]]:
    """Return the indices of each layer's slices."""
    rows: dict[str, list[int]] = {}
    for i, s in enumerate(program.placement.slices):
        rows.setdefault(s.layer, []).append(i)
    return rows


def _read_by(program: Program) -> Iterator[tuple[Connection, list[int], SynapsesMet]]:
    """Return the slices behind each connection, and what an event reads there."""
    rows, slices = _rows(program), program.placement.slices
    fine = is_fine(program.target)  # messages are of single neurons
    for c, form in zip(program.network.connections, program.placement.stored, strict=True):
        into = rows[c.post]
        zeros = form == DENSE and (fine or not isinstance(c.synapses, Conv))
        yield c, into, met(c.synapses, [slices[i] for i in into], zeros=zeros, each=fine)


def _reads(program: Program, sent: Mapping[str, NDArray[np.bool_]]) -> Found:
    """Count the synapses that events read, in the core that holds them."""
    for c, into, synapses in _read_by(program):
        for i, counts in zip(into, loads(synapses, sent[c.pre]), strict=True):
            yield "synop", i, counts


def _weighed(program: Program, weighed: Mapping[str, NDArray[np.int64]]) -> Found:
    """Return the same, of events that were weighed by ``worth``."""
    rows, begin = _rows(program), defaultdict[str, int](int)
    for c in program.network.connections:
        for i in rows[c.post]:
            yield "synop", i, weighed[c.pre][..., begin[c.pre]].astype(np.float64)
            begin[c.pre] += 1


def _fine(program: Program, sent: Mapping[str, NDArray[np.bool_]], trace: Trace) -> Found:
    """Count what the units of a core do, and the messages between cores."""
    rows, placement, net = _rows(program), program.placement, program.network
    slices = placement.slices
    at = tiles(np.array([s.core for s in slices]), program.target)
    for form, (c, into, synapses) in zip(placement.stored, _read_by(program), strict=True):
        read = "synop_conv" if isinstance(c.synapses, Conv) else f"synop_{form}"
        reached = SynapsesMet((synapses.table != 0).astype(np.int32))
        both = zip(into, loads(synapses, sent[c.pre]), loads(reached, sent[c.pre]), strict=True)
        for i, reads, messages in both:
            yield read, i, reads
            yield "axon_in", i, messages
        for j in rows.get(c.pre, ()):  # inputs come from no core
            yield from _messages(j, slices[j], sent[c.pre], reached, at[into] - at[j])
    for p in populations(net):
        updated = _updated(p, trace.layers[p.name])
        for i in rows[p.name]:
            own = slices[i].span.where
            yield "spike", i, sent[p.name][:, :, own].sum(axis=2).astype(np.float64)
            yield "soma_update", i, updated[:, :, own].sum(axis=2).astype(np.float64)


def _updated(p: Population, layer: LayerTrace) -> NDArray[np.bool_]:
    """Say which neurons are updated when: those not at rest, ``[N, T, size]``.

    At rest is a LIF neuron without a bias whose membrane and current are 0.
    """
    shape = (*layer.spikes.shape[:2], p.size)
    if not isinstance(p, Lif) or p.driven_by is not None:
        return np.ones(shape, np.bool_)
    updated = (layer["u"].reshape(shape) != 0) | (p.bias != 0)
    updated[:, 1:] |= layer["v"].reshape(shape)[:, :-1] != 0
    return updated


def _messages(
    row: int, s: Slice, sent: NDArray[np.bool_], reached: SynapsesMet, way: NDArray[np.int64]
) -> Found:
    """Count the messages of a slice over one connection and the tiles that they pass.

    Args:
        row: the slice's index.
        s: the slice.
        sent: events of its layer, ``[N, T, size]``.
        reached: which of the cores behind hears which neuron, 0 or 1.
        way: tiles to each of these cores, ``[cores, 2]``.
    """
    own = s.span.where
    each = np.stack([np.ones_like(way[:, 0]), *np.abs(way).T]) @ reached.table[:, own]
    of_own = SynapsesMet(scipy.sparse.csc_array(each))
    for event, counts in zip(
        ("axon_out", "hop_x", "hop_y"), loads(of_own, sent[..., own]), strict=True
    ):
        yield event, row, counts


def time(program: Program, counts: Counts, target: Target) -> Times:
    """Say how long a sample takes: a step lasts as its busiest core, and until all have met.

    While a core goes through its neurons, it reads the synapses that the spikes of others meet: it
    is busy as long as the longer of the two.
    Samples follow each other without a gap, so one takes T chip steps of throughput, and T + depth
    steps of latency. With loops or delays, a sample waits until the one before has left the chip.
    """
    together = (SENDING, RECEIVING) if is_fine(target) else (("update",), ("synop",))

    def lasts(pick: str) -> Floats:
        ns = {k: float(getattr(f, pick)) for k, f in target.timing.items()}
        worth = [{k: ns[k] * 1e-3 for k in some} for some in together]  # to us
        busiest = [counts.on_cores(program, each).max(axis=0) for each in worth]
        return np.maximum.reduce(busiest) + barrier(program, target, ns)

    each = {"typical": lasts("value"), "low": lasts("low"), "high": lasts("high")}
    period = Range(**{k: float(x.sum()) / counts.samples for k, x in each.items()})
    steps = counts.steps
    if program.streams:
        return Times(period.times(program.chip_steps(steps) / steps), period)
    inside = {k: x.reshape(counts.samples, -1)[:, : steps + program.depth] for k, x in each.items()}
    return Times(Range(**{k: float(x.sum()) / counts.samples for k, x in inside.items()}), period)


def barrier(program: Program, target: Target, times: Mapping[str, float]) -> float:
    """Return how long it takes until all cores have met, in microseconds."""
    if not is_fine(target):
        return times["step"]
    cores = min(program.placement.cores, program.placement.cores_per_chip)
    tiles = -(-cores // target.limit("cores_per_tile"))
    return float(np.interp(tiles, BARRIERS, [times[f"barrier_{n}"] for n in BARRIERS]))


def synop_price(target: Target) -> float:
    """Return what a synaptic operation costs in pJ, where zeros are left out."""
    return target.prices["synop_sparse" if is_fine(target) else "synop"].value
