"""Passes: a network in, a network of the same type out that spikes the same.

Over float networks, exact in real numbers: ``unit_resistance``, ``fold_scales``, ``fold_pools``,
``drop_unheard``; over integers, exact: ``remove_dead``. What changes the spikes is a rewrite, has a
name, and is applied on request only (``rewrites.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn2hw.ir import populations as chip
from snn2hw.ir.arrays import Edge, size_of
from snn2hw.ir.graph import pool_kernel, pool_weight
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.network import (
    Affine,
    Conv1d,
    Conv2d,
    Flatten,
    Lif,
    Network,
    Node,
    Pool2d,
    Scale,
    output_shape,
)
from snn2hw.ir.synapses import (
    Conv,
    Dense,
    Synapses,
    fan_out,
    from_matrix,
    matrix,
    received,
    with_weight,
)

Floats = NDArray[np.float64]

MOST_KERNEL = 1 << 24  # weights of a map that pools first


def simplify(net: Network) -> Network:
    """Run the passes that make compiling easier, each on what the one before it left."""
    for step in (drop_unheard, fold_scales, fold_pools):
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


def _repeat(net: Network, kind: type[Node], fold: Callable[[_Draft, str, Any], None]) -> Network:
    draft = _Draft(net)
    for name in [k for k, n in net.nodes.items() if isinstance(n, kind)]:
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
        folded = _scaled(draft.nodes[neighbour], node.scale, rows=rows)
        if folded is not None:
            draft.splice(name)
            draft.nodes[neighbour] = folded
            return


def _scaled(node: Node, scale: Floats, *, rows: bool) -> Node | None:
    """Multiply a linear map's outputs (rows) or inputs by factors; None where it cannot."""
    match node:
        case Affine():
            factor = scale.reshape(-1)
            if rows:
                return Affine(node.weight * factor[:, None], node.bias * factor)
            return Affine(node.weight * factor, node.bias)
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
            weight = sparse.csr_array(dense.weight) @ matrix(pool_kernel(pool))
            draft.nodes[last] = Affine(weight.toarray(), dense.bias)
            return
    draft.nodes[name] = Conv2d(pool_kernel(pool), np.zeros(pool.input_shape[0]))


def _stays_small(dense: Affine, pool: Pool2d) -> bool:
    """Say whether a dense map may take in the windows before it: one weight for each pixel."""
    return dense.weight.shape[0] * size_of(pool.input_shape) <= MOST_KERNEL + 16 * dense.weight.size


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


def remove_dead(net: IntNetwork) -> IntNetwork:
    """Remove neurons that no input within range can make spike, and those that nobody hears.

    Of an image only whole channels go, so that kernels stay kernels. The output population stays
    whole, and so do neighbours of grouped convolutions.
    """
    while True:
        most, smaller = _most(net), net
        for p in _plain(net):
            keep = (most[p.name] > 0) & _heard(net, p.name)
            smaller = _only(smaller, p, keep) or smaller
        if smaller is net:
            return net
        net = smaller


def _plain(net: IntNetwork) -> list[chip.Lif]:
    """Return the populations that receive nothing but spikes and numbers from 0 on."""
    signed = {p.name for p in net.inputs if p.min_value < 0}
    signed |= {p.name for p in net.populations if chip.sends_graded(p)}
    return [
        p
        for p in net.populations
        if isinstance(p, chip.Lif)
        and p.driven_by is None
        and not signed & {net.connections[i].pre for i in net.into(p.name)}
    ]


def _most(net: IntNetwork) -> dict[str, Floats]:
    """Return the largest value that each element of inputs and populations can send."""
    most = {p.name: np.full(p.size, float(p.max_value)) for p in net.inputs}
    most |= {p.name: np.ones(p.size) for p in net.populations}
    plain = {p.name: p for p in _plain(net)}
    while True:
        changed = False
        for p in plain.values():
            dead = _never(net, p, most) & (most[p.name] > 0)
            if dead.any():
                most[p.name] = np.where(dead, 0.0, most[p.name])
                changed = True
        if not changed:
            return most


