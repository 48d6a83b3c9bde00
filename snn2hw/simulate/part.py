"""A part of a program as a program of its own, so that a simulator need not hold the whole.

What the part's populations hear becomes inputs, which send what was recorded of the sources, at
the same chip steps. Of a population some neurons are enough, with everything that feeds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import InputError, UnsupportedError, listed, nearest, unknown_name
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.placement import Placement
from snn2hw.ir.populations import some_of, written_by
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, describe_shape
from snn2hw.ir.trace import LayerTrace, Trace
from snn2hw.ir.windows import Indices, between, heard, most_synapses

Box = tuple[slice, ...]  # of a shape, each with a start and a stop
RANGE = re.compile(r"\s*([0-9]*)\s*(:?)\s*([0-9]*)\s*")


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which neurons of a program are meant.

    Args:
        names: of the populations, in the program's order.
        keep: for each of them, and for each population and input that they hear, the sorted
            indices of the neurons that take part.
        window: of the last population, None for all of it.
    """

    names: tuple[str, ...]
    keep: Mapping[str, Indices]
    window: Box | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Populations and inputs that feed the part and are not in it."""
        return tuple(k for k in self.keep if k not in self.names)


class Load(NamedTuple):
    """What a simulator has to hold.

    Args:
        dense: synapses that are stored as a matrix, with its zeros.
        sparse: those of lists and, written out one by one, of kernels.
        waiting: those of both that have a delay of their own.
        taps: of kernels, at every place and in every group, which may be written out one by one.
        neurons: and values of inputs.
        steps: of all samples together.
    """

    dense: int
    sparse: int
    waiting: int
    taps: int
    neurons: int
    steps: int


def everything(net: IntNetwork) -> Selection:
    """Return the whole network as a part of itself."""
    sizes = {p.name: p.size for p in (*net.populations, *net.inputs)}
    names = tuple(p.name for p in net.populations)
    return Selection(names, {k: np.arange(n) for k, n in sizes.items()})


def chosen(net: IntNetwork, given: Sequence[str]) -> tuple[str, ...]:
    """Return the populations that are meant, in the network's order.

    Args:
        net: the network.
        given: names; ``first..last`` is all that lies on a way from the one to the other.

    Raises:
        InputError: names no population, or there is no such way.
    """
    known = [p.name for p in net.populations]
    pairs = [(k, k) if k in known else _ends(k) for k in given]
    wrong = [k for k in dict.fromkeys(k for pair in pairs for k in pair) if k not in known]
    if len(wrong) == 1:
        raise unknown_name("population", wrong[0], known)
    if wrong:
        near = [(k, nearest(k, known)) for k in wrong]
        told = [f"{k!r}{f' (did you mean {n!r}?)' if n else ''}" for k, n in near]
        raise InputError(f"There are no populations {listed(told)}.", f"Known: {listed(known)}.")
    apart, meant = list[str](), set[str]()
    for first, last in pairs:
        way = {first} if first == last else _reached(net, first, 0) & _reached(net, last, 1)
        meant |= way
        if not way:
            apart.append(f"No connection leads from {first} to {last}")
    if apart:
        raise InputError(
            f"{listed(apart, '; ')}.", "Give the population closer to the input first."
        )
    return tuple(k for k in known if k in meant)


def _ends(name: str) -> tuple[str, str]:
    first, dots, last = name.partition("..")
    return (first, last) if dots else (name, name)


def _reached(net: IntNetwork, start: str, back: int) -> set[str]:
    """Return the populations that connections lead to from one, or from which they lead to it."""
    ends = [(c.pre, c.post)[:: -1 if back else 1] for c in net.connections]
    after: dict[str, list[str]] = {}
    for a, b in ends:
        after.setdefault(a, []).append(b)
    found, todo = {start}, [start]
    while todo:
        new = [k for k in after.get(todo.pop(), ()) if k not in found]
        found.update(new)
        todo += new
    return found


def box_of(window: str | Sequence[Any], name: str, shape: Shape) -> Box:
    """Return a window as a slice of each axis.

    Args:
        window: a text such as ``0:16,4:8,4:8`` (``:`` is a whole axis, ``3`` one place of it), or
            slices and whole numbers, as ``numpy.s_`` makes them.
        name: of the population.
        shape: of it.

    Raises:
        InputError: it is no window of this shape.
    """
    parts = window.split(",") if isinstance(window, str) else list(window)
    ranges = [_range(part, n) for part, n in zip(parts, shape, strict=False)]
    found = [r for r in ranges if r is not None]
    if len(parts) != len(shape) or len(found) != len(shape):
        whole = ",".join(f"0:{n}" for n in shape)
        raise InputError(
            f"{window!r} are no neurons of {name}, whose shape is {describe_shape(shape)}.",
            f"Give a range for each axis, within {whole}; ':' is a whole axis.",
        )
    return tuple(found)


def _range(part: Any, size: int) -> slice | None:
    """Return a range of an axis of so many places; None if it is none."""
    if isinstance(part, str):
        found = RANGE.fullmatch(part)
        if found is None or not part.strip():
            return None
        first, colon, last = found.groups()
        if not colon:
            return _range(int(first), size) if not last else None
        part = slice(*(int(n) if n else None for n in (first, last)))
    if isinstance(part, int | np.integer):
        part = slice(part, part + 1)
    if not isinstance(part, slice) or part.step not in (None, 1):
        return None
    start = 0 if part.start is None else part.start
    stop = size if part.stop is None else part.stop
    return slice(start, stop) if 0 <= start < stop <= size else None


def select(net: IntNetwork, names: Sequence[str], window: Box | None = None) -> Selection:
    """Return what takes part: of the last population a window, of the others what feeds it.

    Args:
        net: the network.
        names: populations, in its order.
        window: of the last; None takes all of all.

    Raises:
        InputError: some of them do not feed the window.
    """
    starts = names if window is None else names[-1:]
    keep = {k: np.arange(net.population(k).size) for k in starts}
    if window is not None:
        shape = net.population(names[-1]).shape
        keep[names[-1]] = np.arange(size_of(shape)).reshape(shape)[window].reshape(-1)
    before: dict[str, int] = {}
    while before != (before := {k: v.size for k, v in keep.items()}):
        for name in reversed(names):
            _feed(net, name, keep)
    idle = [k for k in names if k not in keep]
    if idle:
        raise InputError(
            f"The neurons are those of {names[-1]}, and they hear nothing of {listed(idle)}.",
            "Leave out what they do not hear, or verify it whole.",
        )
    return Selection(tuple(names), keep, window)


def _feed(net: IntNetwork, name: str, keep: dict[str, Indices]) -> None:
    """Add what the neurons of a population hear to those that take part."""
    if name not in keep:
        return
    for i in net.into(name):
        c = net.connections[i]
        need = heard(c.synapses, keep[name])
        if need.size:
            keep[c.pre] = np.union1d(keep.get(c.pre, need), need)
    port = written_by(net.population(name))
    if port is not None:  # which the host writes into the neurons one to one
        keep[port] = keep[name] = np.union1d(keep.get(port, keep[name]), keep[name])


def halves(box: Box) -> list[Box]:
    """Cut a window across its longest side, of an image rather than between channels.

    Returns:
        Two windows, or the one where it is a single neuron.
    """
    lengths = [r.stop - r.start for r in box]
    axis = max(range(len(box)), key=lambda i: (lengths[i] > 1, i > 0, lengths[i]))
    r, middle = box[axis], box[axis].start + lengths[axis] // 2
    if lengths[axis] == 1:
        return [box]
    ranges = (slice(r.start, middle), slice(middle, r.stop))
    return [(*box[:axis], some, *box[axis + 1 :]) for some in ranges]


def load(program: Program, selection: Selection, runs: int) -> Load:
    """Return what a simulator holds of a part at most.

    Args:
        program: the whole.
        selection: the part.
        runs: steps of all samples together.
    """
    dense = sparse = waiting = taps = 0
    for c, delay in zip(program.network.connections, program.delays, strict=True):
        if c.post in selection.names:
            many = most_synapses(c.synapses, selection.keep[c.post])
            dense += many * isinstance(c.synapses, Dense)
            sparse += many * (not isinstance(c.synapses, Dense))
            waiting += many * (delay > 1)
            if isinstance(c.synapses, Conv):
                out, into = c.synapses.weight.shape[:2]
                taps += many // into // (out // c.synapses.groups)
    neurons = sum(k.size for k in selection.keep.values())
    return Load(dense, sparse, waiting, taps, neurons, runs)


def recorded(
    net: IntNetwork, selection: Selection, inputs: Mapping[str, NDArray[Any]], trace: Trace
) -> dict[str, NDArray[Any]]:
    """Return what the sources of a part sent, ``[N, T, *shape]`` of the neurons that are heard.

    Args:
        net: the whole network.
        selection: the part.
        inputs: what the whole was given.
        trace: of the whole, with the spikes of the sources.
    """
    found = {
        k: _some(inputs[k] if k in inputs else trace.layers[k].spikes, net, selection, k)
        for k in selection.sources
    }
    if not found:  # nothing is heard; a simulator is told samples and steps all the same
        name, x = next(iter(inputs.items()))
        found[name] = np.zeros((*x.shape[:2], 1), np.int32)
    return found


def cut(net: IntNetwork, selection: Selection, trace: Trace) -> Trace:
    """Return a trace of the whole with what the part's neurons did, and no events of others."""
    layers = {
        k: LayerTrace(
            _some(layer.spikes, net, selection, k),
            {state: _some(x, net, selection, k) for state, x in layer.states.items()},
        )
        for k, layer in trace.layers.items()
        if k in selection.names
    }
    return replace(trace, layers=layers, events={}, active={})


