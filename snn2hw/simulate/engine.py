"""The fast exact simulator: the same integers as ``reference.py``, event by event.

Because every layer is reset at its own phase and every branch is delayed to match, layer by
layer in the sample's own time gives the same numbers as step by step in chip time; that they do
is tested, not assumed. Samples are independent, so they run in parallel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError
from snn2hw.ir.integer import Connection, Numbers, Population
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import matrix
from snn2hw.ir.trace import LayerTrace, Trace

Ints = NDArray[np.int32]


def run(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer]],
    *,
    states: bool = False,
    progress: Callable[[int, int], None] | None = None,
    memory: int = 256 << 20,
) -> Trace:
    """Simulate every sample from fresh state.

    Args:
        program: what the chip is told.
        inputs: for each input port, integers ``[N, T, *shape]``.
        states: keep every layer's spikes and states, not only counts.
        progress: called with (samples done, samples).
        memory: bytes the working arrays of one batch may take.

    Raises:
        InputError: if the inputs do not have the program's shapes or range.
    """
    samples, steps = check_inputs(program, inputs)
    synapses = [_by_source(c) for c in program.network.connections]
    widest = sum(p.size for p in (*program.network.inputs, *program.network.populations))
    batch = max(1, min(samples, memory // (16 * steps * widest)))
    spent, parts = 0.0, list[Trace]()
    for start in range(0, samples, batch):
        piece = {k: x[start : start + batch] for k, x in inputs.items()}
        began = time.perf_counter()
        parts.append(_batch(program, synapses, piece, states))
        spent += time.perf_counter() - began
        if progress:
            progress(min(start + batch, samples), samples)
    return _join(parts, spent)


def check_inputs(program: Program, inputs: Mapping[str, NDArray[np.integer]]) -> tuple[int, int]:
    """Return (samples, steps), or say what is wrong with the inputs."""
    ports = program.network.inputs
    if set(inputs) != {p.name for p in ports}:
        raise InputError(
            f"The program takes inputs {', '.join(p.name for p in ports)}, "
            f"not {', '.join(inputs) or 'none'}."
        )
    lengths = {x.shape[:2] for x in inputs.values()}
    for port in ports:
        x = inputs[port.name]
        if x.ndim != 2 + len(port.shape) or x.shape[2:] != port.shape or 0 in x.shape[:2]:
            raise InputError(
                f"Input {port.name} must be [samples, steps, "
                f"{', '.join(map(str, port.shape))}], got {list(x.shape)}."
            )
        if not np.issubdtype(x.dtype, np.integer) and x.dtype != np.bool_:
            raise InputError(f"Input {port.name} must hold integers, got {x.dtype}.")
        low, high = int(x.min()), int(x.max())
        if low < 0 or high > port.max_value:
            raise InputError(
                f"Input {port.name} holds values from {low} to {high}, "
                f"the program takes 0 to {port.max_value}."
            )
    if len(lengths) != 1:
        raise InputError("All inputs must have the same number of samples and steps.")
    return lengths.pop()


def _by_source(connection: Connection) -> tuple[Any, Any, Any]:
    columns = matrix(connection.synapses).tocsc()
    return (
        columns.indptr.astype(np.int64),
        columns.indices.astype(np.int32),
        columns.data.astype(np.int32),
    )


def _batch(
    program: Program,
    synapses: list[tuple[Any, Any, Any]],
    inputs: Mapping[str, NDArray[np.integer]],
    states: bool,
) -> Trace:
    net = program.network
    sent: dict[str, Ints] = {}
    layers: dict[str, LayerTrace] = {}
    samples, steps = next(iter(inputs.values())).shape[:2]
    for port in net.inputs:
        sent[port.name] = np.ascontiguousarray(
            inputs[port.name].reshape(samples, steps, -1), dtype=np.int32
        )
    for p in net.populations:
        arrived = np.zeros((samples, steps, p.size), np.int64)
        for i in net.into(p.name):
            c = net.connections[i]
            _deliver(sent[c.pre], *synapses[i], c.exponent, arrived)
        spikes, u, v = _integrate(p, arrived, net.numbers, states)
        sent[p.name] = spikes
        if states:
            shape = (samples, steps, *p.shape)
            layers[p.name] = LayerTrace(spikes.reshape(shape), v.reshape(shape), u.reshape(shape))
    events = {k: np.count_nonzero(x, axis=0).astype(np.int64) for k, x in sent.items()}
    out = net.population(net.output)
    spikes = sent[net.output].reshape(samples, steps, *out.shape)
    return Trace(spikes, events, layers, program.phase, program.depth, 0.0, "exact")


def _integrate(
    p: Population, arrived: NDArray[np.int64], n: Numbers, states: bool
) -> tuple[Ints, Ints, Ints]:
    spikes = np.empty(arrived.shape, np.int32)
    kept = arrived.shape if states else (0, 0, 0)
    u, v = np.empty(kept, np.int32), np.empty(kept, np.int32)
    bias = p.bias.astype(np.int64) << p.bias_exp
    one = 1 << n.decay_bits
    _lif(
        arrived, bias, one - (p.du + 1), one - p.dv, p.vth << n.state_shift,
        n.decay_bits, n.state_shift, 1 << (n.state_bits - 1), states, spikes, u, v,
    )  # fmt: skip
    return spikes, u, v


@numba.njit(parallel=True, cache=True)
def _deliver(sent, ends, targets, weights, exponent, arrived):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add every event's synapses to ``arrived [N, T, post]``; the shift acts on the sum."""
    samples, steps, sources = sent.shape
    for n in numba.prange(samples):
        total = np.zeros(arrived.shape[2], np.int64)
        for t in range(steps):
            total[:] = 0
            for j in range(sources):
                payload = np.int64(sent[n, t, j])
                if payload != 0:
                    for k in range(ends[j], ends[j + 1]):
                        total[targets[k]] += payload * weights[k]
            if exponent > 0:
                for i in range(total.size):
                    arrived[n, t, i] += total[i] << exponent
            else:
                for i in range(total.size):
                    arrived[n, t, i] += total[i] >> -exponent


