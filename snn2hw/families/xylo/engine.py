"""The fast exact simulator: the same integers as ``definition.py``, event by event.

Currents saturate, so the order in which spikes are added matters; they are added one source after
another, in the order of their ids, as on the chip. The spikes of one source have one sign, so that
adding their sum gives the same. Samples are independent and run in parallel, some in each thread.
"""

# pyright: basic
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn2hw.compiled import compiled
from snn2hw.families.family import NOTHING, Worth
from snn2hw.families.xylo.numbers import (
    PARTS,
    Group,
    first_ids,
    group,
    hidden,
    joined,
    numbers_of,
    populations,
    readouts,
    shift,
)
from snn2hw.families.xylo.populations import NO_ALIAS, Hidden
from snn2hw.families.xylo.traces import Kept, state_names, trace_of
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import matrix
from snn2hw.ir.trace import SPIKES, Trace
from snn2hw.simulate.batches import Workspace, in_threads
from snn2hw.simulate.inputs import check_inputs

Ints = NDArray[np.int32]


# Adding to all currents of a range, most of which an event does not change, is faster where it
# changes one in so many (make bench).
WHOLE_FROM = 12


class Wires(NamedTuple):
    """One group of weights by source, shifted: either single ones, or rows of a whole range.

    A slot is a current; those of all neurons stand one after another.

    Args:
        ends: source j has the entries ``ends[j]`` to ``ends[j + 1]``.
        slots: of each entry.
        weight: of each entry.
        rows: ``[sources, range]``, or nothing, ``[sources, 0]``, where entries are few.
        first: slot of the range.
    """

    ends: NDArray[np.int64]
    slots: Ints
    weight: Ints
    rows: Ints
    first: int


class Neurons(NamedTuple):
    """Numbers of all neurons ``[size]``, hidden ones first; ``dash_syn [synapses, size]``."""

    threshold: Ints
    bias: Ints
    dash_mem: Ints
    dash_syn: Ints
    alias: Ints


def run(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer[Any]]],
    *,
    spikes: bool = False,
    states: bool = False,
    layers: Collection[str] | None = None,
    worth: Worth = NOTHING,
    progress: Callable[[int, int], None] | None = None,
    memory: int = 256 << 20,
) -> Trace:
    """Simulate every sample from fresh state.

    Args:
        program: what the chip is told.
        inputs: for the input port, integers ``[N, T, *shape]``.
        spikes: keep what every layer sends, not only how often.
        states: keep that and every layer's states.
        layers: of these populations only.
        worth: nothing, as this family counts from the spikes.
        progress: called with (samples done, samples).
        memory: bytes the working arrays may take.

    Raises:
        InputError: if the inputs do not have the program's shapes or range.
    """
    samples, steps = check_inputs(program, inputs)
    net = program.network
    wires, neurons = _plan_of(net)
    (x,) = inputs.values()
    channels = np.ascontiguousarray(x.reshape(samples, steps, -1), dtype=np.int32)
    period, size = program.period(steps), neurons.threshold.size
    kept = period if states else 0
    sent = np.empty((samples, period, size), np.int8)  # no neuron sends more than 127 spikes
    isyn = np.empty((samples, kept, neurons.dash_syn.shape[0], size), np.int32)
    vmem = np.empty((samples, kept, size), np.int32)
    n = numbers_of(net)
    most = (n.input_spikes, n.hidden_spikes, n.readout_spikes, n.state_max)
    count = sum(p.size for p in hidden(net))

    def simulate(some: slice, _: Workspace) -> None:
        arrays = (sent[some], isyn[some], vmem[some])
        _simulate(channels[some], wires, neurons, most, count, arrays, states)

    each = 4 * period * size
    _, seconds = in_threads(samples, each, simulate, progress, memory, [])
    found = _by_population(program, sent, isyn, vmem, states)
    trace = trace_of(program, inputs, found, seconds, "exact", layers=spikes or states)
    told = {k: x for k, x in trace.layers.items() if layers is None or k in layers}
    return replace(trace, layers=told)


_plans: WeakKeyDictionary[IntNetwork, tuple[tuple[Wires, ...], Neurons]] = WeakKeyDictionary()


def _plan_of(net: IntNetwork) -> tuple[tuple[Wires, ...], Neurons]:
    """Return what is computed once for a network, and kept as long as it lives."""
    if net not in _plans:
        _plans[net] = _wires(net), _neurons(net)
    return _plans[net]


def _by_population(
    program: Program, sent: NDArray[np.int8], isyn: Ints, vmem: Ints, states: bool
) -> dict[str, Kept]:
    """Return what each population did, in chip time."""
    net = program.network
    count, first = sum(p.size for p in hidden(net)), first_ids(net)
    found: dict[str, Kept] = {}
    for p in populations(net):
        begin = first[p.name] + (0 if isinstance(p, Hidden) else count)
        own = slice(begin, begin + p.size)
        found[p.name] = {SPIKES: sent[..., own]}
        if states:
            found[p.name] = {
                **{k: vmem[..., own] if k == "vmem" else isyn[:, :, PARTS.index(k), own]
                   for k in state_names(program, p)},
                SPIKES: sent[..., own],
            }  # fmt: skip
    return found


def _neurons(net: IntNetwork) -> Neurons:
    inner, outs, n = hidden(net), readouts(net), numbers_of(net)
    whole, last = (*inner, *outs), sum(p.size for p in outs)
    second = np.concatenate([joined(inner, "dash_syn2"), np.zeros(last, np.int32)])
    dash = np.stack([joined(whole, "dash_syn"), second])[: n.synapses]
    alias = np.concatenate([joined(inner, "alias"), np.full(last, NO_ALIAS, np.int32)])
    numbers = (joined(whole, k) for k in ("threshold", "bias", "dash_mem"))
    return Neurons(*(np.ascontiguousarray(a, np.int32) for a in (*numbers, dash, alias)))


