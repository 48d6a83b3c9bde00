"""Energy and time of one inference: counts times prices, and nothing that is not counted.

What is counted, and how long it takes, is the family's to say; here it is priced. Dynamic energy is
events times their prices. Static energy is power times the period, for every chip in use. With I/O,
the host delivers each non-zero input value in turn while the static power runs on. Every price, and
how wrong it may be, comes from the target file (docs/decisions/0004-energy.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from snn2hw.ir.counts import NOTHING, Counts, Range, Times, range_of, synops
from snn2hw.ir.program import Program
from snn2hw.ir.target import Figure, Target
from snn2hw.ir.trace import Trace

STATIC = "static"  # the price of a chip that is on, whatever happens on it


@dataclass(frozen=True, slots=True)
class Layer:
    """Counts of one population per inference, and what they cost.

    ``counts`` are the events that have a price; ``synops`` are events that meet non-zero weights.
    """

    name: str
    neurons: int
    cores: int
    spikes: float
    synops: float
    counts: Mapping[str, float]
    dynamic_uj: Range


@dataclass(frozen=True, slots=True)
class Paid:
    """One kind of event: its count per inference, its price in pJ, and what they come to."""

    event: str
    count: float
    pj: float
    uj: float


@dataclass(frozen=True, slots=True, repr=False)
class EnergyReport:
    """What one inference costs on average over ``samples``.

    ``data`` names the samples, and ``accuracy`` is that on them, if their labels are known. It is
    that of ``output``, where one was named. ``trained_on`` says that the model was trained on these
    samples; ``data_sha256`` is their hash, where the name does not say which they are.
    """

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
    data: str | None = None
    accuracy: float | None = None
    output: str | None = None
    trained_on: bool = False
    data_sha256: str | None = None

    @property
    def spikes(self) -> float:
        """Spikes of all populations per inference (input events not counted)."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def synops(self) -> float:
        """Delivered (event, non-zero weight) pairs per inference."""
        return sum(layer.synops for layer in self.layers)

    def paid(self) -> list[Paid]:
        """Return how often each event happens in an inference, and what that costs."""
        pj = {p.name: p.value for p in self.prices if p.unit == "pJ"}
        counts = {e: sum(x.counts[e] for x in self.layers) for e in self.layers[0].counts}
        return [Paid(e, n, pj[e], n * pj[e] * 1e-6) for e, n in counts.items()]

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

    def __repr__(self) -> str:
        """Say in a few lines what an inference takes."""
        rows = [f"{self.title}: {self.samples} samples of {self.time_steps} steps"]
        for where, title in (("chip", "the chip alone"), ("with_io", "with its input and output")):
            total = self.boundaries()[where]["total_uj"]
            rows.append(f"  energy of an inference, {title}: {total} uJ")
        rows.append(f"  latency: {self.latency_us} us")
        if self.accuracy is not None:
            rows.append(f"  accuracy: {100 * self.accuracy:.2f} %")
        return "\n".join(rows)

    def json(self) -> dict[str, Any]:
        """Return the document of ``energy.json``."""
        return {
            "target": self.target,
            "samples": self.samples,
            "data": self.data,
            "accuracy": self.accuracy,
            **({} if self.output is None else {"output": self.output}),
            **({"trained_on": True} if self.trained_on else {}),
            **({} if self.data_sha256 is None else {"data_sha256": self.data_sha256}),
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
        "counts": {k: _short(n) for k, n in layer.counts.items()},
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


def unpriced(counts: Counts, target: Target) -> list[str]:
    """Name the events that have no price, and the prices whose event is not counted."""
    return sorted(set(counts.events) ^ (set(target.prices) - {STATIC}))


def priced(
    program: Program, trace: Trace, counts: Counts, times: Times, target: Target
) -> EnergyReport:
    """Price what was counted.

    Args:
        program: what ran.
        trace: of the samples.
        counts: of all events of these samples.
        times: how long a sample takes.
        target: prices, of each event that is counted and of no other.

    Raises:
        ValueError: an event without a price, or a price without an event.
    """
    odd = unpriced(counts, target)
    if odd:
        raise ValueError(f"not counted, or without a price: {', '.join(odd)}")
    placement = program.placement
    each = {e: counts.per_sample(e, program) for e in counts.events}
    seen = layer_counts(program, trace)
    layers: list[Layer] = []
    for p in program.network.populations:
        rows = [i for i, s in enumerate(placement.slices) if s.layer == p.name]
        own = {e: float(n[rows].sum()) for e, n in each.items()}
        pj = sum((range_of(target.prices[e]).times(n) for e, n in own.items()), NOTHING)
        layers.append(
            Layer(
                name=p.name,
                neurons=p.size,
                cores=len({placement.slices[i].core for i in rows}),
                spikes=seen[p.name].spikes,
                synops=seen[p.name].synops,
                counts=own,
                dynamic_uj=pj.times(1e-6),
            )
        )
    host = {e: float(n.mean()) for e, n in counts.host.items()}
    io = sum((range_of(target.timing[e]).times(n) for e, n in host.items()), NOTHING)
    power = range_of(target.prices[STATIC]).times(placement.chips)
    return EnergyReport(
        target=target.name,
        title=target.title,
        samples=trace.samples,
        time_steps=trace.steps,
        chips=placement.chips,
        cores=placement.cores,
        input_events=sum(float(trace.events[p.name].sum()) for p in program.network.inputs)
        / trace.samples,
        layers=tuple(layers),
        latency_us=times.latency_us,
        period_us=times.period_us,
        io_us=io,
        static_uj=power * times.period_us,
        static_io_uj=power * (times.period_us + io),
        dynamic_uj=sum((x.dynamic_uj for x in layers), NOTHING),
        prices=(*target.prices.values(), *(_as_time(f) for f in target.timing.values())),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """Spikes of one population and synops into it, per sample."""

    spikes: float
    synops: float


def layer_counts(program: Program, trace: Trace) -> dict[str, Seen]:
    """Count spikes and synaptic operations of each population per sample."""
    net = program.network
    sent = {k: e.sum(axis=0) / trace.samples for k, e in trace.events.items()}
    found: dict[str, Seen] = {}
    for p in net.populations:
        into = [net.connections[i] for i in net.into(p.name)]
        met = sum(synops(sent[c.pre], c.synapses) for c in into)
        found[p.name] = Seen(float(sent[p.name].sum()), met)
    return found


def _as_time(figure: Figure) -> Figure:
    """Name a time apart from the energy of the same event."""
    return replace(figure, name=f"{figure.name} time")
