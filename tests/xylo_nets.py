"""Random and hand-made Xylo networks for the tests."""

from __future__ import annotations

import itertools

import numpy as np

from snn2hw import target as targets
from snn2hw.families.xylo.numbers import Numbers
from snn2hw.families.xylo.place import map_network
from snn2hw.families.xylo.populations import Hidden, Readout
from snn2hw.families.xylo.schedule import schedule
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Input, Lif, Output
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Dense, from_matrix

DT = 1e-3
CHIPS = {k: targets.load(f"xylo-{k}") for k in ("audio2", "imu", "audio3")}
AUDIO2, IMU, AUDIO3 = CHIPS.values()


def hidden(name, size, **numbers):
    """Hidden neurons of one threshold, bias and decay, unless told otherwise."""
    return Hidden(name, (size,), **_filled(size, numbers, dash_syn2=0, alias=-1))


def readout(name, size, **numbers):
    return Readout(name, (size,), **_filled(size, numbers))


def _filled(size, numbers, **more):
    known = {"threshold": 100, "bias": 0, "dash_mem": 4, "dash_syn": 2, **more, **numbers}
    return {k: np.broadcast_to(np.array(v), (size,)) for k, v in known.items()}


def network(populations, connections, channels=3, steps=5, numbers=None, most=15):
    return IntNetwork(
        inputs=(InputPort("in", (channels,), most),),
        populations=tuple(populations),
        connections=tuple(connections),
        outputs={p.name: p.name for p in populations if isinstance(p, Readout)},
        dt=1e-3,
        time_steps=steps,
        numbers=numbers or Numbers(),
        rounding={},
    )


def program_of(net, chip=AUDIO2):
    when = schedule(net, chip)
    return Program(net, when.phase, when.delays, map_network(net, chip), chip)


def dense(pre, post, weight, **more):
    return Connection(pre, post, Dense(np.array(weight)), part=more.pop("part", "isyn"), **more)


def chain(weight_in, weight_out, chip=AUDIO2, neurons=None, out=None, steps=5, shifts=(0, 0)):
    """One hidden layer."""
    w_in, w_out = np.array(weight_in), np.array(weight_out)
    parts = [
        hidden("h", len(w_in), **(neurons or {})),
        readout("out", len(w_out), **(out or {})),
    ]
    links = [
        dense("in", "h", w_in, exponent=shifts[0]), dense("h", "out", w_out, exponent=shifts[1])
    ]  # fmt: skip
    net = network(parts, links, w_in.shape[1], steps, chip.numbers)
    return program_of(net, chip)


def recurrent(steps=100, each=30):
    """16 inputs, two layers of 63 neurons, the second of which hears itself, and 8 that answer.

    A neuron of the first layer has ``each`` targets in the second.
    """
    r = np.random.default_rng(0)

    def to(post, pre, targets):
        weight = np.zeros((post, pre), np.int32)
        for source in range(pre):
            heard = r.choice(post, targets, replace=False)
            weight[heard, source] = r.integers(-60, 70, targets)
        return weight

    parts = [hidden(name, 63, threshold=900) for name in ("h0", "h1")]
    parts.append(readout("out", 8, threshold=900))
    links = [
        dense("in", "h0", to(63, 16, 63)), dense("h0", "h1", to(63, 63, each)),
        dense("h1", "h1", to(63, 63, 20), delay=1), dense("h1", "out", to(8, 63, 8)),
    ]  # fmt: skip
    return program_of(network(parts, links, 16, steps))


def random_program(seed, chip=AUDIO2, *, extreme=False, steps=None):
    """Random integers: layers, recurrence, both synapses, aliases, biases, shifts.

    With ``extreme`` weights and biases drive states into saturation, and decays of 0 occur.
    """
    r, n = np.random.default_rng(seed), chip.numbers
    channels = int(r.integers(1, 17))
    sizes = [int(r.integers(1, 14)) for _ in range(int(r.integers(1, 4)))]
    out = int(r.integers(1, chip.limit("readout_neurons") + 1))
    names = [f"h{i}" for i in range(len(sizes))]
    parts = [
        Hidden(
            name, (size,), **_random_numbers(r, size, extreme),
            dash_syn2=_dashes(r, size, extreme) if n.synapses > 1 else np.zeros(size, int),
            alias=_aliases(r, sizes, i),
        )
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]  # fmt: skip
    parts.append(Readout("out", (out,), **_random_numbers(r, out, extreme)))
    shifts = {k: int(r.integers(0, 8 if extreme else 4)) for k in ("in", "rec", "out")}
    links = []
    before, width = "in", channels
    for name, size in zip(names, sizes, strict=True):
        kind = "in" if before == "in" else "rec"
        links += _both(r, before, name, (size, width), n, shifts[kind], extreme)
        if r.random() < 0.5:
            links += _both(r, name, name, (size, size), n, shifts["rec"], extreme, delay=1)
        before, width = name, size
    links.append(_random_link(r, before, "out", (out, width), shifts["out"], extreme))
    length = steps or int(r.integers(2, 12))
    parts, links = _with_heads(seed, parts, links, chip, extreme)
    net = network(parts, links, channels, length, n)
    return program_of(net, chip)


