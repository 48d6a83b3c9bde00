"""Passes: a network in, a network of the same type out that spikes the same.

They are over float networks, and exact in real numbers; a family has more, over its integers. What
changes the spikes is a rewrite, has a name, and is applied on request only (``rewrites.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.ir import kernels
from snn2hw.ir.arrays import Edge, size_of
from snn2hw.ir.graph import pool_kernel, pool_weight
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import (
    Affine,
    Conv1d,
    Conv2d,
    Flatten,
    Leaky,
    Lif,
    Node,
    Pool2d,
    Scale,
    SparseAffine,
    output_shape,
)
from snn2hw.ir.synapses import Conv, synapse_count

Floats = NDArray[np.float64]

MOST_KERNEL = 1 << 24  # weights of a map that pools first
MOST_FAN_IN = 1 << 10  # inputs of a dense map that pools first


@lru_cache(maxsize=1)  # several targets are asked about one network
def simplify(net: Network) -> Network:
    """Run the passes that make compiling easier, each on what the one before it left."""
    for step in (drop_unheard, fold_scales, fold_pools, add_up_pools):
        net = step(net)
    return net


def fold_batch_norm(
    weight: Floats, bias: Floats, gamma: Floats, beta: Floats, mean: Floats, variance: Floats,
    epsilon: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Fold a batch norm that follows a linear map into it (Ioffe and Szegedy 2015, at inference).

    Args:
        weight: ``[out, ...]``.
        bias: ``[out]``; so are gamma, beta, mean and variance.
        gamma: scale of the normalized value.
        beta: shift of the normalized value.
        mean: running mean.
        variance: running variance.
        epsilon: added to the variance.

    Returns:
        Weight and bias; zeros stay zeros.
    """
    gain = gamma / np.sqrt(variance + epsilon)
    wide = gain.reshape(-1, *[1] * (weight.ndim - 1))
    return weight * wide, beta + (bias - mean) * gain


def unit_resistance(net: Network) -> Network:
    """Measure each leaky population's membrane in units in which its resistance is 1.

    Norse reads no other resistance, snnTorch reads this one too.
    """

    def scaled(node: Lif) -> Lif:
        if node.tau_synapse is not None or np.isinf(node.tau).any() or (node.r <= 0).any():
            return node
        volts = {k: getattr(node, k) / node.r for k in ("v_threshold", "v_leak", "v_reset")}
        return replace(node, r=np.ones(()), **volts)

    if net.rules.v_min is not None:
        return net  # a limit for all of them, in the units that they have
    return replace(
        net, nodes={k: scaled(n) if isinstance(n, Lif) else n for k, n in net.nodes.items()}
    )


def drop_unheard(net: Network) -> Network:
    """Remove every node from which no edge leads to an output; inputs stay."""
    heard = set(net.outputs())
    waiting = list(heard)
    while waiting:
        fresh = set(net.predecessors(waiting.pop())) - heard
        heard |= fresh
        waiting += fresh
    heard |= set(net.inputs())
    if len(heard) == len(net.nodes):
        return net  # which has been checked
    return replace(
        net,
        nodes={k: n for k, n in net.nodes.items() if k in heard},
        edges=tuple((a, b) for a, b in net.edges if a in heard and b in heard),
    )


def fold_scales(net: Network) -> Network:
    """Multiply each Scale into the weights before or after it, where these serve nothing else.

    A convolution takes one factor for each channel; other scales stay, as synapses of their own.
    """
    return _repeat(net, Scale, _fold_scale)


def fold_pools(net: Network) -> Network:
    """Turn pooling into weights: of the map after it, or of a convolution of its own."""
    return _repeat(net, Pool2d, _fold_pool)


def add_up_pools(net: Network) -> Network:
    """Let integrators hold the sums of large pools that no kernel behind them can take in.

    They forget at once, so that they give what arrives in a step. Such a pool reaches over the
    border of its image and is padded by the convolution behind it; small ones are written out.
    """
    pools = {k: n for k, n in net.nodes.items() if isinstance(n, Conv2d) and adds_up(n)}
    behind: dict[str, list[Node]] = {name: [] for name in pools}
    for a, b in net.edges:
        if a in pools:
            behind[a].append(net.nodes[b])
    held = [
        name
        for name, pool in pools.items()
        if any(isinstance(n, Conv2d) and _is_large(n.kernel, pool.kernel) for n in behind[name])
    ]
    return with_sums_held(net, held)