def _never(net: IntNetwork, p: chip.Lif, most: Mapping[str, Floats]) -> NDArray[np.bool_]:
    """Say which neurons stay below the threshold if all that excites them came in every step.

    Decays truncate toward zero, so the geometric series bounds them from above.
    """
    n = net.numbers
    high, low = np.zeros(p.size), np.zeros(p.size)
    for i in net.into(p.name):
        c = net.connections[i]
        exciting, inhibiting = (
            received(with_weight(c.synapses, clip(c.synapses.weight, 0)), most[c.pre])
            for clip in (np.maximum, np.minimum)
        )
        high += exciting * 2.0**c.exponent
        low += inhibiting * 2.0**c.exponent - (c.exponent < 0)  # which rounds down
    one, top = float(1 << n.decay_bits), float(1 << (n.state_bits - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = one / (p.du + 1) if p.du >= 0 else np.inf
        u_high, u_low = (np.where(x == 0, 0.0, x * 2.0**n.state_shift * grown) for x in (high, low))
        push = u_high + p.bias * 2.0**p.bias_exp
        v_high = np.where(push > 0, push * (one / p.dv if p.dv else np.inf), 0.0)
    wraps = (u_high >= top) | (u_low <= -top)
    return ~wraps & (v_high < (p.vth << n.state_shift))


def _heard(net: IntNetwork, name: str) -> NDArray[np.bool_]:
    heard = np.zeros(net.population(name).size, bool)
    for c in net.connections:
        if c.pre == name:
            heard |= fan_out(c.synapses) > 0
    return heard


def _only(net: IntNetwork, p: chip.Lif, keep: NDArray[np.bool_]) -> IntNetwork | None:
    """Keep some neurons, or channels, of a population; None where nothing can go."""
    around = [c for c in net.connections if p.name in (c.pre, c.post)]
    channels = _channels(p, around)
    kept = np.flatnonzero(keep.reshape(channels, -1).any(axis=1))
    if p.name == net.output or kept.size in (0, channels) or any(_grouped(c) for c in around):
        return None
    each = p.size // channels
    neurons = (kept[:, None] * each + np.arange(each)).reshape(-1)
    shape = (kept.size, *p.shape[1:]) if p.shape[0] == channels else (neurons.size,)
    smaller = replace(p, shape=shape, bias=p.bias[neurons])
    connections: list[Connection] = []
    for c in net.connections:
        synapses = c.synapses
        if c.post == p.name:
            synapses = _rows(synapses, kept, neurons)
        if c.pre == p.name:
            synapses = _columns(synapses, kept, neurons)
        connections.append(replace(c, synapses=synapses))
    if any(c.mixed != old.mixed for c, old in zip(connections, net.connections, strict=True)):
        return None  # what is left has one sign, for which the chip has another grid
    populations = tuple(smaller if q.name == p.name else q for q in net.populations)
    rounding = dict(net.rounding)
    if p.name in rounding:
        removed = rounding[p.name].removed + p.size - smaller.size
        rounding[p.name] = replace(rounding[p.name], removed=removed)
    return replace(net, populations=populations, connections=tuple(connections), rounding=rounding)


def _channels(p: chip.Lif, around: list[Connection]) -> int:
    """Return how many parts of a population can go: channels of an image, or neurons."""
    for c in around:
        if isinstance(c.synapses, Conv):
            return c.synapses.weight.shape[0] if c.post == p.name else c.synapses.input_shape[0]
    return p.shape[0] if len(p.shape) > 1 else p.size


def _grouped(c: Connection) -> bool:
    return isinstance(c.synapses, Conv) and c.synapses.groups > 1


def _rows(synapses: Synapses, channels: NDArray[np.intp], keep: NDArray[np.intp]) -> Synapses:
    if isinstance(synapses, Dense):
        return Dense(synapses.weight[keep])
    if isinstance(synapses, Conv):
        return replace(synapses, weight=synapses.weight[channels])
    return from_matrix(matrix(synapses)[keep])


def _columns(synapses: Synapses, channels: NDArray[np.intp], keep: NDArray[np.intp]) -> Synapses:
    if isinstance(synapses, Dense):
        return Dense(synapses.weight[:, keep])
    if isinstance(synapses, Conv):
        image = (channels.size, *synapses.input_shape[1:])
        return replace(synapses, weight=synapses.weight[:, channels], input_shape=image)
    return from_matrix(matrix(synapses).tocsc()[:, keep])
