"""Energy and time of one inference: counts times prices, and nothing that is not counted.

The model (docs/decisions/0004-energy.md): samples follow each other without a gap, so one
inference takes T chip steps of throughput and T + depth steps of latency. With loops or delays, a
sample waits until the one before has left the chip, so there both are T + depth steps. A step lasts
as long as the busiest core's synaptic operations and neuron updates, plus synchronization. Dynamic
energy is operations times their prices; static energy is power times the period, for every chip in
use. With I/O, the host delivers each non-zero input value in turn while the static power runs on.
Every price, and how wrong it may be, comes from the target file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn2hw.ir.arrays import frozen
from snn2hw.ir.integer import Connection
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, fan_out, matrix, with_weight
from snn2hw.ir.target import Figure, Target
from snn2hw.ir.trace import Trace

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """A value and how low and high it may be."""

    typical: float
    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.typical + other.typical, self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Range:
        """Scale by a plain number."""
        return Range(self.typical * factor, self.low * factor, self.high * factor)

    def json(self) -> dict[str, float]:
        """Return the three values by name, to six significant digits."""
        named = {"typical": self.typical, "low": self.low, "high": self.high}
        return {k: float(f"{v:.6g}") for k, v in named.items()}


@dataclass(frozen=True, slots=True)
class Layer:
    """Counts of one population per inference, and what they cost."""

    name: str
    neurons: int
    cores: int
    spikes: float
    synops: float
    synops_charged: float
    updates: float
    dynamic_uj: Range


@dataclass(frozen=True, slots=True)
class EnergyReport:
    """What one inference costs on average over ``samples``."""

    target: str
    title: str
    samples: int
    time_steps: int
    chips: int
    cores: int
    input_events: float
    layers: tuple[Layer, ...]
    latency_us: Range
    period_us: Range
    io_us: Range
    static_uj: Range
    static_io_uj: Range
    dynamic_uj: Range
    prices: tuple[Figure, ...]

    @property
    def spikes(self) -> float:
        """Spikes of all populations per inference (input events not counted)."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def synops(self) -> float:
        """Delivered (event, non-zero weight) pairs per inference."""
        return sum(layer.synops for layer in self.layers)

    def boundaries(self) -> dict[str, dict[str, Range]]:
        """Return static, dynamic and total energy for the chip alone and with I/O."""
        return {
            name: {
                "static_uj": static,
                "dynamic_uj": self.dynamic_uj,
                "total_uj": static + self.dynamic_uj,
            }
            for name, static in (("chip", self.static_uj), ("with_io", self.static_io_uj))
        }

    def json(self) -> dict[str, Any]:
        """Return the document of ``energy.json``."""
        return {
            "target": self.target,
            "samples": self.samples,
            "time_steps": self.time_steps,
            "cores": self.cores,
            "chips": self.chips,
            "latency_us": self.latency_us.json()["typical"],
            "latency_range_us": self.latency_us.json(),
            "period_us": self.period_us.json(),
            "io_us": self.io_us.json(),
            "spikes": _short(self.spikes),
            "synops": _short(self.synops),
            "input_events": _short(self.input_events),
            **{
                name: {k: v.json() for k, v in parts.items()}
                for name, parts in self.boundaries().items()
            },
            "layers": [_layer_json(layer) for layer in self.layers],
            "prices": [_price_json(p) for p in self.prices],
        }


def _layer_json(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "neurons": layer.neurons,
        "cores": layer.cores,
        "spikes": _short(layer.spikes),
        "synops": _short(layer.synops),
        "synops_charged": _short(layer.synops_charged),
        "updates": layer.updates,
        "dynamic_uj": layer.dynamic_uj.json(),
    }


