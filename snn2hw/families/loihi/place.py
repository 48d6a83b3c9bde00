"""Placing neurons on cores: ``IntNetwork`` -> ``Placement``.

A layer is cut into equal runs of neurons (channels first, so a run of a convolution touches few
channels); a core holds one run. What a core pays for: state of each neuron; each stored synapse
(a kernel once, however many neurons share it); an entry for each source neuron of a dense or
sparse connection. Sizes and their sources stand in the target's ``[limits]``. That is of chips that
share a core's memory, as Loihi 2; ``words.py`` says what a core of Loihi 1 keeps apart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import DoesNotFitError, UnsupportedError, listed
from snn2hw.families.loihi import words
from snn2hw.families.loihi.numbers import populations
from snn2hw.families.loihi.populations import Population
from snn2hw.families.loihi.schedule import timed
from snn2hw.ir.arrays import size_of
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.placement import Placement, Slice
from snn2hw.ir.synapses import Conv, matrix
from snn2hw.ir.target import Target

DENSE, SPARSE = "dense", "sparse"  # with its zeros in the synapse memory, or without
SHARED: Mapping[str, str] = {
    "memory_per_core": "bytes",
    "neuron_bytes": "bytes",
    "axon_bytes": "bytes",
    "synapse_bytes_dense": "bytes",
    "synapse_bytes_sparse": "bytes",
}


def storage(connection: Connection, target: Target) -> str:
    """Say how the chip's synapse memory holds a connection."""
    weight = connection.synapses.weight
    few = np.count_nonzero(weight) <= target.limits["sparse_density"].value * weight.size
    return SPARSE if connection.synapses.kind == "sparse" or few else DENSE


def map_network(net: IntNetwork, target: Target) -> Placement:
    """Place every population on the fewest cores that hold it in equal parts.

    Raises:
        DoesNotFitError: names every layer, what it needs and what the target has.
    """
    limits = _limits(target)
    stored = tuple(storage(c, target) for c in net.connections)
    costs = _costs(net, stored, target)
    cuts: dict[str, list[Cut]] = {}
    problems: list[DoesNotFitError] = []
    for p in populations(net):
        try:
            cuts[p.name] = _cut(p, costs[p.name], target, limits)
        except DoesNotFitError as error:
            problems.append(error)
    if problems:
        raise DoesNotFitError(listed([p.message for p in problems], " "), problems[0].hint)
    if "axons_out" in limits:
        _leave_room_for_axons(net, costs, cuts, target, limits)
    slices: list[Slice] = []
    for p in populations(net):
        for start, stop, uses in cuts[p.name]:
            slices.append(Slice(p.name, start, stop, len(slices), uses))
    if len(slices) > cores_of(target):
        raise too_many_cores(Counter(s.layer for s in slices), target)
    return Placement(tuple(slices), limits, target.limit("cores_per_chip"), stored)


def cores_of(target: Target) -> int:
    """Return how many cores the target has, on all its chips."""
    return target.limit("cores_per_chip") * target.limit("chips")


