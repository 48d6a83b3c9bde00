"""Random float networks of every node type, with branches, loops, delays, several ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from nets import DT, lif

from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import (
    Affine,
    Conv1d,
    Conv2d,
    Delay,
    Flatten,
    Input,
    Leaky,
    Output,
    Pool2d,
    Scale,
    Threshold,
    output_shape,
)
from snn2hw.ir.synapses import Conv


def random_network(seed, *, layers=3, chip=False) -> Network:
    """A random network; with ``chip`` only of what Loihi 2 can do, some read by an LI or I.

    Weights have few bits and decays are simple, so that no sum depends on the order of its terms.
    """
    make = _Maker(np.random.default_rng(seed), chip)
    r = make.r
    cells = [make.input(k) for k in range(1 if chip else int(r.integers(1, 3)))]
    for i in range(layers):
        before = make.linear(i, str(r.choice(cells[-2:])))
        name = make.cell(f"cell{i}", before)
        make.join(f"{i}b", cells, name)
        make.join(f"{i}r", [name], str(r.choice([c for c in [*cells, name] if c[:2] != "in"])))
        cells.append(name)
    if chip and seed % 3 == 0:
        cells.append(make.readout(cells[-1]))
    make.add("out0", Output(make.shape(cells[-1])), cells[-1])
    rules = Rules()
    if chip:
        make.heads(seed, [c for c in cells if c.startswith("cell")])
    else:
        if r.random() < 0.4:
            end = make.linear("end", cells[-2])
            make.add("out1", Output(make.shape(end)), end)
        rules = Rules(
            str(r.choice(["euler", "exponential"])), str(r.choice(["above", "at"])),
            str(r.choice(["one", "many"])), None if r.random() < 0.7 else -1.0,
        )  # fmt: skip
    if rules.spikes == "many" and seed % 2:
        rules = replace(rules, most=2, most_out=1)
    return Network(make.nodes, tuple(make.edges), DT, int(r.integers(2, 6)), rules)


class _Maker:
    def __init__(self, r, chip):
        self.r, self.chip, self.nodes, self.edges = r, chip, {}, []

    def add(self, name, node, *before):
        self.nodes[name] = node
        self.edges += [(b, name) for b in before]
        return name

    def shape(self, name):
        return output_shape(self.nodes[name])

    def few(self, shape, scale=1.0):
        return self.r.integers(-8, 9, shape) / 8 * scale

    def input(self, k):
        shape = [(2, 4, 4), (2, 5), (4,)][int(self.r.integers(0, 3))]
        return self.add(f"in{k}", Input(shape, int(self.r.choice([1, 3]))))

    def linear(self, i, before, size=None):
        """A chain of linear nodes; to ``size`` elements if that is given."""
        r, count = self.r, 0
        if self.chip:  # which cannot hold a bias back
            before = self.wait(i, before)
        while len(self.shape(before)) == 3 and r.random() < 0.6:
            before = self.add(f"n{i}.{count}", self.image_node(self.shape(before)), before)
            count += 1
        if len(self.shape(before)) == 2 and r.random() < 0.7:
            channels, length = self.shape(before)
            kernel = Conv(
                self.few((2, channels, 1, min(2, length))), (channels, 1, length), padding=(0, 1)
            )
            before = self.add(f"n{i}.{count}", Conv1d(kernel, self.few(2)), before)
        if len(self.shape(before)) > 1 and (size is not None or r.random() < 0.4):
            before = self.add(f"n{i}.flat", Flatten(self.shape(before)), before)
        if len(self.shape(before)) == 1 and (size is not None or r.random() < 0.8):
            n = int(r.integers(2, 6)) if size is None else size
            weight = self.few((n, *self.shape(before)))
            before = self.add(f"n{i}.fc", Affine(weight, self.few(n, 0.5)), before)
        if r.random() < 0.2:
            before = self.add(f"n{i}.scale", Scale(self.few(self.shape(before), 2.0)), before)
        return before if self.chip else self.wait(i, before)

    def wait(self, i, before):
        if self.r.random() < 0.8:
            return before
        shape = self.shape(before)
        late = self.r.integers(0, 3, shape) if self.r.random() < 0.5 else np.full(shape, 2)
        return self.add(f"n{i}.delay", Delay(late * DT), before)

    def image_node(self, shape):
        r, kind = self.r, int(self.r.integers(0, 3))
        if kind == 0 and min(shape[1:]) >= 2:
            stride, padding = (int(r.integers(1, 3)),) * 2, (int(r.integers(0, 2)), 0)
            return Pool2d(shape, (2, 2), stride, padding, bool(r.integers(0, 2)))
        if kind == 1:
            return Scale(self.few(shape))
        groups = int(r.choice([g for g in (1, 2) if shape[0] % g == 0]))
        side = int(r.integers(1, min(3, *shape[1:]) + 1))
        weight = self.few((2 * groups, shape[0] // groups, side, side))
        stride, padding = (1, int(r.integers(1, 3))), (int(r.integers(0, 2)), 1)
        return Conv2d(Conv(weight, shape, stride, padding, (1, 1), groups), self.few(2 * groups))

    def cell(self, name, before):
        r, shape, kind = self.r, self.shape(before), self.r.random()
        if kind < 0.1:
            return self.add(name, Threshold(r.integers(1, 9, shape) / 8), before)
        beta = float(r.choice([0.5, 0.75, 1.0]))
        more = {}
        if beta < 1 and r.random() < 0.5:
            more = {"tau_synapse": np.array(2 * DT), "w_in": np.array(float(r.choice([1.0, 2.0])))}
        if kind < 0.25 and not self.chip:
            plain = lif(shape, beta)
            return self.add(name, Leaky(shape, plain.tau, plain.r, plain.v_leak, **more), before)
        if beta < 1 and r.random() < 0.3:
            more["v_leak"] = np.array(0.25)
        if not self.chip:
            more["reset"] = str(r.choice(["zero", "subtract", "zero-late", "subtract-late"]))
            more["fires"] = [None, "at", "above"][r.integers(3)]
            more["v_reset"] = np.array(float(r.choice([0.0, -0.25])))
        threshold = r.integers(2, 9, shape) / 4 if r.random() < 0.5 else np.array(1.0)
        return self.add(name, lif(shape, beta, **more, v_threshold=threshold), before)

    def readout(self, before):
        before = self.linear("read", before)
        beta = float(self.r.choice([0.0, 1.0]))
        made, shape = lif((), beta, r=self.few((), 4 / DT if beta else 4.0)), self.shape(before)
        leak = np.zeros(()) if beta else self.few(shape)
        return self.add("read", Leaky(shape, made.tau, made.r, leak), before)

    def heads(self, seed, cells):
        """In a third of the networks, give up to two more cells an output."""
        r = np.random.default_rng((seed, 1))
        for i in range(int(r.integers(1, 3)) if r.random() < 1 / 3 else 0):
            cell = str(r.choice(cells))
            self.add(f"head{i}", Output(self.shape(cell)), cell)

    def join(self, i, sources, target):
        """At times, an edge more into a cell; NIR has no way from a vector to an image."""
        if self.r.random() < 0.5:
            return
        source, shape = str(self.r.choice(sources)), self.shape(target)
        if len(shape) == 1:
            self.edges.append((self.linear(i, source, size=shape[0]), target))
        elif self.shape(source) == shape:
            scale = self.add(f"n{i}.scale", Scale(self.few(shape)), source)
            self.edges.append((scale, target))
