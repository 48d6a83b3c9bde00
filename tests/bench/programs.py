"""The networks of the speed page, as integers, whose layers spike at a rate that is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from nets import LOIHI2, placed

from snn2hw.families.loihi import engine
from snn2hw.families.loihi.populations import Lif
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, identity
from snn2hw.ir.target import Target

# Some of these networks are too large for a board, or a neuron for a core: how fast they are
# simulated does not depend on it.
ROOM = ("chips", "memory_per_core", "synapse_words", "axons_in", "axons_out")


def large(target: Target) -> Target:
    """Return a chip of the same arithmetic with a thousand times the room."""
    more = {
        k: replace(f, value=1000 * f.value, high=1000 * f.value) if k in ROOM else f
        for k, f in target.limits.items()
    }
    return replace(target, limits=more)


KEEPS_MOST = 410  # a membrane loses a tenth a step


class Net:
    """Layers one after another, with weights from a fixed seed."""

    def __init__(self, name: str, shape: tuple[int, ...], steps: int, target=LOIHI2) -> None:
        self.random = np.random.default_rng(0)
        self.shapes = {"input": shape}
        self.connections: list[Connection] = []
        self.name, self.steps, self.target = name, steps, large(target)

    def weights(self, *shape: int) -> np.ndarray:
        drawn = np.rint(self.random.normal(0, 30, shape)).clip(-126, 126)
        return drawn.astype(np.int32) * 2

    def dense(self, pre: str, post: str, size: int) -> str:
        weight = self.weights(size, int(np.prod(self.shapes[pre])))
        self.connections.append(Connection(pre, post, Dense(weight)))
        self.shapes[post] = (size,)
        return post

    def conv(self, pre: str, post: str, out: int, kernel: int = 3, stride: int = 1) -> str:
        shape = self.shapes[pre]
        weight = self.weights(out, shape[0], kernel, kernel)
        pad = (kernel // 2, kernel // 2)
        synapses = Conv(weight, shape, (stride, stride), pad)
        self.connections.append(Connection(pre, post, synapses))
        self.shapes[post] = synapses.output_shape
        return post

    def add(self, pre: str, post: str) -> None:
        """Let a layer's spikes be heard one to one, as over the shortcut of a residual block."""
        weight = identity(int(np.prod(self.shapes[pre])), np.int32(252))
        self.connections.append(Connection(pre, post, weight))

    def at_rate(self, x: np.ndarray, rate: float) -> Program:
        """Return the program whose layers spike at a rate, for samples ``[N, T, *shape]``."""
        sent, found = {"input": x}, list[Lif]()
        for name in self.shapes:
            if name != "input":
                p, sent[name] = self._at_rate(name, sent, rate)
                found.append(p)
        return self._program(["input"], found)

    def program(self, thresholds: Sequence[int]) -> Program:
        """Return the program with these thresholds, layer by layer."""
        hidden = [name for name in self.shapes if name != "input"]
        neurons = [self._neurons(name, vth) for name, vth in zip(hidden, thresholds, strict=True)]
        return self._program(["input"], neurons)

    def _neurons(self, name: str, threshold: int) -> Lif:
        bias = np.zeros(int(np.prod(self.shapes[name])), np.int32)
        return Lif(name, self.shapes[name], 4095, KEEPS_MOST, threshold, bias)

    def _at_rate(
        self, name: str, sent: dict[str, np.ndarray], rate: float
    ) -> tuple[Lif, np.ndarray]:
        """Return a layer with the threshold that gives it a rate, and its spikes."""
        low, high, best = 0, 1 << 16, None
        pre = sorted({c.pre for c in self.connections if c.post == name})
        inputs = {k: sent[k] for k in pre}
        while best is None or high - low > max(1, low // 64):
            middle = (low + high) // 2
            p = self._neurons(name, middle)
            spikes = engine.run(self._program(pre, [p]), inputs).spikes.astype(np.uint8)
            low, high = (middle, high) if spikes.mean() > rate else (low, middle)
            best = (p, spikes)
        return best

    def _program(self, pre: Sequence[str], populations: Sequence[Lif]) -> Program:
        """Return the program of some layers, which hear others as inputs."""
        there = {*pre, *(p.name for p in populations)}
        last = populations[-1].name
        ports = tuple(InputPort(name, self.shapes[name]) for name in pre)
        into = tuple(c for c in self.connections if {c.pre, c.post} <= there and c.post not in pre)
        net = IntNetwork(
            ports, tuple(populations), into, {last: last}, 1e-3, self.steps, self.target.numbers, {}
        )
        return placed(net, self.target)


def mlp(target=LOIHI2) -> Net:
    """784-512-512-10."""
    net = Net("MLP", (784,), 32, target)
    net.dense(net.dense(net.dense("input", "hidden1", 512), "hidden2", 512), "out", 10)
    return net


def conv() -> Net:
    """28 x 28, twice 3 x 3 with stride 2 to 32 and 64 channels, 10."""
    net = Net("conv", (1, 28, 28), 32)
    first = net.conv("input", "conv1", 32, stride=2)
    net.dense(net.conv(first, "conv2", 64, stride=2), "out", 10)
    return net


def resnet18() -> Net:
    """The ResNet-18 for 3 x 32 x 32: a stem, four stages of two blocks, 10 classes."""
    net = Net("ResNet-18", (3, 32, 32), 4)
    before = net.conv("input", "stem", 64)
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            name = f"stage{stage}.{block}"
            inner = net.conv(before, f"{name}.1", channels, stride=stride)
            outer = net.conv(inner, f"{name}.2", channels)
            if stride == 2:
                net.conv(before, outer, channels, kernel=1, stride=2)
            else:
                net.add(before, outer)
            before = outer
    net.dense(before, "out", 10)
    return net


def spikes(net: Net, samples: int, rate: float, seed: int = 1) -> np.ndarray:
    """Draw input spikes ``[N, T, *shape]``."""
    r = np.random.default_rng(seed)
    shape = (net.steps, *net.shapes["input"])
    x = np.empty((samples, *shape), np.uint8)
    for one in x:  # of which the random numbers take more memory than the spikes of all
        one[:] = r.random(shape, np.float32) < rate
    return x