def too_many_cores(needed: Mapping[str, int], target: Target) -> DoesNotFitError:
    """Say how many cores each layer needs, and the smallest board that has all of them.

    Args:
        needed: cores by layer, more in all than the target has.
        target: the chip, with as many as may be used.
    """
    cores, worst = sum(needed.values()), max(needed, key=lambda k: needed[k])
    chips = -(-cores // target.limit("cores_per_chip"))
    board, narrower = target.board_for(chips), "make its widest layers narrower"
    return DoesNotFitError(
        f"The network needs {cores:,} cores ({chips:,} chips), {target.title} has "
        f"{cores_of(target):,} ({target.limit('chips'):,} chips); {worst} alone needs "
        f"{needed[worst]:,}.",
        f"The board {board.name} has {board.value:,.0f} chips: give --chips {chips} (chips={chips} "
        f"in Python). Or prune the network, or {narrower}."
        if board
        else f"No board has so many. Prune the network, or {narrower}.",
    )


def crowded(populations: int, target: Target) -> list[str]:
    """Say if there are more populations than cores, of which each needs one at least."""
    have = cores_of(target)
    if populations <= have:
        return []
    chips = -(-populations // target.limit("cores_per_chip"))
    more = f", or use --chips {chips:,}" if target.board_for(chips) else ""
    return [
        f"it has {populations:,} populations of neurons, and the chip {have:,} cores "
        f"({target.limit('chips'):,} chips), which hold one each at most; join some of them{more}"
    ]


def most_inputs(target: Target) -> int:
    """Return how many others a neuron of a dense layer can listen to, alone on a core."""
    if not _shares(target):
        return words.most_inputs(target)
    memory = target.limit("memory_per_core") - target.limit("neuron_bytes")
    each = max(target.limit("synapse_bytes_dense"), target.limit("synapse_bytes_sparse"))
    return memory // (target.limit("axon_bytes") + each)


Uses = dict[str, int]
Cut = tuple[int, int, Uses]


class _Cost(Protocol):
    """What neurons ``start`` to ``stop`` use of each limit, and what for; empty if not to say."""

    def __call__(self, start: int, stop: int) -> tuple[Uses, str]: ...


def _shares(target: Target) -> bool:
    """Say whether neurons, axons and synapses of a core share one memory."""
    return "memory_per_core" in target.limits


def _limits(target: Target) -> Uses:
    neurons = {"neurons": target.limit("neurons_per_core")}
    if _shares(target):
        return neurons | {"memory_bytes": target.limit("memory_per_core")}
    return neurons | words.limits(target)


def _costs(net: IntNetwork, stored: Sequence[str], target: Target) -> dict[str, list[_Cost]]:
    """Return for each population what its neurons use, by connection."""
    if _shares(target):
        state = target.limit("neuron_bytes")
        return {
            p.name: [
                _state_cost(state),
                *(_cost(net.connections[i], stored[i] == SPARSE, target) for i in net.into(p.name)),
            ]
            for p in populations(net)
        }
    try:
        delays = timed(net, target)[1]
    except UnsupportedError:  # which scheduling will say; until then, all of them wait
        delays = tuple(2 for _ in net.connections)
    laid_out = [
        words.Stored(c, sparse=form == SPARSE, waits=delay > 1)
        for c, form, delay in zip(net.connections, stored, delays, strict=True)
    ]
    return {p.name: [laid_out[i] for i in net.into(p.name)] for p in populations(net)}


def _state_cost(each: int) -> _Cost:
    return lambda start, stop: ({"memory_bytes": each * (stop - start)}, "")


def _cost(connection: Connection, sparse: bool, target: Target) -> _Cost:
    each = target.limit("synapse_bytes_sparse" if sparse else "synapse_bytes_dense")
    if isinstance(connection.synapses, Conv):
        return _kernel_cost(connection.synapses, each, sparse)
    rows = matrix(connection.synapses)
    axon = target.limit("axon_bytes")
    ends: NDArray[np.int64] = rows.indptr
    width = rows.shape[1]

    def cost(start: int, stop: int) -> tuple[Uses, str]:
        sources = np.unique(rows.indices[ends[start] : ends[stop]]).size
        stored = int(ends[stop] - ends[start]) if sparse else (stop - start) * width
        total = sources * axon + stored * each
        why = f"{sources} source neurons and {stored} synapses from {connection.pre}"
        return {"memory_bytes": total}, why

    return cost


def _kernel_cost(conv: Conv, each: int, sparse: bool) -> _Cost:
    _, height, width = conv.output_shape
    channel = [int(np.count_nonzero(w)) if sparse else int(w.size) for w in conv.weight]

    def cost(start: int, stop: int) -> tuple[Uses, str]:
        first, last = start // (height * width), (stop - 1) // (height * width)
        stored = sum(channel[first : last + 1])
        return {"memory_bytes": stored * each}, f"{stored} kernel weights"

    return cost


def _cut(
    population: Population, costs: list[_Cost], target: Target, limits: Uses, least: int = 1
) -> list[Cut]:
    """Cut a population into equal runs, ``least`` at least, each of which fits a core."""
    size = size_of(population.shape)

    def uses(start: int, stop: int) -> Uses:
        used = Counter({"neurons": stop - start})
        for cost in costs:
            used.update(cost(start, stop)[0])
        return {k: used[k] for k in limits}

    for neuron in range(0, size, max(1, size // 64)):  # a sample: one neuron must fit a core
        if _over(uses(neuron, neuron + 1), limits):
            raise _too_big(population.name, uses(neuron, neuron + 1), costs, neuron, target, limits)
    # Parts share nothing, so together they need no less than the whole on one core would.
    whole = uses(0, size)
    parts = max(least, *(math.ceil(n / limits[k]) for k, n in whole.items()))
    while parts <= size:
        bounds = [size * i // parts for i in range(parts + 1)]
        cut: list[Cut] = []
        for a, b in pairwise(bounds):
            use = uses(a, b)
            if _over(use, limits):
                break
            cut.append((a, b, use))
        else:
            return cut
        parts += 1
    worst = max(range(size), key=lambda i: _fullest(uses(i, i + 1), limits)[0])
    raise _too_big(population.name, uses(worst, worst + 1), costs, worst, target, limits)


def _over(uses: Uses, limits: Uses) -> bool:
    return any(n > limits[k] for k, n in uses.items())


def _fullest(uses: Uses, limits: Uses) -> tuple[float, str]:
    return max((n / limits[k], k) for k, n in uses.items())


def _leave_room_for_axons(
    net: IntNetwork,
    costs: Mapping[str, list[_Cost]],
    cuts: dict[str, list[Cut]],
    target: Target,
    limits: Uses,
) -> None:
    """Cut populations finer until their neurons' outgoing axons, one for each core, fit.

    That gives those before them more cores to reach, so it goes on until nothing moves.
    """
    moved = True
    while moved:
        moved = False
        for p in reversed(populations(net)):
            axons = _axons_out(net, p, costs, cuts)
            ends = np.concatenate([[0], axons.cumsum()])

            def out(start: int, stop: int, ends: NDArray[np.int64] = ends) -> tuple[Uses, str]:
                count = int(ends[stop] - ends[start])
                return {"axons_out": count}, f"{count} axons to cores that hear it"

            now = cuts[p.name]
            found = _cut(p, [*costs[p.name], out], target, limits, least=len(now))
            moved |= len(found) > len(now)
            cuts[p.name] = found


def _axons_out(
    net: IntNetwork,
    p: Population,
    costs: Mapping[str, list[_Cost]],
    cuts: Mapping[str, list[Cut]],
) -> NDArray[np.int64]:
    """Return how many cores each neuron reaches, counted once for each connection."""
    total = np.zeros(p.size, np.int64)
    for cost in (c for some in costs.values() for c in some):
        if isinstance(cost, words.Stored) and cost.connection.pre == p.name:
            for start, stop, _ in cuts[cost.connection.post]:
                total += cost.sources(start, stop)
    return total


FEWER_SYNAPSES = "Make the layer before it smaller (pool or stride), or prune it."
FEWER_FORMATS = (
    "Each connection into a layer takes a format, and so does each binary digit of an input: let "
    "fewer end here, or declare a smaller largest input (--input-max)."
)


def _too_big(
    layer: str, uses: Uses, costs: list[_Cost], neuron: int, target: Target, limits: Uses
) -> DoesNotFitError:
    why = listed((told for c in costs if (told := c(neuron, neuron + 1)[1])), "; ")
    _, what = _fullest(uses, limits)
    unit = {"memory_bytes": "bytes"}.get(what, what.replace("_", " "))
    return DoesNotFitError(
        f"{layer}: one neuron needs {uses[what]} {unit} on its core ({why}), "
        f"{target.title} has {limits[what]}.",
        FEWER_FORMATS if what == "synapse_formats" else FEWER_SYNAPSES,
    )
