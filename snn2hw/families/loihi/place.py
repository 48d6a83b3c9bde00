"""Placing neurons on cores: ``IntNetwork`` -> ``Placement``.

A layer is cut into equal runs of neurons (channels first, so a run of a convolution touches few
channels); a core holds one run. What a core pays for: state of each neuron; each stored synapse
(a kernel once, however many neurons share it); an entry for each source neuron of a dense or
sparse connection. Sizes and their sources stand in the target's ``[limits]``.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snn2hw.errors import DoesNotFitError, listed
from snn2hw.families.loihi.numbers import populations
from snn2hw.families.loihi.populations import Population
from snn2hw.ir.arrays import size_of
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.placement import Placement, Slice
from snn2hw.ir.synapses import Conv, matrix
from snn2hw.ir.target import Target

DENSE, SPARSE = "dense", "sparse"  # with its zeros in the synapse memory, or without


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
    limits = {
        "neurons": target.limit("neurons_per_core"),
        "memory_bytes": target.limit("memory_per_core"),
    }
    stored = tuple(storage(c, target) for c in net.connections)
    slices: list[Slice] = []
    problems: list[DoesNotFitError] = []
    for population in populations(net):
        into = net.into(population.name)
        costs = [_cost(net.connections[i], stored[i] == SPARSE, target) for i in into]
        try:
            cut = _cut(population, costs, target, limits)
        except DoesNotFitError as error:
            problems.append(error)
            continue
        for start, stop, uses in cut:
            slices.append(Slice(population.name, start, stop, len(slices), uses))
    if problems:
        raise DoesNotFitError(listed([p.message for p in problems], " "), problems[0].hint)
    have = cores_of(target)
    if len(slices) > have:
        counts = Counter(s.layer for s in slices)
        worst = max(counts, key=lambda k: counts[k])
        raise DoesNotFitError(
            f"The network needs {len(slices)} cores, {target.title} has {have} "
            f"({target.limit('chips')} chips); {worst} alone needs {counts[worst]}.",
            "Prune it, or make its widest layers narrower.",
        )
    return Placement(tuple(slices), limits, target.limit("cores_per_chip"), stored)


def cores_of(target: Target) -> int:
    """Return how many cores the target has, on all its chips."""
    return target.limit("cores_per_chip") * target.limit("chips")


def crowded(populations: int, target: Target) -> list[str]:
    """Say if there are more populations than cores, of which each needs one at least."""
    have = cores_of(target)
    if populations <= have:
        return []
    return [
        f"it has {populations:,} populations of neurons, and the chip {have} cores "
        f"({target.limit('chips')} chips), which hold one each at most; join some of them"
    ]


def most_inputs(target: Target) -> int:
    """Return how many others a neuron of a dense layer can listen to, alone on a core."""
    memory = target.limit("memory_per_core") - target.limit("neuron_bytes")
    each = max(target.limit("synapse_bytes_dense"), target.limit("synapse_bytes_sparse"))
    return memory // (target.limit("axon_bytes") + each)


class _Cost(Protocol):
    """Bytes that neurons ``start`` to ``stop`` need for one connection, and what for."""

    def __call__(self, start: int, stop: int) -> tuple[int, str]: ...


def _cost(connection: Connection, sparse: bool, target: Target) -> _Cost:
    each = target.limit("synapse_bytes_sparse" if sparse else "synapse_bytes_dense")
    if isinstance(connection.synapses, Conv):
        return _kernel_cost(connection.synapses, each, sparse)
    rows = matrix(connection.synapses)
    axon = target.limit("axon_bytes")
    ends: NDArray[np.int64] = rows.indptr
    width = rows.shape[1]

    def cost(start: int, stop: int) -> tuple[int, str]:
        sources = np.unique(rows.indices[ends[start] : ends[stop]]).size
        stored = int(ends[stop] - ends[start]) if sparse else (stop - start) * width
        total = sources * axon + stored * each
        return total, f"{sources} source neurons and {stored} synapses from {connection.pre}"

    return cost


def _kernel_cost(conv: Conv, each: int, sparse: bool) -> _Cost:
    _, height, width = conv.output_shape
    channel = [int(np.count_nonzero(w)) if sparse else int(w.size) for w in conv.weight]

    def cost(start: int, stop: int) -> tuple[int, str]:
        first, last = start // (height * width), (stop - 1) // (height * width)
        stored = sum(channel[first : last + 1])
        return stored * each, f"{stored} kernel weights"

    return cost


def _cut(
    population: Population, costs: list[_Cost], target: Target, limits: dict[str, int]
) -> list[tuple[int, int, dict[str, int]]]:
    size = size_of(population.shape)
    state = target.limit("neuron_bytes")

    def uses(start: int, stop: int) -> dict[str, int]:
        memory = state * (stop - start) + sum(c(start, stop)[0] for c in costs)
        return {"neurons": stop - start, "memory_bytes": memory}

    for neuron in range(0, size, max(1, size // 64)):  # a sample: one neuron must fit a core
        if uses(neuron, neuron + 1)["memory_bytes"] > limits["memory_bytes"]:
            raise _too_big(population.name, uses(neuron, neuron + 1), costs, neuron, target)
    # Parts share nothing, so together they need no less than the whole on one core would.
    whole = uses(0, size)
    parts = max(math.ceil(n / limits[k]) for k, n in whole.items())
    while parts <= size:
        bounds = [size * i // parts for i in range(parts + 1)]
        cut: list[tuple[int, int, dict[str, int]]] = []
        for a, b in pairwise(bounds):
            use = uses(a, b)
            if any(n > limits[k] for k, n in use.items()):
                break
            cut.append((a, b, use))
        else:
            return cut
        parts += 1
    worst = max(range(size), key=lambda i: uses(i, i + 1)["memory_bytes"])
    raise _too_big(population.name, uses(worst, worst + 1), costs, worst, target)


def _too_big(
    layer: str, uses: dict[str, int], costs: list[_Cost], neuron: int, target: Target
) -> DoesNotFitError:
    why = listed((c(neuron, neuron + 1)[1] for c in costs), "; ")
    return DoesNotFitError(
        f"{layer}: one neuron needs {uses['memory_bytes']} bytes on its core ({why}), "
        f"{target.title} has {target.limit('memory_per_core')}.",
        "Make the layer before it smaller (pool or stride), or prune it.",
    )
