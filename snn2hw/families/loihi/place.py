"""Placing neurons on cores: ``IntNetwork`` -> ``Placement``.

Fewest cores first: a layer is cut into the fewest parts that fit a core (``cut.py``), and small
parts of several layers share one (``pack.py``). Then short ways for spikes (``mesh.py``). What a
core pays for, and what it has, say ``memory.py`` of chips that share a core's memory, as Loihi 2,
and ``words.py`` of Loihi 1. ``bound.py`` says how few cores there could be at least;
docs/decisions/0022-placement.md why it is done so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from snn2hw.errors import DoesNotFitError, UnsupportedError, counted, listed
from snn2hw.families.loihi import memory, words
from snn2hw.families.loihi.cut import Cost, Layer, Part, Uses, cut, evened, fullest, over
from snn2hw.families.loihi.mesh import arranged, mesh_of
from snn2hw.families.loihi.numbers import populations
from snn2hw.families.loihi.pack import packed
from snn2hw.families.loihi.schedule import timed
from snn2hw.families.loihi.traffic import Spikes, load
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.placement import Placement, Slice, Span
from snn2hw.ir.target import Target

DENSE, SPARSE = "dense", "sparse"  # with its zeros in the synapse memory, or without


def storage(connection: Connection, target: Target) -> str:
    """Say how the chip's synapse memory holds a connection."""
    weight = connection.synapses.weight
    few = np.count_nonzero(weight) <= target.limits["sparse_density"].value * weight.size
    return SPARSE if connection.synapses.kind == "sparse" or few else DENSE


def map_network(net: IntNetwork, target: Target, spikes: Spikes | None = None) -> Placement:
    """Place every population on few cores, and cores that talk to each other near each other.

    Args:
        net: the network.
        target: the chip.
        spikes: how often each neuron spiked in some run, ``[size]`` by layer; if nothing was run,
            each is expected to spike as often.

    Raises:
        DoesNotFitError: names every layer, what it needs and what the target has.
    """
    cuts = _cuts(net, target)
    cores = _shared(cuts, target)
    if len(cores) > cores_of(target):
        alone = {name: len(cut.parts) for name, cut in cuts.items()}
        raise too_many_cores(len(cores), alone, target)
    spans: dict[str, list[tuple[int, Span]]] = {p.name: [] for p in populations(net)}
    for at, core in enumerate(cores):
        for name, part in core:
            spans[name].append((at, part.span))
    sent = load(net, spans, len(cores), spikes)
    numbers = arranged(sent, target)
    slices = [
        Slice(name, p.span.start, p.span.stop, number, p.uses, p.span.repeats, p.span.stride)
        for number, at in enumerate(np.argsort(numbers).tolist())
        for name, p in cores[at]
    ]
    stored = tuple(storage(c, target) for c in net.connections)
    limits, per_chip = limits_of(target), target.limit("cores_per_chip")
    expected = sent if spikes is None else load(net, spans, len(cores))
    mesh = mesh_of(expected, numbers, target)
    return Placement(tuple(slices), limits, per_chip, stored, mesh)


def cores_of(target: Target) -> int:
    """Return how many cores the target has, on all its chips."""
    return target.limit("cores_per_chip") * target.limit("chips")