def _wires(net: IntNetwork) -> tuple[Wires, ...]:
    """Return the synapses from inputs, between hidden neurons, and to the readout."""
    count = sum(p.size for p in hidden(net))
    channels = sum(p.size for p in net.inputs)
    sources: tuple[tuple[Group, int], ...] = (
        ("input", channels), ("recurrent", count), ("readout", count)
    )  # fmt: skip
    return tuple(_group(net, name, many, count) for name, many in sources)


def _group(net: IntNetwork, name: Group, sources: int, hidden_count: int) -> Wires:
    """Gather the synapses of one group of weights, by source."""
    first, size = first_ids(net), hidden_count + sum(p.size for p in readouts(net))
    pre, slot, weight = ([np.zeros(0, np.int64)] for _ in range(3))
    for c in net.connections:
        if group(net, c) == name:
            entries = matrix(c.synapses).tocoo()
            begin = first[c.post] + (hidden_count if name == "readout" else 0)
            pre.append(first[c.pre] + entries.col)
            slot.append(PARTS.index(c.part) * size + begin + entries.row)
            weight.append(entries.data.astype(np.int64) << shift(net, name))
    ends = (np.concatenate(pre), np.concatenate(slot))
    entries = sparse.coo_array((np.concatenate(weight), ends), (sources, len(PARTS) * size))
    rows: Any = entries.tocsr()
    begin = int(rows.indices.min(initial=size * len(PARTS)))
    end = max(begin, int(rows.indices.max(initial=-1)) + 1)
    if rows.nnz * WHOLE_FROM < sources * (end - begin):
        end = begin
    return Wires(
        rows.indptr.astype(np.int64),
        rows.indices.astype(np.int32),
        rows.data.astype(np.int32),
        np.ascontiguousarray(rows[:, begin:end].toarray(), np.int32),
        begin,
    )


@compiled(nogil=True)
def _simulate(x, wires, neurons, most, hidden_count, kept, states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Run ``x [N, T, channels]``; write ``sent [N, S, size]`` and, if asked, the states."""
    (from_input, recurrent, to_readout), (sent, isyns, vmems) = wires, kept
    most_in, most_hidden, _, top = most
    samples, steps, size = sent.shape
    synapses = neurons.dash_syn.shape[0]
    isyn, vmem = np.zeros(synapses * size, np.int32), np.zeros(size, np.int32)
    silent = np.zeros(hidden_count, np.int8)
    for n in range(samples):
        isyn[:] = 0
        vmem[:] = 0
        for t in range(steps):
            before = sent[n, t - 1, :hidden_count] if t > 0 else silent
            if t < x.shape[1]:
                _deliver(x[n, t], from_input, most_in, isyn, top)
            _deliver(before, recurrent, most_hidden, isyn, top)
            _deliver(before, to_readout, most_hidden, isyn, top)
            _advance(isyn, vmem, neurons, sent[n, t], most, hidden_count)
            if states:
                vmems[n, t] = vmem
                for k in range(synapses):
                    isyns[n, t, k] = isyn[k * size : (k + 1) * size]


@compiled(nogil=True)
def _advance(isyn, vmem, neurons, now, most, hidden_count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """One step of all neurons: new states, and in ``now [size]`` what they send.

    First all states, which the compiler makes vector instructions of; then the few that spike.
    """
    _, most_hidden, most_out, top = most
    synapses, size = neurons.dash_syn.shape
    total = np.zeros(size, np.int32)
    for k in range(synapses):
        current, dash = isyn[k * size : (k + 1) * size], neurons.dash_syn[k]
        for i in range(size):
            current[i] -= _decay(current[i], dash[i])
            total[i] += current[i]
    low, high, turn = np.int32(-top - 1), np.int32(top), np.int32(2 * (top + 1))
    for i in range(size):
        change = np.int32(-_decay(vmem[i], neurons.dash_mem[i]))
        # Minus the smallest number is itself.
        change = np.int32(change - turn) if change > high else change
        change = min(max(np.int32(change + total[i]), low), high)
        change = min(max(np.int32(change + neurons.bias[i]), low), high)
        vmem[i] = min(max(np.int32(vmem[i] + change), low), high)
    now[:] = 0
    for i in range(size):
        if now[i] > 0 or vmem[i] >= neurons.threshold[i]:
            limit = most_hidden if i < hidden_count else most_out
            spikes = now[i]
            while vmem[i] >= neurons.threshold[i] and spikes < limit:
                spikes += 1
                vmem[i] -= neurons.threshold[i]
            now[i] = spikes
            j = neurons.alias[i]
            if j >= 0:
                now[j] = min(now[j] + spikes, limit)


@compiled(nogil=True)
def _deliver(sent, wires, most, isyn, top):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    low, high = np.int32(-top - 1), np.int32(top)
    width = wires.rows.shape[1]
    current = isyn[wires.first : wires.first + width]
    for j in range(sent.size):
        if sent[j] > 0:
            count = np.int32(min(sent[j], most))
            if width > 0:
                row = wires.rows[j]
                for i in range(width):
                    current[i] = min(max(np.int32(current[i] + count * row[i]), low), high)
            else:
                for e in range(wires.ends[j], wires.ends[j + 1]):
                    value = np.int32(isyn[wires.slots[e]] + count * wires.weight[e])
                    isyn[wires.slots[e]] = min(max(value, low), high)


@compiled(nogil=True)
def _decay(value, dash):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return what is lost: one at least, where there is something."""
    lost = np.int32(value >> dash)
    sign = np.int32(1) if value > 0 else np.int32(-1) if value < 0 else np.int32(0)
    return sign if lost == 0 else lost
