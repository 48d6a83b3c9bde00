"""Reading a network's topology: which synapses and which constants reach a population.

Between two cells (inputs, neurons, integrators, thresholds) a network may hold any chain of linear
nodes: convolution, flatten, pooling, affine, scale, delay. They compose to linear maps, one for
each delay, and constant currents; both are exact.

All cells work within one time step, along the edges: what a cell sends in a step is received in
the same step. Where edges form a loop that cannot be, so on the edge that closes it (found by
walking from the inputs, names in alphabetical order) a spike takes one step, as in the recurrent
layers of snnTorch and Norse. A Delay node on a loop stands for itself; no step is added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from graphlib import TopologicalSorter
from typing import Any, assert_never

import numpy as np
import scipy
from numpy.typing import NDArray

from snn2hw.errors import NetworkError, UnsupportedError, listed
from snn2hw.ir import kernels
from snn2hw.ir.arrays import Edge, Shape, size_of
from snn2hw.ir.convolution import ENTRIES_A_WEIGHT
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import (
    Affine,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Leaky,
    Lif,
    Linear,
    Pool2d,
    Scale,
    SparseAffine,
    Threshold,
    input_shape,
    output_shape,
)
from snn2hw.ir.order import depth_first
from snn2hw.ir.synapses import (
    Conv,
    Dense,
    Sparse,
    Synapses,
    diagonal,
    fan_in,
    fan_out,
    from_matrix,
    identity,
    matrix,
    received,
    sizes,
    synapse_count,
    with_weight,
)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Synapses from one cell: what it gives in step t arrives in step ``t + delay``."""

    name: str
    synapses: Synapses
    delay: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """What drives a node: float synapses by source, and constant currents ``[size]``.

    ``late`` holds the constants that lie before a Delay node, by the step they begin at.
    """

    sources: tuple[Source, ...]
    bias: NDArray[np.float64]
    late: Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Wiring:
    """All cells in an order in which a step can be computed, and what drives each of them.

    ``into`` has the outputs as well; ``closing`` are the pairs of cells on whose edge a loop's step
    passes.
    """

    order: tuple[str, ...]
    into: Mapping[str, Incoming]
    closing: frozenset[Edge]


MOST_CONNECTIONS = 16_384  # each takes half a millisecond to compile


@lru_cache(maxsize=1)  # several targets are asked about one network
def wiring(net: Network) -> Wiring:
    """Compose every path of linear nodes that ends in a cell or an output.

    Raises:
        NetworkError: there are more than ``MOST_CONNECTIONS``.
    """
    signals = _signals(net)
    cells = net.cells()
    found = {name: _incoming(net, name, signals) for name in (*cells, *net.outputs())}
    many = sum(len(i.sources) for i in found.values())
    if many > MOST_CONNECTIONS:
        raise NetworkError(
            f"The network joins its populations in {many:,} ways; at most {MOST_CONNECTIONS:,} are "
            "compiled.",
            "Join some of the populations.",
        )
    now = {
        name: {s.name for s in into.sources if s.delay == 0}
        for name, into in found.items()
        if name in cells
    }
    order, closing = _order(net, now)
    into = {
        name: Incoming(
            tuple(
                Source(s.name, s.synapses, 1) if s.delay == 0 and (s.name, name) in closing else s
                for s in i.sources
            ),
            i.bias,
            i.late,
        )
        for name, i in found.items()
    }
    return Wiring(tuple(order), into, closing)


def output_populations(net: Network) -> dict[str, str]:
    """Return for each Output node, in the network's order, the population that feeds it.

    Raises:
        NetworkError: if an output is fed by anything but one population.
    """
    found: dict[str, str] = {}
    fed: list[str] = []
    for name in net.outputs():
        before = net.predecessors(name)
        while len(before) == 1 and isinstance(net.nodes[before[0]], Flatten):
            before = net.predecessors(before[0])
        if len(before) != 1 or not isinstance(net.nodes[before[0]], Lif | Leaky | Threshold):
            kinds = listed(f"{b} ({type(net.nodes[b]).__name__})" for b in before)
            fed.append(f"Output {name} is fed by {kinds}, not by one population of neurons")
        else:
            found[name] = before[0]
    if fed:
        raise NetworkError(
            f"{listed(fed, '; ')}.",
            "End the network with a spiking layer, whose spikes are the answer, or with an LI of "
            "tau = dt and r = 1, which gives the sum that arrives in each step.",
        )
    return found


