"""NeuroBench's metrics (``metrics.py``) of a float network, and of a program on a chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import families
from snn2hw.ir.graph import wiring
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Leaky
from snn2hw.ir.program import Program
from snn2hw.ir.trace import Trace, chosen
from snn2hw.metrics import Link, Metrics, measured
from snn2hw.pipeline.finishing import size

FLOAT = 4  # bytes of a parameter in training


def of_network(
    net: Network,
    inputs: Mapping[str, NDArray[Any]],
    labels: NDArray[Any] | None = None,
    *,
    output: str | None = None,
) -> Metrics:
    """Run a float network and return its metrics.

    Args:
        net: the network.
        inputs: for each input, numbers ``[N, T, *shape]``.
        labels: ``[N]``, if there are any.
        output: of several outputs, the one that the labels are for.
    """
    from snn2hw.simulate import floating  # here, as its compiler takes long to import

    ran, wires = floating.run(net, inputs), wiring(net)
    links = [Link(s.name, s.synapses) for name in wires.order for s in wires.into[name].sources]
    cells = net.cells()
    sums = [k for k, n in cells.items() if isinstance(n, Leaky)]
    spiking = [k for k in cells if k not in sums]
    last = {s.name for name in net.outputs() for s in wires.into[name].sources}
    rules = net.rules
    several = [
        k for k in spiking
        if rules.spikes == "many" and (rules.most_out if k in last else rules.most) != 1
    ]  # fmt: skip
    accuracy = None
    if labels is not None:
        accuracy = float((ran.predictions[chosen(ran.outputs, output)] == labels).mean())
    return measured(
        links, ran.active, spiking,
        [*sums, *several, *(k for k, p in net.inputs().items() if p.max_value > 1)],
        footprint=FLOAT * size(net)["parameters"], samples=ran.samples, steps=ran.steps,
        accuracy=accuracy,
    )  # fmt: skip


def of_program(program: Program, trace: Trace, accuracy: float | None) -> Metrics:
    """Return the metrics of what ran on a chip.

    Args:
        program: what the chip was told: the footprint is that of its weights and the arrays of its
            populations, in whole bytes that hold the largest of each.
        trace: of the samples.
        accuracy: on them.
    """
    net = program.network
    arrays = [c.synapses.weight for c in net.connections]
    for p in net.populations:
        held: list[Any] = [getattr(p, f.name) for f in fields(p)]  # type: ignore[arg-type]
        arrays += [a for a in held if isinstance(a, np.ndarray)]
    most = most_spikes(program)
    return measured(
        [Link(c.pre, c.synapses) for c in net.connections],
        {k: e.sum(axis=0) for k, e in {**trace.events, **trace.active}.items()},
        [p.name for p in net.populations if not p.graded],
        [*(p.name for p in net.populations if p.graded or most[p.name] > 1),
         *(p.name for p in net.inputs if p.largest > 1)],
        footprint=sum(a.size * width(a) for a in arrays), samples=trace.samples, steps=trace.steps,
        accuracy=accuracy,
    )  # fmt: skip


def most_spikes(program: Program) -> dict[str, int]:
    """Return how many spikes a neuron of each population may send in a step; a message is one."""
    rules = families.of(program.target).trains(program.target)
    outs = program.network.outputs.values()
    return {p.name: rules.most_out if p.name in outs else rules.most
            for p in program.network.populations}  # fmt: skip


def width(values: NDArray[Any]) -> int:
    """Return how many bytes a signed integer needs that holds any of the values."""
    largest = int(np.abs(values.astype(np.int64)).max(initial=0))
    return next(n for n in (1, 2, 4, 8) if largest < 1 << (8 * n - 1))
