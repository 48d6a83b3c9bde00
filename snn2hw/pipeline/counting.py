"""Running a program and counting what it does, some samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from snn2hw import estimator, families
from snn2hw.ir import counts as counted
from snn2hw.ir import trace as traced
from snn2hw.ir.counts import Counts
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target
from snn2hw.ir.trace import Trace
from snn2hw.pipeline.port import Ints
from snn2hw.simulate.inputs import check_inputs


def run(
    program: Program,
    inputs: Mapping[str, Ints],
    *,
    states: bool = False,
    progress: Callable[[int, int], None] | None = None,
    memory: int = 1 << 28,
) -> tuple[Trace, Counts]:
    """Simulate samples and count every event that has a price.

    Where what events are worth can be added up while they happen, nothing else need be kept. Else
    counting needs the spikes of every layer, and of some targets the states; so that these are not
    kept of all samples, some are run at a time.

    Args:
        program: what the chip is told.
        inputs: for each input port, integers ``[N, T, *shape]``.
        states: keep every layer's spikes and states.
        progress: called with (samples done, samples).
        memory: bytes that what is kept of some samples may take.
    """
    family, net = families.of(program.target), program.network
    samples, steps = check_inputs(program, inputs)
    needed = states or family.counts_states(program.target)
    worth = {} if needed else family.worth(program)
    arrays = 3 if needed else 1  # of a layer: spikes, and at least a current and a membrane
    values = arrays * steps * sum(p.size for p in (*net.inputs, *net.populations))
    batch = max(1, memory // (4 * values))
    traces: list[Trace] = []
    counts: list[Counts] = []
    for start in range(0, samples, batch):
        piece = {k: x[start : start + batch] for k, x in inputs.items()}
        trace = family.run(
            program, piece, spikes=not worth, states=needed, worth=worth,
            progress=progress and (lambda done, _, at=start: progress(at + done, samples)),
        )  # fmt: skip
        counts.append(family.count(program, piece, trace))
        traces.append(trace if states else replace(trace, layers={}))
    seconds = sum(t.seconds for t in traces)
    return traced.join(traces, seconds), counted.join(counts)


def report(
    program: Program, trace: Trace, counts: Counts, target: Target
) -> estimator.EnergyReport:
    """Price what was counted at a target's prices."""
    times = families.of(target).time(program, counts, target)
    return estimator.priced(program, trace, counts, times, target)
