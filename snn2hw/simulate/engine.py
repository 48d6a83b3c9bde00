"""The fast exact simulator: the same integers as ``reference.py``, event by event.

Because every layer is reset at its own phase and every branch is delayed to match, layer by
layer in the sample's own time gives the same numbers as step by step in chip time; that they do
is tested, not assumed. Only the populations of a loop go through time together, step by step.
Samples are independent, so they run in parallel, some in each thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError
from snn2hw.ir.integer import Connection, Numbers, Population
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import matrix
from snn2hw.ir.trace import LayerTrace, Trace, join

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
        memory: bytes the working arrays may take.

    Raises:
        InputError: if the inputs do not have the program's shapes or range.
    """
    samples, steps = check_inputs(program, inputs)
    synapses = [_by_source(c) for c in program.network.connections]
    widest = sum(p.size for p in (*program.network.inputs, *program.network.populations))
    threads = min(samples, numba.get_num_threads())
    batch = max(1, min(-(-samples // threads), memory // (16 * steps * widest * threads)))

    def simulate(start: int) -> Trace:
        piece = {k: x[start : start + batch] for k, x in inputs.items()}
        return _batch(program, synapses, piece, states)

    began, parts = time.perf_counter(), list[Trace]()
    with ThreadPoolExecutor(threads) as pool:  # the kernels release Python's lock
        for part in pool.map(simulate, range(0, samples, batch)):
            parts.append(part)
            if progress:
                progress(min(len(parts) * batch, samples), samples)
    return join(parts, time.perf_counter() - began)


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
    for names in net.components():
        cells = {name: _Cells(net.population(name), samples, steps, states) for name in names}
        sent |= {name: cell.spikes for name, cell in cells.items()}
        into = [(net.connections[i], synapses[i]) for name in names for i in net.into(name)]
        _component(cells, into, sent, net.numbers, steps)
        if states:
            layers |= {name: cell.trace() for name, cell in cells.items()}
    events = {k: np.count_nonzero(x, axis=0).astype(np.int64) for k, x in sent.items()}
    out = net.population(net.output)
    spikes = sent[net.output].reshape(samples, steps, *out.shape)
    return Trace(spikes, events, layers, program.phase, program.depth, 0.0, "exact")


def _component(
    cells: Mapping[str, _Cells],
    into: list[tuple[Connection, tuple[Any, Any, Any]]],
    sent: Mapping[str, Ints],
    n: Numbers,
    steps: int,
) -> None:
    """Compute a population over all steps at once, or the populations of a loop step by step."""
    inside = [(c, ends) for c, ends in into if c.pre in cells]
    for c, ends in into:
        if c.pre not in cells:
            _deliver(sent[c.pre], ends, c.exponent, c.delay, (0, steps), cells[c.post].arrived)
    width = 1 if inside else steps
    for begin in range(0, steps, width):
        span = (begin, begin + width)
        for name, cell in cells.items():
            for c, ends in inside:
                if c.post == name:
                    _deliver(sent[c.pre], ends, c.exponent, c.delay, span, cell.arrived)
            cell.integrate(n, span)


class _Cells:
    """One population while it is simulated: what arrives, states now, and what is kept of them."""

    def __init__(self, p: Population, samples: int, steps: int, states: bool) -> None:
        self.p, self.states = p, states
        whole, kept = (samples, steps, p.size), (samples, steps if states else 0, p.size)
        self.arrived = np.zeros(whole, np.int64)
        self.spikes = np.empty(whole, np.int32)
        self.u, self.v = np.zeros((2, samples, p.size), np.int64)
        self.us, self.vs = np.empty(kept, np.int32), np.empty(kept, np.int32)

    def integrate(self, n: Numbers, span: tuple[int, int]) -> None:
        """Compute the steps of a span (its end excluded) from the states before it."""
        p, one = self.p, 1 << n.decay_bits
        bias = p.bias.astype(np.int64) << p.bias_exp
        shifts = (n.decay_bits, n.state_shift, 1 << (n.state_bits - 1))
        neuron = (one - (p.du + 1), one - p.dv, p.vth << n.state_shift)
        state = (self.u, self.v)
        kept = (self.spikes, self.us, self.vs)
        _lif(self.arrived, bias, neuron, shifts, span, state, kept, self.states)

    def trace(self) -> LayerTrace:
        """Return everything in the population's shape."""
        shape = (*self.spikes.shape[:2], *self.p.shape)
        return LayerTrace(*(x.reshape(shape) for x in (self.spikes, self.vs, self.us)))


@numba.njit(nogil=True, cache=True)
def _deliver(sent, synapses, exponent, delay, span, arrived):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add to a span of ``arrived [N, T, post]`` the synapses of events ``delay`` steps before.

    The shift acts on the sum of a connection.
    """
    (ends, targets, weights), (begin, end) = synapses, span
    samples, _, sources = sent.shape
    for n in range(samples):
        total = np.zeros(arrived.shape[2], np.int64)
        for t in range(max(begin, delay), end):
            total[:] = 0
            for j in range(sources):
                payload = np.int64(sent[n, t - delay, j])
                if payload != 0:
                    for k in range(ends[j], ends[j + 1]):
                        total[targets[k]] += payload * weights[k]
            if exponent > 0:
                for i in range(total.size):
                    arrived[n, t, i] += total[i] << exponent
            else:
                for i in range(total.size):
                    arrived[n, t, i] += total[i] >> -exponent


@numba.njit(nogil=True, cache=True)
def _lif(arrived, bias, neuron, shifts, span, state, kept, states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Integrate a span of ``arrived [N, T, size]`` into the state ``u``, ``v [N, size]``.

    Products in 64 bits, truncation toward zero, sums in 32 bits.
    """
    (keep_u, keep_v, threshold), (bits, shift, top) = neuron, shifts
    (begin, end), (u, v), (spikes, us, vs) = span, state, kept
    samples, _, size = arrived.shape
    for n in range(samples):
        for t in range(begin, end):
            for i in range(size):
                product = u[n, i] * keep_u
                rest = product >> bits if product >= 0 else -(-product >> bits)
                current = np.int64(np.int32(rest + (arrived[n, t, i] << shift)))
                if current > top:
                    current -= 2 * top
                elif current <= -top:
                    current += 2 * top
                product = v[n, i] * keep_v
                rest = product >> bits if product >= 0 else -(-product >> bits)
                voltage = np.int64(np.int32(rest + current + bias[i]))
                voltage = min(max(voltage, 1 - top), top - 1)
                fired = voltage > threshold
                spikes[n, t, i] = 1 if fired else 0
                u[n, i] = current
                v[n, i] = 0 if fired else voltage
                if states:
                    us[n, t, i] = current
                    vs[n, t, i] = v[n, i]