def _some(x: NDArray[Any], net: IntNetwork, selection: Selection, name: str) -> NDArray[Any]:
    keep = selection.keep[name]
    some = x.reshape(*x.shape[:2], -1)[:, :, keep]
    return some.reshape(*x.shape[:2], *_shape(net.shape(name), keep))


def _shape(shape: Shape, keep: Indices) -> Shape:
    """Return the shape of some elements: that of a rectangle, or flat."""
    places = np.unravel_index(keep, shape)
    ranges = tuple(slice(at.min(), at.max() + 1) for at in places)
    whole = np.arange(size_of(shape)).reshape(shape)[ranges]
    return whole.shape if np.array_equal(whole.reshape(-1), keep) else (keep.size,)


def as_program(
    program: Program, selection: Selection, values: Mapping[str, NDArray[Any]]
) -> Program:
    """Return a part as a program; its chip time begins with the first source, or before it.

    Args:
        program: the whole.
        selection: the part.
        values: what its sources sent (``recorded``).

    Raises:
        UnsupportedError: the chip does not hold its integers without the others.
    """
    net, keep = program.network, selection.keep
    phases = {k: program.phase[k] for k in (*values, *selection.names)}
    # Populations begin a step after the part at the earliest, as behind inputs: simulators need not
    # know biases that are on from the start.
    begin = max(0, min(at - (k in selection.names) for k, at in phases.items()))
    populations = [
        some_of(p, keep[p.name], _shape(p.shape, keep[p.name]))
        for p in net.populations
        if p.name in selection.names
    ]
    joined = [
        (_between(c, selection), delay)
        for c, delay in zip(net.connections, program.delays, strict=True)
        if c.post in selection.names and c.pre in keep
    ]
    try:
        small = IntNetwork(
            tuple(_port(net, k, x) for k, x in values.items()), tuple(populations),
            tuple(c for c, _ in joined), {k: k for k in selection.names}, net.dt,
            net.time_steps, net.numbers, {},
        )  # fmt: skip
    except ValueError as error:
        raise UnsupportedError(
            f"{listed(selection.names)} cannot run without the rest: {error}.",
            "Take more neurons: weights of one sign have another grid than those of both.",
        ) from None
    return Program(
        small,
        {k: at - begin for k, at in phases.items()},
        tuple(delay for _, delay in joined),
        Placement((), {}, 1),
        program.target,
    )


def _between(c: Connection, selection: Selection) -> Connection:
    return replace(c, synapses=between(c.synapses, selection.keep[c.post], selection.keep[c.pre]))


def _port(net: IntNetwork, name: str, x: NDArray[Any]) -> InputPort:
    """Return the input that sends what was recorded of a source."""
    port = next((p for p in net.inputs if p.name == name), None)
    if port is not None:
        return InputPort(name, x.shape[2:], port.max_value, port.min_value)
    if not net.sends_graded(name):
        return InputPort(name, x.shape[2:])
    return InputPort(name, x.shape[2:], max(1, int(x.max())), min(0, int(x.min())))
