"""The fast exact simulator: the same integers as ``definition.py``, event by event.

Because every layer is reset at its own phase and every branch is delayed to match, layer by
layer in the sample's own time gives the same numbers as step by step in chip time; that they do
is tested, not assumed. Only the populations of a loop go through time together, step by step.
Samples are independent, so they run in parallel, some in each thread; so few at a time that what
they need stays in the cache (docs/decisions/0021-engine.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from snn2hw import errors
from snn2hw.compiled import threads_there
from snn2hw.families.family import NOTHING, Inputs, Worth
from snn2hw.families.loihi.cells import Cells, Kept
from snn2hw.families.loihi.numbers import as_added, numbers_of, population, populations
from snn2hw.families.loihi.populations import Delta, Lif, Population, SigmaDelta, check_sums
from snn2hw.ir.arrays import different_steps
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.trace import LayerTrace, OnDemand, Trace, answers
from snn2hw.resources import check_memory
from snn2hw.simulate import delivery, layout
from snn2hw.simulate.batches import Spare, Workspace, in_threads
from snn2hw.simulate.events import Events, Sent, Span, counted, listed, weighed
from snn2hw.simulate.inputs import check_inputs

# Bytes of a thread's working arrays: with fewer, calls cost more than is saved; with more, they
# leave the second cache too often (make bench).
CACHE = 8 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """A connection, and how its events are delivered."""

    connection: Connection
    way: delivery.Way


@dataclass(frozen=True, slots=True)
class Plan:
    """What is computed once for a program.

    Args:
        channels: of a place, of each input and population.
        bias: of each population, in the inner order; 0 where it has none.
        into: the links into each population.
        plain: inputs and populations that send nothing but spikes.
        wide: populations whose sums need 64 bits: those that take graded spikes.
        components: populations, those of a loop together.
        elements: of inputs and populations.
        bytes_a_step: of working arrays, of one step of one sample.
        spare: working arrays that a run has left for the next.
    """

    channels: Mapping[str, int]
    bias: Mapping[str, NDArray[np.int32]]
    into: Mapping[str, list[Link]]
    plain: frozenset[str]
    wide: frozenset[str]
    components: list[list[str]]
    elements: int
    bytes_a_step: int
    spare: Spare


_plans: WeakKeyDictionary[IntNetwork, Plan] = WeakKeyDictionary()


def run(
    program: Program,
    inputs: Inputs,
    *,
    spikes: bool = False,
    states: bool = False,
    layers: Collection[str] | None = None,
    worth: Worth = NOTHING,
    progress: Callable[[int, int], None] | None = None,
    memory: int = CACHE,
) -> Trace:
    """Simulate every sample from fresh state.

    Args:
        program: what the chip is told.
        inputs: for each input port, integers ``[N, T, *shape]``.
        spikes: keep what every layer sends, not only how often.
        states: keep that and every layer's states.
        layers: of these populations only.
        worth: of an event of each element of some inputs and populations, in the inner order: the
            trace then holds the sums in each step, and last the number of events.
        progress: called with (samples done, samples).
        memory: bytes the working arrays of a thread may take; those of one sample they may always.

    Raises:
        InputError: the inputs do not have the program's shapes or range, or there is not the memory
            for what is to be kept, or for one sample.
    """
    samples, steps = check_inputs(program, inputs)
    net, plan = program.network, _plan_of(program.network)
    told = {
        p.name: p.size
        for p in net.populations
        if (spikes or states) and (layers is None or p.name in layers)
    }
    _check_memory(plan, samples, steps, (9 if states else 1) * sum(told.values()))
    kept = {
        p.name: _array(plan, p.name, p.size, samples, steps, states and p.name in told)
        for p in net.populations
        if p.name in told or p.name in net.outputs.values()
    }

    ways = {k: sum(x.table.shape[0] for x in w) for k, w in worth.items()}
    sums = {k: np.empty((samples, steps, n + 1), np.int64) for k, n in ways.items()}

    def simulate(some: slice, space: Workspace) -> None:
        here = {name: Kept(k.spikes[some], k.u[some], k.v[some]) for name, k in kept.items()}
        batch = _Batch(net, plan, {k: x[some] for k, x in inputs.items()}, here, space)
        batch.run()
        for name, w in worth.items():
            sums[name][some] = weighed(batch.lists[name], w, space)

    each = steps * plan.bytes_a_step
    spaces, seconds = in_threads(samples, each, simulate, progress, memory, plan.spare)

    def shown(name: str, x: NDArray[Any]) -> NDArray[Any]:
        return layout.outward(x, plan.channels[name], net.shape(name))

    def events_of(name: str, size: int) -> Callable[[], NDArray[np.int64]]:
        counts = [s.keep(f"{name} events", (steps, size), np.int32) for s in spaces]

        def total() -> NDArray[np.int64]:
            whole = np.stack(counts).sum(axis=0, keepdims=True, dtype=np.int64)
            return shown(name, whole).reshape(steps, -1)

        return total

    events = OnDemand({p.name: events_of(p.name, p.size) for p in (*net.inputs, *net.populations)})
    outputs = {p: shown(p, kept[p].spikes) for p in net.outputs.values()}
    traces = {
        name: LayerTrace(
            shown(name, k.spikes),
            {"u": shown(name, k.u), "v": shown(name, k.v)} if states else {},
        )
        for name, k in kept.items()
        if name in told
    }
    return Trace(
        answers(program, outputs), events, traces, program.phase, program.depth, seconds, "exact",
        sums,
    )  # fmt: skip


def _check_memory(plan: Plan, samples: int, steps: int, kept: int) -> None:
    """Ask for the memory of a run that keeps so many bytes of each sample and step."""
    working = plan.bytes_a_step + 4 * plan.elements  # and the lists of events
    threads = min(samples, threads_there())

    def need(samples: int, threads: int) -> int:
        once = threads * (working + 4 * plan.elements)
        once += 8 * plan.elements  # how often each spiked
        return steps * (once + samples * kept)

    def way_out(left: float) -> str:
        ways = ["fewer samples (--samples)"] if samples > 1 and need(1, 1) <= left else []
        ways += ["one thread (NUMBA_NUM_THREADS=1)"] if need(samples, 1) <= left else []
        ways += ["samples of fewer steps"] if steps > 1 else []
        return f"Take {' or '.join(ways or ['a smaller network'])}."

    what = f"{errors.counted(samples, 'sample')} of {errors.counted(steps, 'step')}"
    check_memory(need(samples, threads), f"The simulation of {what}", way_out)


def _array(plan: Plan, name: str, size: int, samples: int, steps: int, states: bool) -> Kept:
    dtype = np.int8 if name in plan.plain else np.int32
    state = (samples, steps if states else 0, size)
    return Kept(
        np.empty((samples, steps, size), dtype),
        np.empty(state, np.int32),
        np.empty(state, np.int32),
    )


def _plan_of(net: IntNetwork) -> Plan:
    """Return what is computed once for a network, and kept as long as it lives."""
    if net not in _plans:
        _plans[net] = _plan(net)
    return _plans[net]


def _plan(net: IntNetwork) -> Plan:
    n, channels = numbers_of(net), layout.channels(net)
    into: dict[str, list[Link]] = {p.name: [] for p in net.populations}
    for connection in net.connections:
        c = as_added(connection, n)
        way = delivery.way_of(c.synapses, channels[c.pre], channels[c.post])
        into[c.post].append(Link(c, way))
    plain = {p.name for p in net.inputs if (p.min_value, p.max_value) == (0, 1)}
    plain |= {p.name for p in net.populations if not p.graded}
    wide = {c.post for c in net.connections if net.sends_graded(c.pre)}
    sizes = [p.size for p in (*net.inputs, *net.populations)]
    components = net.components()
    together = max(sum(net.population(k).size for k in names) for names in components)
    elements = sum(sizes)
    bytes_a_step = elements + (8 if wide else 4) * together
    bias = {p.name: _bias(p)[layout.outer(p.size, channels[p.name])] for p in populations(net)}
    return Plan(
        channels,
        bias,
        into,
        frozenset(plain),
        frozenset(wide),
        components,
        elements,
        bytes_a_step,
        [],
    )


def _bias(p: Population) -> NDArray[np.int32]:
    return p.bias if isinstance(p, Lif | SigmaDelta) else np.zeros(p.size, np.int32)


class _Batch:
    """Some samples on their way through the network."""

    def __init__(
        self,
        net: IntNetwork,
        plan: Plan,
        inputs: Inputs,
        kept: Mapping[str, Kept],
        space: Workspace,
    ) -> None:
        self.net, self.plan, self.inputs, self.kept, self.space = net, plan, inputs, kept, space
        self.samples, self.steps = next(iter(inputs.values())).shape[:2]
        self.sent: dict[str, Sent] = {}
        self.lists: dict[str, Events] = {}  # of all steps, or of one where all steps are alike
        self.numbers = numbers_of(net)

    def run(self) -> None:
        """Simulate them."""
        for port in self.net.inputs:
            self._send(port.name, self._inward(port.name, different_steps(self.inputs[port.name])))
        for names in self.plan.components:
            cells = {name: self._cells(name) for name in names}
            inside = [
                link for k in names for link in self.plan.into[k] if link.connection.pre in cells
            ]
            for name, cell in cells.items():
                self._from_outside(cell, [x for x in self.plan.into[name] if x not in inside])
            if inside:
                self._together(cells, inside)
            else:
                for cell in cells.values():
                    self._integrate(cell, (0, self.steps))
            for name, cell in cells.items():
                self._send(name, cell.kept.spikes)

    def _cells(self, name: str) -> Cells:
        p = population(self.net, name)
        kept = self.kept.get(name)
        if kept is None:
            dtype = np.int8 if name in self.plan.plain else np.int32
            none = np.empty((self.samples, 0, p.size), np.int32)
            whole = (self.samples, self.steps, p.size)
            kept = Kept(self.space.take(f"{name} sent", whole, dtype), none, none)
        port = p.driven_by if isinstance(p, Lif | Delta) else None
        written = None
        if port is not None:
            written = layout.inward(self.inputs[port], self.plan.channels[name], np.int32)
        return Cells(p, self.plan.bias[name], kept, written, name in self.plan.wide, self.space)

    def _inward(self, name: str, x: NDArray[Any]) -> Sent:
        return layout.inward(
            x, self.plan.channels[name], np.int8 if name in self.plan.plain else np.int32
        )

    def _listed(self, name: str, sent: Sent, span: Span, into: str) -> Events:
        plain = name in self.plan.plain
        return listed(sent, self.plan.channels[name], plain, span, self.space, into)

    def _send(self, name: str, sent: Sent) -> None:
        """List what an input or a population sent in all steps, and count it."""
        self.sent[name] = sent
        steps, size = sent.shape[1:]
        self.lists[name] = self._listed(name, sent, (0, steps), name)
        total = self.space.keep(f"{name} events", (self.steps, size), np.int32)
        if steps == self.steps:
            counted(self.lists[name], total)
        else:
            once = np.zeros((1, size), np.int32)
            counted(self.lists[name], once)
            total += once

    def _from_outside(self, cell: Cells, links: Sequence[Link]) -> None:
        """Let all arrive that does not come from a loop that the population is in."""
        for part, arrived in cell.arrived.items():
            nothing = True
            for link in links:
                c = link.connection
                if c.part != part:
                    continue
                delay = min(c.delay, self.steps)
                if nothing:
                    arrived[:, :delay] = 0
                if delay < self.steps:
                    self._deliver(link, arrived, delay, nothing)
                nothing = False
            if nothing:
                arrived[:] = 0

    def _deliver(self, link: Link, arrived: NDArray[Any], delay: int, store: bool) -> None:
        c, events = link.connection, self.lists[link.connection.pre]
        if events.ends.shape[1] < self.steps:  # every step brings the same
            once = self.space.take(
                f"once {arrived.dtype}", (self.samples, 1, arrived.shape[2]), arrived.dtype
            )
            delivery.deliver(events, link.way, c.exponent, once, 0, True, self.space)
            if store:
                arrived[:, delay:] = once
            else:
                arrived[:, delay:] += once
            return
        if delay:
            span = (0, self.steps - delay)
            events = self._listed(c.pre, self.sent[c.pre], span, "delayed")
        delivery.deliver(events, link.way, c.exponent, arrived, delay, store, self.space)

    def _together(self, cells: Mapping[str, Cells], inside: Sequence[Link]) -> None:
        """Take the populations of a loop through time, step by step."""
        for t in range(self.steps):
            for name, cell in cells.items():
                for link in inside:
                    c = link.connection
                    if c.post == name and t >= c.delay:
                        at = t - c.delay
                        sent = cells[c.pre].kept.spikes
                        events = self._listed(c.pre, sent, (at, at + 1), "looped")
                        arrived = cell.arrived[c.part]
                        delivery.deliver(
                            events, link.way, c.exponent, arrived, t, False, self.space
                        )
                self._integrate(cell, (t, t + 1))

    def _integrate(self, cell: Cells, span: Span) -> None:
        if cell.p.name in self.plan.wide:
            check_sums(cell.p, cell.arrived["real"][:, slice(*span)])
        cell.integrate(self.numbers, span)