MOST_WRITTEN_OUT = 1 << 22  # synapses of a pool and the convolution behind it


def _is_large(conv: Conv, pool: Conv) -> bool:
    many = synapse_count(conv) * math.prod(pool.weight.shape[2:])
    return many > MOST_WRITTEN_OUT and not kernels.join(conv, pool)


def adds_up(node: Conv2d) -> bool:
    """Say whether a convolution is a pool: windows of each channel, added up."""
    kernel = node.kernel
    channels = kernel.input_shape[0]
    alone = kernel.groups == channels == kernel.weight.shape[0]
    return alone and not node.bias.any() and kernel.weight.min() == kernel.weight.max() > 0


def with_sums_held(net: Network, names: Iterable[str]) -> Network:
    """Put an integrator that forgets at once behind convolutions, ``<name>.relay``."""
    nodes, edges = dict(net.nodes), list(net.edges)
    step = net.dt if net.rules.integration == "euler" else net.dt / 64  # either leaves nothing
    for name in names:
        node, relay = net.nodes[name], f"{name}.relay"
        while relay in nodes:
            relay += "_"
        nodes[relay] = Leaky(output_shape(node), np.array(step), np.ones(()), np.zeros(()))
        edges = [(relay if a == name else a, b) for a, b in edges]
        edges.append((name, relay))
    return net if len(nodes) == len(net.nodes) else replace(net, nodes=nodes, edges=tuple(edges))


def _repeat(net: Network, kind: type[Node], fold: Callable[[_Draft, str, Any], None]) -> Network:
    concerned = [k for k, n in net.nodes.items() if isinstance(n, kind)]
    if not concerned:
        return net
    draft = _Draft(net)
    for name in concerned:
        fold(draft, name, draft.nodes[name])
    return replace(net, nodes=draft.nodes, edges=tuple(draft.edges))


class _Draft:
    """Nodes and edges, in both directions, while a pass changes them."""

    def __init__(self, net: Network) -> None:
        self.nodes = dict(net.nodes)
        self.into: dict[str, set[str]] = {name: set() for name in net.nodes}
        self.out_of: dict[str, set[str]] = {name: set() for name in net.nodes}
        self.join(net.edges)

    @property
    def edges(self) -> list[Edge]:
        return [(a, b) for a, targets in self.out_of.items() for b in targets]

    def join(self, edges: Iterable[Edge]) -> None:
        for a, b in edges:
            self.out_of[a].add(b)
            self.into[b].add(a)

    def before(self, name: str) -> list[str]:
        return sorted(self.into[name])

    def after(self, name: str) -> list[str]:
        return sorted(self.out_of[name])

    def alone_before(self, name: str) -> str | None:
        """Return the node before, if neither has another neighbour in between."""
        before = self.before(name)
        return before[0] if len(before) == 1 and self.out_of[before[0]] == {name} else None

    def alone_after(self, name: str) -> str | None:
        after = self.after(name)
        return after[0] if len(after) == 1 and self.into[after[0]] == {name} else None

    def splice(self, name: str) -> None:
        """Take a node out and join its neighbours, one of which has no other neighbour there."""
        joined = [(a, b) for a in self.into[name] for b in self.out_of[name]]
        for a in self.into.pop(name):
            self.out_of[a].discard(name)
        for b in self.out_of.pop(name):
            self.into[b].discard(name)
        del self.nodes[name]
        self.join(joined)


def _fold_scale(draft: _Draft, name: str, node: Scale) -> None:
    for neighbour, rows in ((draft.alone_before(name), True), (draft.alone_after(name), False)):
        if neighbour is None:
            continue
        folded = scaled(draft.nodes[neighbour], node.scale, rows=rows)
        if folded is not None:
            draft.splice(name)
            draft.nodes[neighbour] = folded
            return


