"""A float network step by step, without any chip: what its author's tool computes.

Arithmetic: each cell's equations (NIR's ``ir/neuron.py``) over one time step, as ``network.Rules``
says; the current first, then the membrane, then the spike, then the reset, or a late one between
membrane and spike. In float64.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, listed
from snn2hw.ir import counts
from snn2hw.ir.arrays import size_of
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.graph import Incoming, Wiring, wiring
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Leaky, Lif, Node, Threshold, input_shape
from snn2hw.ir.trace import chosen, predicted
from snn2hw.simulate.float_synapses import Way, deliver, way_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FloatTrace:
    """What a float network did.

    Args:
        outputs: what each Output receives, ``[N, T, *shape]``: spikes, or membrane potentials
            where integrators feed it.
        recorded: the same for the cells that were asked for.
        membranes: their membrane potentials after the step, ``[N, T, *shape]``.
        events: how many values other than 0 each input and cell sent, over samples and steps,
            ``[size]``; where neurons may send many spikes a step, a value counts as that many.
        active: the same, where a value always counts as one.
        samples: N.
        steps: T.
    """

    outputs: Mapping[str, Floats]
    recorded: Mapping[str, Floats]
    membranes: Mapping[str, Floats]
    events: Mapping[str, Floats]
    active: Mapping[str, Floats]
    samples: int
    steps: int

    @property
    def answer(self) -> Floats:
        """What the only output received, ``[N, T, *shape]``; several raise InputError."""
        return self.outputs[chosen(self.outputs, None)]

    @property
    def predictions(self) -> dict[str, NDArray[np.int64]]:
        """For each output, the element of which it receives most over all steps, ``[N]``."""
        return {name: predicted(x) for name, x in self.outputs.items()}

    @property
    def prediction(self) -> NDArray[np.int64]:
        """That of the only output; several raise InputError."""
        return predicted(self.answer)


def run(
    net: Network,
    inputs: Mapping[str, NDArray[Any]],
    *,
    record: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
    memory: int = 256 << 20,
) -> FloatTrace:
    """Simulate every sample from fresh state (all membranes and currents 0).

    Args:
        net: the network.
        inputs: for each Input node, numbers ``[N, T, *shape]``.
        record: cells to record.
        progress: called with (samples done, samples).
        memory: bytes the working arrays of one batch may take.

    Raises:
        InputError: if the inputs do not have the network's shapes.
    """
    samples, steps = check_inputs(net, inputs)
    wires = wiring(net)
    synapses = {
        name: [(s.name, s.delay, way_of(s.synapses)) for s in into.sources]
        for name, into in wires.into.items()
    }
    width = {name: size_of(node.shape) for name, node in net.inputs().items()}
    width |= {name: into.bias.size for name, into in wires.into.items()}
    kept = sum(width[n] for n in (*record, *record, *net.outputs(), *net.inputs()))
    longest = max((delay for links in synapses.values() for _, delay, _ in links), default=0)
    each = 8 * (kept * steps + sum(width.values()) * (longest + 4))
    batch = max(1, min(samples, memory // each))
    traces: list[FloatTrace] = []
    for start in range(0, samples, batch):
        piece = {
            k: np.ascontiguousarray(x[start : start + batch].reshape(-1, steps, width[k]), float)
            for k, x in inputs.items()
        }
        traces.append(_batch(net, wires, synapses, piece, record, longest))
        if progress:
            progress(min(start + batch, samples), samples)
    return _join(traces)


def synops(net: Network, events: Mapping[str, Floats]) -> dict[str, float]:
    """Count synaptic operations by the cell that receives them.

    Args:
        net: the network.
        events: events of each neuron of inputs and cells, in any unit (a total, a mean).
    """
    wires = wiring(net)
    return {
        name: sum(counts.synops(events[s.name], s.synapses) for s in wires.into[name].sources)
        for name in wires.order
    }


def check_inputs(net: Network, inputs: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
    """Return (samples, steps), or say what is wrong with the inputs."""
    ports = net.inputs()
    if set(inputs) != set(ports):
        raise InputError(
            f"The network takes inputs {listed(ports)}, not {listed(inputs) or 'none'}."
        )
    for name, port in ports.items():
        x = inputs[name]
        if x.ndim != 2 + len(port.shape) or x.shape[2:] != port.shape or 0 in x.shape[:2]:
            raise InputError(
                f"Input {name} must be [samples, steps, {', '.join(map(str, port.shape))}], "
                f"got {list(x.shape)}."
            )
    lengths = {x.shape[:2] for x in inputs.values()}
    if len(lengths) != 1:
        raise InputError("All inputs must have the same number of samples and steps.")
    return lengths.pop()


_Links = list[tuple[str, int, Way]]  # source, delay, and how its spikes are delivered
_Sent = dict[str, dict[int, Floats]]  # by cell, by step, [N, size]


def _batch(
    net: Network,
    wires: Wiring,
    synapses: Mapping[str, _Links],
    inputs: Mapping[str, Floats],
    record: Collection[str],
    longest: int,
) -> FloatTrace:
    samples, steps = next(iter(inputs.values())).shape[:2]
    last = {s.name for n in net.outputs() for s in wires.into[n].sources}
    cells = {n: _start(net.nodes[n], net.dt, net.rules, samples, n in last) for n in wires.order}
    sent: _Sent = {name: {} for name in (*inputs, *cells)}
    events = {name: np.zeros(()) for name in sent}
    active = dict(events)

    def drive(name: str, t: int) -> Floats:
        total = np.tile(_constants(wires.into[name], t), (samples, 1))
        return _received(total, synapses[name], sent, t)

    def room(names: Collection[str]) -> dict[str, Floats]:
        return {n: np.empty((samples, steps, wires.into[n].bias.size)) for n in names}

    outputs, recorded, membranes = room(net.outputs()), room(record), room(record)
    for t in range(steps):
        for name, x in inputs.items():
            sent[name][t] = np.ascontiguousarray(x[:, t])
        for name, cell in cells.items():
            sent[name][t] = cell.step(drive(name, t))
            if name in record:
                recorded[name][:, t], membranes[name][:, t] = sent[name][t], cell.v
        for name, out in outputs.items():
            out[:, t] = drive(name, t)
        for name, past in sent.items():
            counted = past[t] if net.rules.spikes == "many" else past[t] != 0
            events[name] = events[name] + counted.sum(axis=0, dtype=np.float64)
            active[name] = active[name] + np.count_nonzero(past[t], axis=0)
            past.pop(t - longest, None)

    def shaped(arrays: Mapping[str, Floats]) -> dict[str, Floats]:
        return {k: v.reshape(samples, steps, *input_shape(net.nodes[k])) for k, v in arrays.items()}

    seen = (shaped(outputs), shaped(recorded), shaped(membranes))
    return FloatTrace(*seen, events, active, samples, steps)


def _received(total: Floats, links: _Links, sent: _Sent, t: int) -> Floats:
    for source, delay, way in links:
        if t >= delay:
            deliver(sent[source][t - delay], way, total)
    return total


def _constants(into: Incoming, t: int) -> Floats:
    return into.bias + sum(value for start, value in into.late.items() if start <= t)


class _Threshold:
    """Nothing is remembered; the membrane shown is the input."""

    def __init__(self, node: Threshold) -> None:
        self.threshold = node.threshold.reshape(-1)
        self.v: Floats = np.zeros(())

    def step(self, drive: Floats) -> Floats:
        self.v = drive
        return (drive > self.threshold).astype(float)


class _Leaky:
    """Integrates; gives its membrane."""

    def __init__(self, node: Leaky | Lif, dt: float, rules: Rules, samples: int) -> None:
        made = coefficients(node, dt, rules.integration)
        self.keep_i, self.gain_i, self.keep_v, self.gain_v, self.drift = (
            np.broadcast_to(x, node.shape).reshape(-1)
            for x in (
                made.keep_current, made.gain_current, made.keep_voltage, made.gain_voltage,
                made.drift,
            )
        )  # fmt: skip
        self.i = np.zeros((samples, size_of(node.shape)))
        self.v = np.zeros_like(self.i)

    def integrate(self, drive: Floats) -> None:
        self.i = self.keep_i * self.i + self.gain_i * drive
        self.v = self.keep_v * self.v + self.gain_v * self.i + self.drift

    def step(self, drive: Floats) -> Floats:
        self.integrate(drive)
        return self.v


class _Lif(_Leaky):
    """Integrates, spikes and resets."""

    def __init__(self, node: Lif, dt: float, rules: Rules, samples: int, last: bool) -> None:
        super().__init__(node, dt, rules, samples)
        self.rules, self.zero = rules, node.reset.startswith("zero")
        self.late = node.reset.endswith("late")
        self.at = (node.fires or rules.fires) == "at"
        self.before: Floats = np.zeros_like(self.v)  # spikes of the step before
        self.most = rules.most_out if last else rules.most
        self.threshold = np.broadcast_to(node.v_threshold, node.shape).reshape(-1)
        self.reset = np.broadcast_to(node.v_reset, node.shape).reshape(-1)

    def step(self, drive: Floats) -> Floats:
        self.integrate(drive)
        if self.late:
            self._reset(self.before)
        if self.rules.spikes == "one":
            fired = self.v >= self.threshold if self.at else self.v > self.threshold
            spikes = fired.astype(float)
        else:
            held = self.v / self.threshold
            spikes = np.clip(np.floor(held) if self.at else np.ceil(held) - 1, 0.0, self.most)
        self.before = spikes
        if not self.late:
            self._reset(spikes)
        if self.rules.v_min is not None:
            self.v = np.maximum(self.v, self.rules.v_min)
        return spikes

    def _reset(self, spikes: Floats) -> None:
        if self.zero:
            self.v = np.where(spikes > 0, self.reset, self.v)
        else:
            self.v = self.v - spikes * self.threshold


def _start(node: Node, dt: float, rules: Rules, samples: int, last: bool) -> _Threshold | _Leaky:
    match node:
        case Threshold():
            return _Threshold(node)
        case Leaky():
            return _Leaky(node, dt, rules, samples)
        case Lif():
            return _Lif(node, dt, rules, samples, last)
        case _:
            raise TypeError(f"{type(node).__name__} is not a cell")


def _join(parts: list[FloatTrace]) -> FloatTrace:
    first = parts[0]

    def cat(pick: Callable[[FloatTrace], Mapping[str, Floats]]) -> dict[str, Floats]:
        return {k: np.concatenate([pick(p)[k] for p in parts]) for k in pick(first)}

    return FloatTrace(
        cat(lambda p: p.outputs),
        cat(lambda p: p.recorded),
        cat(lambda p: p.membranes),
        {k: np.sum([p.events[k] for p in parts], axis=0) for k in first.events},
        {k: np.sum([p.active[k] for p in parts], axis=0) for k in first.active},
        sum(p.samples for p in parts),
        first.steps,
    )
