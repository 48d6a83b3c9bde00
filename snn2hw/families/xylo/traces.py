"""From what happened in chip time to a trace: each layer's own window of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.xylo.numbers import PARTS, numbers_of
from snn2hw.families.xylo.populations import Hidden, Population
from snn2hw.ir.program import Program
from snn2hw.ir.trace import SPIKES, LayerTrace, Trace, answers

Kept = Mapping[str, NDArray[np.integer[Any]]]


def state_names(program: Program, p: Population) -> tuple[str, ...]:
    """Return the states of a population, in the order in which a step computes them."""
    several = isinstance(p, Hidden) and numbers_of(program.network).synapses > 1
    return (*PARTS[: 1 + several], "vmem")


def trace_of(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer[Any]]],
    kept: Mapping[str, Kept],
    seconds: float,
    on: str,
    *,
    layers: bool = True,
) -> Trace:
    """Cut every layer's window out of what it did.

    Args:
        program: what ran.
        inputs: ``[N, T, *shape]`` of each.
        kept: of each population what it sent (``spikes``) and, for all of them or for none, its
            states, each ``[N, T + tail, size]``.
        seconds: time spent.
        on: which simulator.
        layers: keep what every population did, not only how often it sent.
    """
    samples, steps = next(iter(inputs.values())).shape[:2]
    names = {p.name: p.shape for p in program.network.populations}

    def window(name: str, what: str) -> NDArray[np.integer[Any]]:
        begin = program.phase[name]
        return kept[name][what][:, begin : begin + steps].reshape(samples, steps, *names[name])

    whole = {
        name: LayerTrace(window(name, SPIKES), {k: window(name, k) for k in found if k != SPIKES})
        for name, found in kept.items()
        if layers
    }
    sent = {k: x.reshape(samples, steps, -1) for k, x in inputs.items()}
    sent |= {k: window(k, SPIKES).reshape(samples, steps, -1) for k in names}
    events = {k: x.sum(axis=0, dtype=np.int64) for k, x in sent.items()}
    active = {k: np.count_nonzero(x, axis=0) for k, x in sent.items()}
    outputs = {k: window(k, SPIKES) for k in program.network.outputs.values()}
    return Trace(
        answers(program, outputs), events, whole, program.phase, program.depth, seconds, on,
        active=active,
    )  # fmt: skip
