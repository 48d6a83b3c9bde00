"""A float network node by node, one sample, nothing composed: to check what composes."""

from __future__ import annotations

import numpy as np

from snn2hw.ir.arrays import size_of
from snn2hw.ir.graph import steps_of, wiring
from snn2hw.ir.nodes import (
    Affine,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Leaky,
    Linear,
    Pool2d,
    Scale,
    SparseAffine,
    Threshold,
    output_shape,
)
from snn2hw.ir.synapses import matrix


def _correlate(conv, x, bias):
    w, (sy, sx), (py, px), (dy, dx) = conv.weight, conv.stride, conv.padding, conv.dilation
    x = np.pad(x.reshape(conv.input_shape), ((0, 0), (py, py), (px, px)))
    out = np.zeros(conv.output_shape)
    each = out.shape[0] // conv.groups
    for o, i, j in np.ndindex(out.shape):
        first = (o // each) * w.shape[1]
        window = x[
            first : first + w.shape[1],
            i * sy : i * sy + dy * (w.shape[2] - 1) + 1 : dy,
            j * sx : j * sx + dx * (w.shape[3] - 1) + 1 : dx,
        ]
        out[o, i, j] = (window * w[o]).sum() + bias[o]
    return out.reshape(-1)


def _pool(node, x):
    (ky, kx), (sy, sx), (py, px) = node.kernel, node.stride, node.padding
    x = np.pad(x.reshape(node.input_shape), ((0, 0), (py, py), (px, px)))
    out = np.zeros(output_shape(node))
    for c, i, j in np.ndindex(out.shape):
        window = x[c, i * sy : i * sy + ky, j * sx : j * sx + kx]
        out[c, i, j] = window.sum() / (ky * kx if node.average else 1)
    return out.reshape(-1)


class _Neuron:
    def __init__(self, node, dt, rules, last):
        self.node, self.dt, self.rules = node, dt, rules
        self.most = rules.most_out if last else rules.most
        self.i = self.v = self.spikes = np.zeros(size_of(node.shape))

    def wide(self, value):
        return np.broadcast_to(value, self.node.shape).reshape(-1)

    def __call__(self, x):
        n, dt = self.node, self.dt
        current = x
        if n.tau_synapse is not None:
            tau = self.wide(n.tau_synapse)
            target = x * self.wide(1.0 if n.w_in is None else n.w_in)
            self.i = current = self.moved(self.i, target, tau)
        tau = self.wide(n.tau)
        leaky = np.isfinite(tau)
        target = self.wide(n.v_leak) + self.wide(n.r) * current
        pulled = self.moved(self.v, target, np.where(leaky, tau, 1.0))
        self.v = np.where(leaky, pulled, self.v + dt * self.wide(n.r) * current)
        if isinstance(n, Leaky):
            return self.v
        threshold = self.wide(n.v_threshold)
        if n.reset.endswith("late"):
            self.reset(self.spikes)
        out = np.zeros_like(self.v)
        for k, (v, limit) in enumerate(zip(self.v.copy(), threshold, strict=True)):
            while v >= limit if (n.fires or self.rules.fires) == "at" else v > limit:
                out[k] += 1
                v -= limit
                if self.rules.spikes == "one" or out[k] == self.most:
                    break
        if not n.reset.endswith("late"):
            self.reset(out)
        self.spikes = out
        if self.rules.v_min is not None:
            self.v = np.maximum(self.v, self.rules.v_min)
        return out

    def reset(self, spikes):
        for k in np.flatnonzero(spikes):
            if self.node.reset.startswith("subtract"):
                self.v[k] -= spikes[k] * self.wide(self.node.v_threshold)[k]
            else:
                self.v[k] = self.wide(self.node.v_reset)[k]

    def moved(self, x, target, tau):
        if self.rules.integration == "euler":
            return x + self.dt * (target - x) / tau
        return target + (x - target) * np.exp(-self.dt / tau)


def run(net, inputs):  # noqa: C901
    """Return what cells and outputs give, ``[T, size]`` by name, for inputs ``[T, *shape]``."""
    steps = len(next(iter(inputs.values())))
    wires = wiring(net)
    given = {k: np.zeros((steps, size_of(output_shape(n)))) for k, n in net.nodes.items()}
    last = {s.name for n in net.outputs() for s in wires.into[n].sources}
    neurons = {
        k: _Neuron(n, net.dt, net.rules, k in last)
        for k, n in net.cells().items()
        if hasattr(n, "tau")
    }
    for name, x in inputs.items():
        given[name][:] = x.reshape(steps, -1)

    def arriving(name, t, target, delayed):
        return sum(signal(p, t, target, delayed) for p in net.predecessors(name))

    def signal(name, t, target, delayed):
        """What a node sends towards a cell; ``delayed`` if a Delay lies on the way."""
        node = net.nodes[name]
        if isinstance(node, Delay):
            steps_each = steps_of(node, net.dt)
            now = np.zeros(steps_each.size)
            for k, extra in enumerate(steps_each):
                if t >= extra:
                    now[k] = arriving(name, t - extra, target, delayed or extra > 0)[k]
            return now
        if isinstance(node, Linear):
            return _linear(node, arriving(name, t, target, delayed))
        if (name, target) in wires.closing and not delayed:
            t -= 1
        return given[name][t] if t >= 0 else np.zeros(given[name].shape[1])

    for t in range(steps):
        for name in (*wires.order, *net.outputs()):
            x, node = arriving(name, t, name, False), net.nodes[name]
            if isinstance(node, Threshold):
                given[name][t] = x > node.threshold.reshape(-1)
            else:
                given[name][t] = neurons[name](x) if name in neurons else x
    return given


def _linear(node, x):
    if isinstance(node, Affine):
        return node.weight @ x + node.bias
    if isinstance(node, SparseAffine):
        return matrix(node.synapses).toarray() @ x + node.bias
    if isinstance(node, Conv2d | Conv1d):
        return _correlate(node.kernel, x, node.bias)
    if isinstance(node, Pool2d):
        return _pool(node, x)
    if isinstance(node, Scale):
        return node.scale.reshape(-1) * x
    assert isinstance(node, Flatten)
    return x