def along_edges(net: Network) -> list[str]:
    """Name all nodes, sources before targets; of a loop, the one that is met first comes first."""
    after: dict[str, list[str]] = {name: [] for name in sorted(net.nodes)}
    for a, b in net.edges:
        after[a].append(b)
    order, _ = depth_first([*sorted(net.inputs()), *after], after)
    return order


def _order(net: Network, now: Mapping[str, set[str]]) -> tuple[list[str], frozenset[Edge]]:
    """Order the cells along edges without delay."""
    after: dict[str, list[str]] = {name: [] for name in (*net.inputs(), *now)}
    for name in sorted(now):
        for source in now[name]:
            after[source].append(name)
    order, closing = depth_first([*sorted(net.inputs()), *sorted(now)], after)
    return [name for name in order if name in now], closing


@dataclass(frozen=True, slots=True, eq=False)
class _Signal:
    """What a node gives: a sum over cells (synapses None: the cell itself), and constants."""

    terms: tuple[tuple[str, int, Synapses | None], ...]
    constants: Mapping[int, NDArray[np.float64]]


def _incoming(net: Network, name: str, signals: Mapping[str, _Signal]) -> Incoming:
    size = size_of(input_shape(net.nodes[name]))
    before = [signals[p] for p in net.predecessors(name)]
    sources = tuple(
        Source(source, identity(size) if synapses is None else synapses, delay)
        for signal in before
        for source, delay, synapses in signal.terms
    )
    constants = _added([signal.constants for signal in before])
    bias = constants.pop(0, np.zeros(size))
    return Incoming(sources, bias, {k: v for k, v in constants.items() if v.any()})


def _signals(net: Network) -> dict[str, _Signal]:
    linear = tuple((name, n) for name, n in net.nodes.items() if isinstance(n, Linear))
    cells = {name: _itself(name) for name, n in net.nodes.items() if not isinstance(n, Linear)}
    return {**_composed(linear, net.edges, net.dt), **cells}


def _itself(name: str) -> _Signal:
    return _Signal(((name, 0, None),), {})


@lru_cache(maxsize=2)  # rewrites change neurons, and leave what lies between them as it is
def _composed(
    linear: tuple[tuple[str, Linear], ...], edges: tuple[Edge, ...], dt: float
) -> Mapping[str, _Signal]:
    """Compose the linear nodes, each once, after all that come before it."""
    nodes = dict(linear)
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        if b in nodes:
            before[b].append(a)
    order = TopologicalSorter({n: [p for p in some if p in nodes] for n, some in before.items()})
    work = _Work(list(nodes.values()))
    done: dict[str, _Signal] = {}
    for name in order.static_order():  # the network has refused loops of linear nodes
        given = [done[p] if p in nodes else _itself(p) for p in before[name]]
        done[name] = _through(nodes[name], given, dt, work)
    return done


# What joining linear nodes may take beyond twice the synapses that they have by themselves.
ENTRIES = 1 << 24
STEPS, STEPS_A_NODE, STEPS_A_MAP = 1 << 26, 1 << 14, 1 << 13


class _Work:
    """Counts what joined maps hold and what joining takes: few weights can make it without end."""

    def __init__(self, nodes: Collection[Linear]) -> None:
        own = sum(_own_synapses(node) for node in nodes)
        self.entries = ENTRIES + 2 * own
        self.steps = STEPS + STEPS_A_NODE * len(nodes) + 64 * own

    def take(self, entries: float, steps: float) -> None:
        """Count a map before it is made."""
        self.entries -= entries
        self.steps -= steps + STEPS_A_MAP
        if self.entries < 0 or self.steps < 0:
            raise UnsupportedError(
                "Linear nodes without neurons between them join to far more synapses and delays "
                f"than they hold (the last alone to {entries:,.0f}).",
                "Put neurons between them, or make what lies between smaller.",
            )