@numba.njit(parallel=True, cache=True)
def _lif(arrived, bias, keep_u, keep_v, threshold, bits, shift, top, states, spikes, us, vs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Integrate ``arrived [N, T, size]``; products in 64 bits, truncation toward zero."""
    samples, steps, size = arrived.shape
    for n in numba.prange(samples):
        u = np.zeros(size, np.int64)
        v = np.zeros(size, np.int64)
        for t in range(steps):
            for i in range(size):
                product = u[i] * keep_u
                kept = product >> bits if product >= 0 else -(-product >> bits)
                current = kept + (arrived[n, t, i] << shift)
                if current > top:
                    current -= 2 * top
                elif current <= -top:
                    current += 2 * top
                product = v[i] * keep_v
                kept = product >> bits if product >= 0 else -(-product >> bits)
                voltage = min(max(kept + current + bias[i], 1 - top), top - 1)
                fired = voltage > threshold
                spikes[n, t, i] = 1 if fired else 0
                u[i] = current
                v[i] = 0 if fired else voltage
                if states:
                    us[n, t, i] = current
                    vs[n, t, i] = v[i]


def _join(parts: list[Trace], seconds: float) -> Trace:
    first = parts[0]

    def cat(pick: Callable[[LayerTrace], Ints], name: str) -> Ints:
        return np.concatenate([pick(p.layers[name]) for p in parts])

    layers = {
        name: LayerTrace(
            cat(lambda x: x.spikes, name), cat(lambda x: x.v, name), cat(lambda x: x.u, name)
        )
        for name in first.layers
    }
    return Trace(
        spikes=np.concatenate([p.spikes for p in parts]),
        events={k: np.sum([p.events[k] for p in parts], axis=0) for k in first.events},
        layers=layers,
        phase=first.phase,
        depth=first.depth,
        seconds=seconds,
        on=first.on,
    )
