"""Reading a network's topology: which synapses and which bias reach a population.

Between two populations a network may hold any chain of linear nodes (convolution, flatten,
pooling, affine). They compose to one linear map and one constant current; both are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn2hw.errors import NetworkError
from snn2hw.ir.arrays import size_of
from snn2hw.ir.network import (
    Affine,
    Conv2d,
    Flatten,
    Input,
    Lif,
    Network,
    Node,
    Output,
    Pool2d,
    output_shape,
)
from snn2hw.ir.synapses import Dense, Synapses, from_matrix, identity, matrix


@dataclass(frozen=True, slots=True, eq=False)
class Incoming:
    """What drives a population: float synapses by source, and a constant current ``[size]``."""

    sources: tuple[tuple[str, Synapses], ...]
    bias: NDArray[np.float64]


def incoming(net: Network, name: str) -> Incoming:
    """Collect every path of linear nodes that ends in population ``name``."""
    sources: list[tuple[str, Synapses]] = []
    for source, path in _paths(net, name, ()):
        sources.append((source, _compose(net, source, path)))
    size = size_of(output_shape(net.nodes[name]))
    bias = sum((_constant(net, p) for p in net.predecessors(name)), np.zeros(size))
    return Incoming(tuple(sources), np.asarray(bias))


def output_populations(net: Network) -> list[str]:
    """Return the populations that feed an Output node directly.

    Raises:
        NetworkError: if an output is fed by anything but one population.
    """
    found: list[str] = []
    for name, node in net.nodes.items():
        if not isinstance(node, Output):
            continue
        before = net.predecessors(name)
        if len(before) != 1 or not isinstance(net.nodes[before[0]], Lif):
            raise NetworkError(
                f"Output {name} is fed by {', '.join(before)}, not by one population of neurons.",
                "End the network with a spiking layer, whose spikes are the answer.",
            )
        found.append(before[0])
    return found


def topological(net: Network) -> list[str]:
    """Return the populations in an order where every source comes first.

    Raises:
        NetworkError: if the network has a loop, naming the populations in it.
    """
    waiting = {
        name: {s for s, _ in _paths(net, name, ()) if s in net.neurons()} for name in net.neurons()
    }
    order: list[str] = []
    while waiting:
        ready = sorted(n for n, needs in waiting.items() if not needs - set(order))
        if not ready:
            raise NetworkError(
                f"Populations {', '.join(sorted(waiting))} form a loop or hang on one.",
                "Recurrent networks are not compiled yet: unroll the loop or remove it.",
            )
        order += ready
        for name in ready:
            del waiting[name]
    return order


def _paths(net: Network, name: str, tail: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, tuple[str, ...]]] = []
    for before in net.predecessors(name):
        if isinstance(net.nodes[before], Lif | Input):
            found.append((before, tail))
        elif before in tail:
            raise NetworkError(f"{before} is part of a loop that holds no neurons.")
        else:
            found += _paths(net, before, (before, *tail))
    return found


def _compose(net: Network, source: str, path: tuple[str, ...]) -> Synapses:
    nodes = [net.nodes[p] for p in path if not isinstance(net.nodes[p], Flatten)]
    if not nodes:
        return identity(size_of(output_shape(net.nodes[source])))
    if len(nodes) == 1:
        only = nodes[0]
        if isinstance(only, Conv2d):
            return only.kernel
        if isinstance(only, Affine):
            return Dense(only.weight)
    total: Any = _node_matrix(nodes[0])
    for node in nodes[1:]:
        total = _node_matrix(node) @ total
    return Dense(total.toarray()) if isinstance(nodes[-1], Affine) else from_matrix(total)


def _node_matrix(node: Node) -> sparse.csr_array:
    match node:
        case Affine():
            return sparse.csr_array(node.weight)
        case Conv2d():
            return matrix(node.kernel)
        case Pool2d():
            return _pool_matrix(node)
        case Input() | Output() | Lif() | Flatten():
            raise AssertionError(f"{type(node).__name__} is not a linear map")
        case _:
            assert_never(node)


def _pool_matrix(pool: Pool2d) -> sparse.csr_array:
    channels, height, width = pool.input_shape
    _, out_h, out_w = output_shape(pool)
    weight = 1.0 / (pool.kernel[0] * pool.kernel[1]) if pool.average else 1.0
    oy, ox, ky, kx = np.meshgrid(
        *(np.arange(n) for n in (out_h, out_w, *pool.kernel)), indexing="ij"
    )
    y = oy * pool.stride[0] - pool.padding[0] + ky
    x = ox * pool.stride[1] - pool.padding[1] + kx
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    rows, columns = (oy * out_w + ox)[inside], (y * width + x)[inside]
    one = sparse.coo_array(
        (np.full(rows.size, weight), (rows, columns)), shape=(out_h * out_w, height * width)
    )
    return sparse.csr_array(sparse.kron(sparse.eye_array(channels), one))


def _constant(net: Network, name: str) -> NDArray[np.float64]:
    """What a node gives when every population is silent: its own bias and those before it."""
    node = net.nodes[name]
    size = size_of(output_shape(node))
    if isinstance(node, Lif | Input):
        return np.zeros(size)
    before = [_constant(net, p) for p in net.predecessors(name)]
    value = np.asarray(sum(before[1:], before[0]))
    match node:
        case Flatten() | Output():
            return value
        case Affine():
            return node.weight @ value + node.bias
        case Conv2d():
            spread = np.repeat(node.bias, size // node.bias.size)
            return (matrix(node.kernel) @ value if value.any() else 0.0) + spread
        case Pool2d():
            return _pool_matrix(node) @ value if value.any() else np.zeros(size)
        case _:
            assert_never(node)