def _own_synapses(node: Linear) -> int:
    match node:
        case Affine():
            return node.weight.size
        case Conv2d() | Conv1d():
            most = ENTRIES // 2 + ENTRIES_A_WEIGHT * node.kernel.weight.size
            return min(synapse_count(node.kernel), most)
        case SparseAffine():
            return max(synapse_count(node.synapses), node.bias.size)
        case _:
            return size_of(input_shape(node))


def _through(node: Linear, before: list[_Signal], dt: float, work: _Work) -> _Signal:
    terms: dict[tuple[str, int], Synapses | None] = {}
    for source, delay, synapses in (t for signal in before for t in signal.terms):
        key = (source, delay)
        terms[key] = _sum(terms[key], synapses, node) if key in terms else synapses
    constants = _added([signal.constants for signal in before])
    if isinstance(node, Delay):
        return _delayed(steps_of(node, dt), terms, constants, work)
    if _is_silent(node):
        terms = {}
    applied = tuple((source, delay, _apply(node, s, work)) for (source, delay), s in terms.items())
    held = {k: _passed(node, v, work) for k, v in constants.items()}
    if isinstance(node, Affine | SparseAffine | Conv2d | Conv1d):
        spread = np.repeat(node.bias, size_of(output_shape(node)) // node.bias.size)
        held = _added([held, {0: spread}])
    return _Signal(applied, held)


def _is_silent(node: Linear) -> bool:
    """Say whether a node gives constants only, as one beside an input does (preprocessing)."""
    match node:
        case Conv2d() | Conv1d():
            return not node.kernel.weight.any()
        case SparseAffine():
            return not node.synapses.weight.any()
        case _:
            return False


def _passed(node: Linear, constant: NDArray[np.float64], work: _Work) -> NDArray[np.float64]:
    work.take(0, _own_synapses(node))
    match node:
        case Scale():
            return node.scale.reshape(-1) * constant
        case Flatten() | Delay():
            return constant
        case Affine():
            return node.weight @ constant
        case SparseAffine():
            return received(node.synapses, constant)
        case Conv2d() | Conv1d():
            return received(node.kernel, constant)
        case Pool2d():
            return received(pool_kernel(node), constant)
        case _:
            assert_never(node)


def _apply(node: Linear, synapses: Synapses | None, work: _Work) -> Synapses | None:
    if isinstance(node, Flatten):
        return synapses
    if synapses is None:
        work.take(0, 0)
        return _alone(node)
    if isinstance(node, Scale):
        work.take(0, synapses.weight.size)
        return _scaled(node.scale.reshape(-1), synapses)
    own = _alone(node)
    steps = float(fan_out(own) @ fan_in(synapses).astype(float))
    if isinstance(own, Conv) and isinstance(synapses, Conv) and kernels.join(own, synapses):
        weights, products = kernels.joined_size(own, synapses)
        if weights <= steps:
            work.take(weights, products)
            return kernels.joined(own, synapses)
    whole = float(sizes(own)[0]) * sizes(synapses)[1]
    work.take(whole if isinstance(own, Dense) else min(steps, whole), steps)
    if isinstance(own, Dense):
        return Dense(_behind(own.weight, synapses))
    return from_matrix(matrix(own) @ matrix(synapses))


def _behind(weight: NDArray[np.float64], synapses: Synapses) -> NDArray[np.float64]:
    """Return the weights of a dense layer ``[out, post]`` behind a map, ``[out, pre]``."""
    match synapses:
        case Dense():
            return weight @ synapses.weight
        case Sparse():
            return (matrix(synapses).T @ weight.T).T
        case Conv():
            return kernels.gathered(weight, synapses)
        case _:
            assert_never(synapses)


def _alone(node: Linear) -> Synapses:
    match node:
        case Conv2d() | Conv1d():
            return node.kernel
        case Affine():
            return Dense(node.weight)
        case SparseAffine():
            return node.synapses
        case Scale():
            return diagonal(node.scale.reshape(-1))
        case Pool2d():
            return pool_kernel(node)
        case Flatten() | Delay():
            return identity(size_of(input_shape(node)))
        case _:
            assert_never(node)


def _scaled(scale: NDArray[np.float64], synapses: Synapses) -> Synapses:
    """Multiply what each target receives; what a zero meets is gone."""
    if isinstance(synapses, Sparse) and scale.all():
        counts = np.diff(synapses.indptr)
        weight = synapses.weight * (scale if (counts == 1).all() else np.repeat(scale, counts))
        if weight.all():
            return with_weight(synapses, weight)
    if isinstance(synapses, Conv) and (kernel := kernels.scaled(synapses, scale)) is not None:
        return kernel
    rows: Any = scipy.sparse.diags_array(scale)
    return from_matrix(rows @ matrix(synapses))


def _sum(one: Synapses | None, other: Synapses | None, node: Linear) -> Synapses:
    shape = input_shape(node)
    first, last = (kernels.one_to_one(shape) if s is None else s for s in (one, other))
    if isinstance(first, Conv) and isinstance(last, Conv):
        kernel = kernels.added(first, last)
        if kernel is not None:
            return kernel
    return from_matrix(sum(matrix(_or_identity(s, shape)) for s in (one, other)))


def _or_identity(synapses: Synapses | None, shape: Shape) -> Synapses:
    return identity(size_of(shape)) if synapses is None else synapses


def _added(parts: list[Mapping[int, NDArray[np.float64]]]) -> dict[int, NDArray[np.float64]]:
    out: dict[int, NDArray[np.float64]] = {}
    for start, value in (item for part in parts for item in part.items()):
        out[start] = out[start] + value if start in out else value
    return out


def _delayed(
    steps: NDArray[np.int64],
    terms: Mapping[tuple[str, int], Synapses | None],
    constants: Mapping[int, NDArray[np.float64]],
    work: _Work,
) -> _Signal:
    """Delay a signal; where elements differ, each delay takes its own rows."""
    if np.unique(steps).size == 1:
        extra = int(steps[0])
        moved = tuple((source, delay + extra, s) for (source, delay), s in terms.items())
        return _Signal(moved, {k + extra: v for k, v in constants.items()})
    split: list[tuple[str, int, Synapses | None]] = []
    held: list[Mapping[int, NDArray[np.float64]]] = []
    for extra in (int(n) for n in np.unique(steps)):
        work.take(steps.size, steps.size)
        mask = (steps == extra).astype(float)
        for (source, delay), s in terms.items():
            work.take(steps.size, steps.size)
            late = _scaled(mask, _or_identity(s, (steps.size,)))
            split.append((source, delay + extra, late))
        held.append({k + extra: v * mask for k, v in constants.items()})
    return _Signal(tuple(split), _added(held))


def steps_of(node: Delay, dt: float) -> NDArray[np.int64]:
    """Return the delay of each element in whole steps, ``[size]``."""
    return np.rint(node.delay.reshape(-1) / dt).astype(np.int64)


def pool_kernel(pool: Pool2d) -> Conv:
    """Return pooling as a convolution that keeps channels apart; padding counts as zeros."""
    channels = pool.input_shape[0]
    weight = np.full((channels, 1, *pool.kernel), pool_weight(pool))
    return Conv(weight, pool.input_shape, pool.stride, pool.padding, groups=channels)


def pool_weight(pool: Pool2d) -> float:
    """Return what each value in a window counts."""
    return 1.0 / (pool.kernel[0] * pool.kernel[1]) if pool.average else 1.0