def scaled(node: Node, scale: Floats, *, rows: bool) -> Node | None:
    """Multiply a linear map's outputs (rows) or inputs by factors; None where it cannot.

    Args:
        node: the map.
        scale: a factor for each output or input, in their shape.
        rows: whether they are of outputs.
    """
    match node:
        case Scale() if not rows:
            return Scale(node.scale * scale.reshape(node.scale.shape))
        case Affine():
            factor = scale.reshape(-1)
            if rows:
                return Affine(node.weight * factor[:, None], node.bias * factor)
            return Affine(node.weight * factor, node.bias)
        case SparseAffine():
            factor = scale.reshape(-1)
            synapses, bias = node.synapses, node.bias * factor if rows else node.bias
            each = np.repeat(factor, np.diff(synapses.indptr)) if rows else factor[synapses.indices]
            return replace(
                node, synapses=replace(synapses, weight=synapses.weight * each), bias=bias
            )
        case Conv2d() | Conv1d():
            each = scale.reshape(scale.shape[0], -1)
            if np.ptp(each, axis=1).any():
                return None
            kernel, factor = node.kernel, each[:, 0]
            if rows:
                weight = kernel.weight * factor[:, None, None, None]
                return replace(node, kernel=replace(kernel, weight=weight), bias=node.bias * factor)
            out, into = kernel.weight.shape[:2]
            group = np.arange(out) // (out // kernel.groups)
            channel = group[:, None] * into + np.arange(into)
            weight = kernel.weight * factor[channel][:, :, None, None]
            return replace(node, kernel=replace(kernel, weight=weight))
        case _:
            return None


def _fold_pool(draft: _Draft, name: str, pool: Pool2d) -> None:
    after = draft.alone_after(name)
    follower = draft.nodes[after] if after else None
    if after and isinstance(follower, Conv2d):
        kernel = _pooled_kernel(pool, follower.kernel)
        if kernel is not None:
            draft.splice(name)
            draft.nodes[after] = Conv2d(kernel, follower.bias)
            return
    if after and isinstance(follower, Flatten) and len(output_shape(follower)) == 1:
        last = draft.alone_after(after)
        dense = draft.nodes[last] if last else None
        if last and isinstance(dense, Affine) and _stays_small(dense, pool):
            draft.splice(name)
            draft.nodes[after] = Flatten(pool.input_shape)
            weight = kernels.gathered(dense.weight, pool_kernel(pool))
            draft.nodes[last] = Affine(weight, dense.bias)
            return
    draft.nodes[name] = Conv2d(pool_kernel(pool), np.zeros(pool.input_shape[0]))


def _stays_small(dense: Affine, pool: Pool2d) -> bool:
    """Say whether a dense map may take in the windows before it: one weight for each pixel.

    With many inputs it may not fit a core, which can add up the windows instead.
    """
    size = size_of(pool.input_shape)
    few = dense.weight.shape[0] * size <= MOST_KERNEL + 16 * dense.weight.size
    return few and size <= MOST_FAN_IN


def _pooled_kernel(pool: Pool2d, conv: Conv) -> Conv | None:
    """Return the convolution that pools first, or None if it would differ at the border.

    Tap j of the kernel lies on a window that begins at ``j * dilation * stride``. A padded tap must
    see nothing, so its window has to lie outside the image as a whole.
    """
    sides: list[tuple[int, int]] = []
    for axis in (0, 1):
        window, step = pool.kernel[axis], pool.stride[axis]
        taps, spread = conv.weight.shape[2 + axis], conv.dilation[axis]
        size, pooled = pool.input_shape[1 + axis], output_shape(pool)[1 + axis]
        if pool.padding[axis] or (conv.padding[axis] and (window > step or size > pooled * step)):
            return None
        sides.append(((taps - 1) * spread * step + window, conv.padding[axis] * step))
    if conv.weight.shape[0] * conv.weight.shape[1] * sides[0][0] * sides[1][0] > MOST_KERNEL:
        return None
    weight = np.zeros((*conv.weight.shape[:2], sides[0][0], sides[1][0]))
    for y, x in np.ndindex(*conv.weight.shape[2:]):
        top = y * conv.dilation[0] * pool.stride[0]
        left = x * conv.dilation[1] * pool.stride[1]
        window = weight[:, :, top : top + pool.kernel[0], left : left + pool.kernel[1]]
        window += conv.weight[:, :, y, x][:, :, None, None] * pool_weight(pool)
    stride = (conv.stride[0] * pool.stride[0], conv.stride[1] * pool.stride[1])
    try:
        whole = Conv(
            weight, pool.input_shape, stride, (sides[0][1], sides[1][1]), (1, 1), conv.groups
        )
    except ValueError:
        return None
    return whole if whole.output_shape == conv.output_shape else None
