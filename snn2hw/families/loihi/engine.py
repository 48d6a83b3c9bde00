"""The fast exact simulator: the same integers as ``reference.py``, event by event.

Because every layer is reset at its own phase and every branch is delayed to match, layer by
layer in the sample's own time gives the same numbers as step by step in chip time; that they do
is tested, not assumed. Only the populations of a loop go through time together, step by step.
Samples are independent, so they run in parallel, some in each thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from snn2hw.families.loihi.cells import Cells
from snn2hw.families.loihi.numbers import Numbers, as_added, numbers_of, population
from snn2hw.families.loihi.populations import Delta, Lif, check_sums
from snn2hw.ir.integer import Connection
from snn2hw.ir.program import Program
from snn2hw.ir.trace import LayerTrace, Trace, answers
from snn2hw.simulate import delivery
from snn2hw.simulate.batches import in_threads
from snn2hw.simulate.inputs import check_inputs

Ints = NDArray[np.int32]
Link = tuple[Connection, delivery.Way]


def run(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer]],
    *,
    spikes: bool = False,
    states: bool = False,
    progress: Callable[[int, int], None] | None = None,
    memory: int = 256 << 20,
) -> Trace:
    """Simulate every sample from fresh state.

    Args:
        program: what the chip is told.
        inputs: for each input port, integers ``[N, T, *shape]``.
        spikes: keep what every layer sends, not only how often.
        states: keep that and every layer's states.
        progress: called with (samples done, samples).
        memory: bytes the working arrays may take.

    Raises:
        InputError: if the inputs do not have the program's shapes or range.
    """
    samples, steps = check_inputs(program, inputs)
    n = numbers_of(program.network)
    connections = [as_added(c, n) for c in program.network.connections]
    links = [(c, delivery.way_of(c.synapses)) for c in connections]
    widest = sum(p.size for p in (*program.network.inputs, *program.network.populations))

    def simulate(some: slice) -> Trace:
        piece = {k: x[some] for k, x in inputs.items()}
        return _batch(program, links, piece, spikes=spikes or states, states=states)

    return in_threads(samples, 16 * steps * widest, simulate, progress, memory)


def _batch(
    program: Program,
    links: list[Link],
    inputs: Mapping[str, NDArray[np.integer]],
    *,
    spikes: bool,
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
        cells: dict[str, Cells] = {}
        for name in names:
            p = population(net, name)
            driven = p.driven_by if isinstance(p, Lif | Delta) else None
            written = None if driven is None else sent[driven]
            cells[name] = Cells(p, (samples, steps), written, states)
        sent |= {name: cell.spikes for name, cell in cells.items()}
        into = [links[i] for name in names for i in net.into(name)]
        graded = {c.post for c, _ in into if net.sends_graded(c.pre)}
        _component(cells, into, sent, numbers_of(net), steps, graded)
        if spikes:
            layers |= {name: cell.trace() for name, cell in cells.items()}
    events = {k: np.count_nonzero(x, axis=0).astype(np.int64) for k, x in sent.items()}
    return Trace(answers(program, sent), events, layers, program.phase, program.depth, 0.0, "exact")


def _component(
    cells: Mapping[str, Cells],
    into: list[Link],
    sent: Mapping[str, Ints],
    n: Numbers,
    steps: int,
    graded: set[str],
) -> None:
    """Compute a population over all steps at once, or the populations of a loop step by step.

    ``graded`` are those that take graded spikes, whose sums are checked.
    """
    inside = [(c, way) for c, way in into if c.pre in cells]
    for c, way in into:
        if c.pre not in cells:
            arrived = cells[c.post].arrived[c.part]
            delivery.deliver(sent[c.pre], way, c.exponent, c.delay, (0, steps), arrived)
    width = 1 if inside else steps
    for begin in range(0, steps, width):
        span = (begin, begin + width)
        for name, cell in cells.items():
            for c, way in inside:
                if c.post == name:
                    arrived = cell.arrived[c.part]
                    delivery.deliver(sent[c.pre], way, c.exponent, c.delay, span, arrived)
            if name in graded:
                check_sums(cell.p, cell.arrived["real"][:, begin : begin + width])
            cell.integrate(n, span)