def too_many_cores(cores: int, needed: Mapping[str, int], target: Target) -> DoesNotFitError:
    """Say how many cores each layer needs, and the smallest board that has all of them.

    Args:
        cores: more than the target has.
        needed: cores by layer, of which several may be on one.
        target: the chip, with as many as may be used.
    """
    worst = max(needed, key=lambda k: needed[k])
    chips = -(-cores // target.limit("cores_per_chip"))
    board, narrower = target.board_for(chips), "make its widest layers narrower"
    return DoesNotFitError(
        f"The network needs {counted(cores, 'core')} ({counted(chips, 'chip')}), "
        f"{target.title} has {cores_of(target):,} ({counted(target.limit('chips'), 'chip')}); "
        f"{worst} alone needs {needed[worst]:,}.",
        f"The board {board.name} has {board.value:,.0f} chips: give --chips {chips} (chips={chips} "
        f"in Python). Or prune the network, or {narrower}."
        if board
        else f"No board has so many. Prune the network, or {narrower}.",
    )


def crowded(populations: int, target: Target) -> list[str]:
    """Say if there are more populations than cores can hold, as each is a group on one at least."""
    have, groups = cores_of(target), target.limit("neuron_groups_per_core")
    if populations <= have * groups:
        return []
    chips = -(-populations // (groups * target.limit("cores_per_chip")))
    more = f", or use --chips {chips:,}" if target.board_for(chips) else ""
    return [
        f"it has {populations:,} populations of neurons, and the chip {have:,} cores "
        f"({counted(target.limit('chips'), 'chip')}), which hold {groups} each at most; "
        f"join some of them{more}"
    ]


def most_inputs(target: Target) -> int:
    """Return how many others a neuron of a dense layer can listen to, alone on a core."""
    return (memory if shares(target) else words).most_inputs(target)


def shares(target: Target) -> bool:
    """Say whether neurons, axons and synapses of a core share one memory."""
    return "memory_per_core" in target.limits


def limits_of(target: Target) -> Uses:
    """Return what a core has, by the names of what neurons use."""
    limits = {
        "neurons": target.limit("neurons_per_core"),
        "neuron_groups": target.limit("neuron_groups_per_core"),
    }
    if shares(target):
        return limits | {memory.BYTES: target.limit("memory_per_core")}
    return limits | words.limits(target)


def layers_of(net: IntNetwork, target: Target) -> dict[str, Layer]:
    """Return every population with what its neurons use, by name, in the order of the network.

    Outgoing axons are not among it, as they depend on how the layers behind are cut.
    """
    limits = limits_of(target)
    costs: dict[str, list[Cost]] = {p.name: [] for p in populations(net)}
    if shares(target):
        for some in costs.values():
            some.append(memory.State(target.limit("neuron_bytes")))
        for c in net.connections:
            sparse = storage(c, target) == SPARSE
            costs[c.post].append(memory.stored(c, target, sparse=sparse))
    else:
        for c, delay in zip(net.connections, _delays(net, target), strict=True):
            sparse, axons = storage(c, target) == SPARSE, c.pre in costs
            costs[c.post].append(words.Stored(c, sparse=sparse, waits=delay > 1, axons=axons))
    return {
        p.name: Layer(p.name, p.shape, costs[p.name], limits, blocks=not shares(target))
        for p in populations(net)
    }


def _delays(net: IntNetwork, target: Target) -> Sequence[int]:
    try:
        return timed(net, target)[1]
    except UnsupportedError:  # which scheduling will say; until then, all of them wait
        return [2] * len(net.connections)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A population, with the axons that leave it among its costs, and its parts."""

    layer: Layer
    parts: list[Part]


def _cuts(net: IntNetwork, target: Target) -> dict[str, _Cut]:
    """Cut every population into parts that fit a core: those behind first, whom axons lead to."""
    layers, cuts = layers_of(net, target), dict[str, _Cut]()
    limits, problems = limits_of(target), list[DoesNotFitError]()
    hearers = _hearers(layers)
    for name in reversed(layers):
        layer = layers[name]
        if "axons_out" in limits:
            layer = _sending(layer, hearers, cuts)
        found = cut(layer, 1, _axon_cores(net, name, layers, limits))
        if found is None:
            problems.insert(0, _too_big(layer, target))
        else:
            cuts[name] = _Cut(layer, found)
    if problems:
        raise DoesNotFitError(listed([p.message for p in problems], " "), problems[0].hint)
    if "axons_out" in limits:
        _leave_room_in_loops(net, layers, cuts, target)
    return {name: cuts[name] for name in layers}


Hearers = Mapping[str, Sequence[tuple[str, words.Stored]]]  # by layer: who hears it, through what


def _hearers(layers: Mapping[str, Layer]) -> Hearers:
    found: dict[str, list[tuple[str, words.Stored]]] = {name: [] for name in layers}
    for name, layer in layers.items():
        for cost in layer.costs:
            if isinstance(cost, words.Stored) and cost.axons:
                found[cost.connection.pre].append((name, cost))
    return found


def _sending(layer: Layer, hearers: Hearers, cuts: Mapping[str, _Cut]) -> Layer:
    """Return a layer with its outgoing axons, as far as it is known who hears it."""
    total = np.zeros(layer.size, np.int64)
    for name, cost in hearers[layer.name]:
        if name in cuts:
            total += cost.heard_by(part.span for part in cuts[name].parts)
    return replace(layer, costs=[*layer.costs, words.AxonsOut(total)])


def _axon_cores(
    net: IntNetwork, name: str, layers: Mapping[str, Layer], limits: Uses
) -> Callable[[int], float]:
    """Return what says how many more cores axons into a layer take in those before it."""
    if "axons_out" not in limits:
        return lambda _: 0.0
    before = {net.connections[i].pre for i in net.into(name)} & layers.keys()
    room = sum(layers[k].size for k in before) / limits["neurons"]
    return lambda axons: max(0.0, axons / limits["axons_out"] - room)


def _leave_room_in_loops(
    net: IntNetwork, layers: dict[str, Layer], cuts: dict[str, _Cut], target: Target
) -> None:
    """Cut populations finer until the axons of all connections fit, those that go back too.

    What lies behind a population is cut before it, except in loops. Whoever is cut again gets more
    parts than it had, so that this ends.
    """
    limits, hearers = limits_of(target), _hearers(layers)
    place = {name: i for i, name in enumerate(layers)}
    stale = {k for k, some in hearers.items() if any(place[n] <= place[k] for n, _ in some)}
    while stale:
        for name in (n for n in reversed(layers) if n in stale):
            stale.remove(name)
            layer = _sending(layers[name], hearers, cuts)
            parts = [layer.part(p.span) for p in cuts[name].parts]
            if any(over(p.uses, limits) for p in parts):
                found = cut(layer, len(parts) + 1, _axon_cores(net, name, layers, limits))
                if found is None:
                    raise _too_big(layer, target)
                parts = found
                stale |= {net.connections[i].pre for i in net.into(name)} & layers.keys()
            cuts[name] = _Cut(layer, parts)


def _shared(cuts: Mapping[str, _Cut], target: Target) -> list[list[tuple[str, Part]]]:
    """Return which parts of which layers lie on each core, in the order of the network."""
    limits = limits_of(target)
    parts = [(name, part) for name, cut in cuts.items() for part in cut.parts]
    beside = [_beside(cuts[name].layer, part, limits) for name, part in parts]
    cores = packed(parts, beside, limits)
    found = [
        [(parts[i][0], Part(parts[i][1].span, beside[i] if at else parts[i][1].uses))
         for at, i in enumerate(core)]
        for core in cores
    ]  # fmt: skip
    if "axons_out" in limits:  # which other parts would change
        return found
    shared = {name for core in found if len(core) > 1 for name, _ in core}
    even = {k: iter(evened(c.layer, c.parts)) for k, c in cuts.items() if k not in shared}
    return [
        [(name, next(even[name]) if name in even else part) for name, part in core]
        for core in found
    ]


def _beside(layer: Layer, part: Part, limits: Uses) -> Uses:
    """Return what a part uses where others come before it on its core."""
    costs = [c.beside(limits["neurons"]) if isinstance(c, words.Stored) else c for c in layer.costs]
    return replace(layer, costs=costs).uses(part.span)


FEWER_SYNAPSES = "Make the layer before it smaller (pool or stride), or prune it."
FEWER_FORMATS = (
    "Each connection into a layer takes a format, and so does each binary digit of an input: let "
    "fewer end here, or declare a smaller largest input (--input-max)."
)
LOOKED_AT = 4096  # neurons of a layer that does not fit, among which the worst is named


def _too_big(layer: Layer, target: Target) -> DoesNotFitError:
    """Name the neuron that needs most, of those that are looked at, and what for."""
    step = max(1, layer.size // LOOKED_AT)
    alone = [Span(i, i + 1) for i in range(0, layer.size, step)]
    worst = max(alone, key=lambda s: fullest(layer.uses(s), layer.limits)[0])
    uses = layer.uses(worst)
    why = listed((told for c in layer.costs if (told := c(worst)[1])), "; ")
    _, what = fullest(uses, layer.limits)
    unit = {memory.BYTES: "bytes"}.get(what, what.replace("_", " "))
    return DoesNotFitError(
        f"{layer.name}: one neuron needs {uses[what]:,} {unit} on its core ({why}), "
        f"{target.title} has {layer.limits[what]:,}.",
        FEWER_FORMATS if what == "synapse_formats" else FEWER_SYNAPSES,
    )