def _with_heads(seed, parts, links, chip, extreme):
    """In a third of the programs, give an earlier layer an output of its own, before the last."""
    r, room = np.random.default_rng((seed, 1)), chip.limit("readout_neurons") - parts[-1].size
    if not room or r.random() < 2 / 3:
        return parts, links
    size, source = int(r.integers(1, room + 1)), parts[int(r.integers(0, len(parts) - 1))]
    head = Readout("head", (size,), **_random_numbers(r, size, extreme))
    link = _random_link(r, source.name, "head", (size, source.size), links[-1].exponent, extreme)
    return [*parts[:-1], head, parts[-1]], [*links, link]


def _random_numbers(r, size, extreme):
    top = 32767
    return {
        "threshold": r.integers(0, r.choice([4, 300, top]), size) if extreme
        else r.integers(20, r.choice([60, 900]), size),
        "bias": r.integers(-top - 1, top + 1, size) if extreme and r.random() < 0.5
        else r.integers(-8, 12, size) * (r.random() < 0.7),
        "dash_mem": _dashes(r, size, extreme),
        "dash_syn": _dashes(r, size, extreme),
    }  # fmt: skip


def _dashes(r, size, extreme):
    return r.integers(0 if extreme else 1, 16 if extreme else 7, size)


def _aliases(r, sizes, i):
    """Aliases within a layer: earlier, later and itself."""
    first = sum(sizes[:i])
    there = r.random(sizes[i]) < 0.3
    return np.where(there, first + r.integers(0, sizes[i], sizes[i]), -1)


def _both(r, pre, post, shape, n, shift, extreme, delay=0):
    parts = ["isyn"] + ["isyn2"] * (n.synapses > 1 and r.random() < 0.6)
    return [_random_link(r, pre, post, shape, shift, extreme, part, delay) for part in parts]


def _random_link(r, pre, post, shape, shift, extreme, part="isyn", delay=0):
    scale = 90 if extreme else r.choice([8, 40])
    weight = np.clip(np.rint(r.normal(4, scale, shape)), -128, 127).astype(np.int32)
    weight = np.where(r.random(shape) < 0.6, weight, 0)
    synapses = from_matrix(weight) if r.random() < 0.5 else Dense(weight)
    return Connection(pre, post, synapses, shift, delay, part)


def spikes(program, samples=2, seed=0, steps=None):
    """Random counts of spikes for the input ``[N, T, channels]``."""
    r, port = np.random.default_rng(seed), program.network.inputs[0]
    shape = (samples, steps or program.network.time_steps, *port.shape)
    x = r.integers(0, port.max_value + 1, shape)
    return {port.name: np.where(r.random(shape) < 0.4, x, 0)}


RULES = Rules(fires="at", spikes="many")


def neurons(shape, dash_mem=3, dash_syn=2, threshold=1.0, **more):
    """Float neurons that a Xylo has: decays by powers of two, input taken with gain 1."""

    def array(x):
        return np.asarray(x, float)

    tau, tau_synapse = DT * 2.0 ** array(dash_mem), DT * 2.0 ** array(dash_syn)
    zero = np.zeros(())
    return Lif(shape, **({
        "tau": tau, "r": tau / DT, "v_threshold": array(threshold), "v_leak": zero,
        "v_reset": zero, "reset": "subtract", "tau_synapse": tau_synapse, "w_in": tau_synapse / DT,
    } | more))  # fmt: skip


def float_chain(weights, cells=None, channels=None, most=15, steps=20, rules=RULES, edges=()):
    """Input, then a linear map and neurons for each matrix, then the output."""
    nodes = {"in": Input((channels or np.shape(weights[0])[1],), most)}
    cells = cells or [neurons((len(w),)) for w in weights]
    for i, (w, cell) in enumerate(zip(weights, cells, strict=True)):
        nodes[f"fc{i}"] = Affine(np.array(w, float), np.zeros(len(w)))
        nodes[f"n{i}"] = cell
    nodes["out"] = Output(cells[-1].shape)
    joined = (*itertools.pairwise(nodes), *edges)
    return Network(nodes, joined, DT, steps, rules)