def _price_json(price: Figure) -> dict[str, Any]:
    return {
        "name": price.name,
        "value": price.value,
        "low": price.low,
        "high": price.high,
        "unit": price.unit,
        "kind": price.kind,
        "source": price.source,
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def estimate(
    program: Program, trace: Trace, target: Target, stored_sparse: Callable[[Connection], bool]
) -> EnergyReport:
    """Price the counts of a trace.

    Args:
        program: what ran; its placement says which core did what.
        trace: event counts of the samples.
        target: prices and timings.
        stored_sparse: whether a connection's zeros are left out of the synapse memory; stored
            zeros are read, and charged, like any other weight.
    """
    net = program.network
    rate = {k: e.astype(np.float64) / trace.samples for k, e in trace.events.items()}
    busy: list[Floats] = []  # for each core, synops at each of its own steps
    neurons: list[int] = []
    phases: list[int] = []
    layers: list[Layer] = []
    counts = layer_counts(program, trace)
    for p in net.populations:
        charged = 0.0
        slices = program.placement.of(p.name)
        onto = np.zeros((len(slices), trace.steps))
        for i in net.into(p.name):
            c = net.connections[i]
            sent = rate[c.pre]
            pattern = _charged_pattern(c, stored_sparse(c))
            charged += float((sent @ np.asarray(pattern.sum(axis=0)).ravel()).sum())
            onto += _rows(slices, pattern) @ sent.T
        busy += list(onto)
        neurons += [s.stop - s.start for s in slices]
        phases += [program.phase[p.name]] * len(slices)
        updates = float(p.size * program.period(trace.steps))
        cost = _price(target, "synop").times(charged) + _price(target, "update").times(updates)
        layers.append(
            Layer(
                name=p.name,
                neurons=p.size,
                cores=len(slices),
                spikes=counts[p.name].spikes,
                synops=counts[p.name].synops,
                synops_charged=charged,
                updates=updates,
                dynamic_uj=cost.times(1e-6),
            )
        )
    now = _chip_steps(program, np.array(busy), np.array(phases))
    latency, period = _times(program, now, np.array(neurons), target)
    events = sum(float(rate[p.name].sum()) for p in net.inputs)
    io = _time(target, "io_value").times(events)
    power = _price(target, "static").times(program.placement.chips)
    return EnergyReport(
        target=target.name,
        title=target.title,
        samples=trace.samples,
        time_steps=trace.steps,
        chips=program.placement.chips,
        cores=program.placement.cores,
        input_events=events,
        layers=tuple(layers),
        latency_us=latency,
        period_us=period,
        io_us=io,
        static_uj=_product(power, period),
        static_io_uj=_product(power, period + io),
        dynamic_uj=sum((x.dynamic_uj for x in layers), Range(0.0, 0.0, 0.0)),
        prices=(*target.prices.values(), *(_as_time(f) for f in target.timing.values())),
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """Spikes of one population and synops into it, per sample."""

    spikes: float
    synops: float


def layer_counts(program: Program, trace: Trace) -> dict[str, Counts]:
    """Count spikes and delivered (event, non-zero weight) pairs of each population per sample."""
    net = program.network
    sent = {k: e.sum(axis=0) / trace.samples for k, e in trace.events.items()}
    counts: dict[str, Counts] = {}
    for p in net.populations:
        into = [net.connections[i] for i in net.into(p.name)]
        synops = sum(float(sent[c.pre] @ fan_out(c.synapses)) for c in into)
        counts[p.name] = Counts(float(sent[p.name].sum()), synops)
    return counts


def _as_time(figure: Figure) -> Figure:
    """Name a time apart from the energy of the same event."""
    return replace(figure, name=f"{figure.name} time")


def _charged_pattern(connection: Connection, sparse_storage: bool) -> Any:
    synapses = connection.synapses
    if not sparse_storage and isinstance(synapses, Conv | Dense):
        synapses = with_weight(synapses, frozen(np.ones_like(synapses.weight)))
    rows = matrix(synapses)
    return sparse.csr_array((np.ones(rows.nnz), rows.indices, rows.indptr), shape=rows.shape)


def _rows(slices: Any, pattern: Any) -> Any:
    """Sum a pattern's rows by core: ``[cores, pre]``."""
    ends = [s.start for s in slices] + [slices[-1].stop]
    owner = np.repeat(np.arange(len(slices)), np.diff(ends))
    ones = (np.ones(owner.size), (owner, np.arange(owner.size)))
    return sparse.csr_array(ones, shape=(len(slices), owner.size)) @ pattern


def _chip_steps(program: Program, busy: Floats, phases: Any) -> Floats:
    """Put what cores do at their own steps ``[cores, T]`` at the chip steps of one period."""
    steps = busy.shape[1]
    if program.streams:  # in steady state: at one chip step, layers work on different samples
        own = (np.arange(steps)[None, :] - phases[:, None]) % steps
        return np.take_along_axis(busy, own, axis=1)
    now = np.zeros((len(busy), program.period(steps)))
    np.put_along_axis(now, np.arange(steps)[None, :] + phases[:, None], busy, axis=1)
    return now


def _times(program: Program, now: Floats, neurons: Any, target: Target) -> tuple[Range, Range]:
    """Return latency and period in microseconds: each step lasts as its busiest core."""

    def each(pick: Callable[[Figure], float]) -> Floats:
        t = target.timing
        work = now * pick(t["synop"]) + neurons[:, None] * pick(t["update"])
        return work.max(axis=0) * 1e-3 + pick(t["step"])

    low, typical, high = each(lambda f: f.low), each(lambda f: f.value), each(lambda f: f.high)

    def first(steps: int) -> Range:
        return Range(*(float(x[:steps].sum()) for x in (typical, low, high)))

    steps = now.shape[1]
    period = first(steps)
    if program.streams:
        return period.times(program.chip_steps(steps) / steps), period
    return first(steps - program.tail + program.depth), period


def _price(target: Target, name: str) -> Range:
    return _range(target.prices, name)


def _time(target: Target, name: str) -> Range:
    return _range(target.timing, name)


def _range(figures: Mapping[str, Figure], name: str) -> Range:
    figure = figures[name]
    return Range(figure.value, figure.low, figure.high)


def _product(a: Range, b: Range) -> Range:
    return Range(a.typical * b.typical, a.low * b.low, a.high * b.high)
