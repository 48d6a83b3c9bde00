"""Random and hand-made networks for the tests."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from snn2hw import target as targets
from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.numbers import Numbers
from snn2hw.families.loihi.place import map_network
from snn2hw.families.loihi.schedule import schedule
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Leaky, Lif, Output
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv, Dense, from_matrix, sizes

DT = 1e-3
LOIHI1, LOIHI2 = (targets.load(name) for name in ("loihi1", "loihi2"))
NUMBERS = Numbers()


def placed(net: IntNetwork, target=LOIHI2) -> Program:
    """Put integers on cores and on chip time."""
    when = schedule(net, target)
    return Program(net, when.phase, when.delays, map_network(net, target), target)


def lif(shape, beta=0.5, threshold=1.0, **more) -> Lif:
    """A neuron that keeps ``beta`` of its membrane a step and takes its input with gain 1."""
    scalar = {
        "tau": np.inf if beta == 1 else DT / (1 - beta),
        "r": 1 / DT if beta == 1 else 1 / (1 - beta),
        "v_threshold": threshold, "v_leak": 0.0, "v_reset": 0.0,
    }  # fmt: skip
    return Lif(shape, **({k: np.array(v) for k, v in scalar.items()} | more))


def tiny() -> Network:
    """Small enough to check by hand: 4 inputs, 3 neurons, 2 neurons; golden files use it."""
    first = np.array([[0.5, -0.25, 0.0, 1.0], [0.0, 0.75, 0.5, 0.0], [-1.0, 0.0, 0.25, 0.5]])
    second = np.array([[1.0, -0.5, 0.0], [0.0, 0.5, 1.0]])
    nodes = {
        "input": Input((4,)),
        "fc1": Affine(first, np.array([0.0, 0.125, -0.25])),
        "lif1": lif((3,)),
        "fc2": Affine(second, np.zeros(2)),
        "lif2": lif((2,)),
        "output": Output((2,)),
    }
    chain = ["input", "fc1", "lif1", "fc2", "lif2", "output"]
    return Network(nodes, tuple(itertools.pairwise(chain)), DT, 4)


def residual(seed=0, channels=3, side=6, max_value=16, steps=4) -> Network:
    """conv -> LIF -> two-convolution branch + identity -> LIF -> dense -> LIF."""
    r = np.random.default_rng(seed)
    image = (channels, side, side)

    def conv(into, scale):
        kernel = Conv(
            r.normal(0, scale, (channels, into, 3, 3)), (into, side, side), padding=(1, 1)
        )
        return Conv2d(kernel, r.normal(0, 0.1, channels))

    nodes = {
        "input": Input((1, side, side), max_value),
        "conv1": conv(1, 1.0 / max_value),
        "lif1": lif(image),
        "conv2": conv(channels, 0.4),
        "lif2": lif(image, 0.75),
        "conv3": conv(channels, 0.3),
        "lif3": lif(image),
        "flatten": Flatten(image),
        "fc": Affine(r.normal(0, 0.15, (5, channels * side * side)), np.zeros(5)),
        "lif4": lif((5,)),
        "output": Output((5,)),
    }
    chain = list(nodes)
    edges = [*itertools.pairwise(chain), ("lif1", "lif3")]
    return Network(nodes, tuple(edges), DT, steps)


def assert_same_answers(ours, theirs):
    """Compare what every output sent."""
    assert list(ours.outputs) == list(theirs.outputs)
    for name, answer in ours.outputs.items():
        assert (answer.spikes == theirs.outputs[name].spikes).all(), name


def heads() -> Network:
    """A chain that is asked after each layer, by a layer of sums, and twice at its end."""
    r = np.random.default_rng(3)
    nodes = {
        "in": Input((6,), 3), "fc0": Affine(r.normal(0.2, 0.3, (8, 6)), r.normal(0, 0.2, 8)),
        "first": lif((8,)), "fc1": Affine(r.normal(0.2, 0.4, (5, 8)), np.zeros(5)),
        "second": lif((5,), 0.75), "fc2": Affine(r.normal(0, 0.5, (4, 5)), np.zeros(4)),
        "sums": Leaky((4,), np.array(DT), np.ones(()), np.zeros(())),
        "deep": Output((8,)), "score": Output((4,)), "end": Output((5,)), "same": Output((5,)),
    }  # fmt: skip
    chain = ["in", "fc0", "first", "fc1", "second", "fc2", "sums", "score"]
    more = [("first", "deep"), ("second", "end"), ("second", "same")]
    return Network(nodes, (*itertools.pairwise(chain), *more), DT, 7)


def images(net, samples=4, seed=0):
    """Random integer inputs ``[N, T, *shape]`` for every input of a network or program."""
    r = np.random.default_rng(seed)
    ports = net.inputs() if isinstance(net, Network) else {p.name: p for p in net.inputs}
    return {
        k: r.integers(
            getattr(p, "min_value", 0), p.max_value + 1, (samples, net.time_steps, *p.shape)
        )
        for k, p in ports.items()
    }


def _weights(r, shape, sign, density):
    if sign == "mixed" and np.prod(shape) < 2:
        sign = "inh"  # one weight has one sign
    low, high, step = NUMBERS.weight_range(sign == "mixed")
    scale = r.choice([4, 40, 254])
    w = np.rint(r.normal(0, scale, shape) / step) * step
    w = np.clip(w, low, high)
    if sign != "mixed":
        w = np.abs(w) * (1 if sign == "exc" else -1)
    w = np.where(r.random(shape) < density, w, 0).astype(np.int32)
    if sign == "mixed" and w.size >= 2:
        w.flat[0], w.flat[1] = -2, 2  # so that it is mixed for certain
    return w


def _population(r, name, shape, extreme):
    size = int(np.prod(shape))
    return chip.Lif(
        name,
        shape,
        du=int(r.choice([-1, 0, 100, 2047, 4094, 4095])),
        dv=int(r.choice([0, 1, 128, 2048, 4095, 4096])),
        vth=int(r.choice([1, 30, 300, 5000, 131071])),
        bias=r.integers(-4096, 4096, size) if extreme else r.integers(-60, 120, size),
        bias_exp=int(r.integers(0, 8)) if extreme else 6,
    )


def random_program(
    seed: int, *, layers=4, extreme=False, side=4, loops=False, target=LOIHI2, formats=False
):
    """A program of random integers: conv, dense and sparse synapses, branches, graded input.

    With ``extreme`` states are driven into wrap and saturation; with ``loops`` some connections
    have delays, go back, or both; with ``formats`` some have weights of fewer bits.
    """
    r = np.random.default_rng(seed)
    graded = bool(r.integers(0, 2)) and target.abilities["graded_input"]
    image, flat = (int(r.choice([1, 2, 4])), side, side), (int(r.integers(2, 12)),)
    shape = image if r.random() < 0.7 else flat
    ports = [InputPort("in", shape, int(r.choice([3, 16, 255])) if graded else 1)]
    if r.random() < 0.2:
        largest = int(r.choice([1, 7]))
        ports.insert(
            0, InputPort("other", (3,), largest if target.abilities["graded_input"] else 1)
        )
    made, connections, shapes = [], [], {p.name: p.shape for p in ports}
    for i in range(layers):
        name = f"p{i}"
        before = list(shapes)
        pre = before[-1]
        first = _synapses(r, shapes[pre], None)
        post = first.output_shape if isinstance(first, Conv) else (sizes(first)[0],)
        connections.append(_connection(r, pre, name, first, extreme))
        for other in before[:-1]:
            if r.random() < 0.35:  # a branch that has to wait
                extra = _synapses(r, shapes[other], post)
                connections.append(_connection(r, other, name, extra, extreme))
        made.append(_population(r, name, post, extreme))
        shapes[name] = post
    steps = int(r.integers(1, 6))
    if loops:
        steps += int(r.integers(1, 6))
        connections = [_late(r, c) for c in connections] + _back(r, made, extreme)
        if any(c.delay > 6 for c in connections) and r.random() < 0.5:
            steps += 60
    output = made[-1] if r.random() < 0.8 else made[int(r.integers(0, layers))]
    if formats:
        connections = [_of_fewer_bits(r, c) for c in connections]
    net = IntNetwork(
        tuple(ports), tuple(made), tuple(connections), _outputs(seed, output, made), DT, steps,
        target.numbers, {},
    )  # fmt: skip
    return placed(net, target)


def _outputs(seed, first, made):
    """One output; in a third of the programs up to three more, which may share a population."""
    r, found = np.random.default_rng((seed, 1)), {"out": first.name}
    if r.random() < 1 / 3:
        more = r.choice([p.name for p in made], r.integers(1, 4)).tolist()
        found |= {f"head{i}": name for i, name in enumerate(more)}
    return found


def _of_fewer_bits(r, connection):
    """Drop low bits, as synapses of 1, 2, 3, 4, 5, 6 or 8 do; of both signs, 1 bit leaves none."""
    bits = int(r.choice([1, 2, 3, 4, 5, 6, 8, 8]))
    low = 8 - bits + connection.mixed
    weight = connection.synapses.weight
    cut = np.sign(weight) * (np.abs(weight) >> low << low)
    cut = cut if cut.size and cut.min() < 0 < cut.max() else np.clip(cut, -255, 255)
    return replace(connection, synapses=replace(connection.synapses, weight=cut))


def pressed(seed: int, target=LOIHI1):
    """A program whose currents climb, with little or no decay, to where they and drives wrap.

    Weights are powers of two, so that a current can meet the end of its range exactly.
    """
    r = np.random.default_rng(seed)
    size = int(r.integers(2, 6))
    made = [
        _pressed_population(r, name, int(r.integers(2, 8))) for name in ("p0", "p1")
    ]  # fmt: skip
    ends = [("in", "p0", size), ("p0", "p1", made[0].size), ("p1", "p1", made[1].size)]
    into = [
        Connection(
            pre, post, Dense(_powers(r, made[int(post[1])].size, width)), int(r.integers(5, 8)),
            int(pre == post) * int(r.integers(1, 4)),
        )
        for pre, post, width in ends[: int(r.integers(2, 4))]
    ]  # fmt: skip
    port = InputPort("in", (size,))
    net = IntNetwork((port,), tuple(made), tuple(into), {"out": "p1"}, DT, 30, target.numbers, {})
    return placed(net, target)


def _pressed_population(r, name, size):
    return chip.Lif(
        name, (size,), du=int(r.choice([-1, -1, 0, 1])), dv=int(r.choice([0, 5, 4095, 4096])),
        vth=int(r.choice([1, 90000, 131071])), bias=r.integers(-4096, 4096, size),
        bias_exp=int(r.choice([0, 7])),
    )  # fmt: skip


def _powers(r, rows, columns):
    w = r.choice([-256, -128, -64, 0, 64, 128], (rows, columns))
    w.flat[0], w.flat[1] = -128, 128
    return w


def read_out(program, seed: int):
    """The same program with its output read by sums, and so at times another population or input.

    The sums are of a step (Graded) or so far (Sigma); at times a neuron without input joins in.
    """
    r = np.random.default_rng(seed)
    net = program.network
    size = int(r.integers(2, 7))
    kind = chip.Graded if r.random() < 0.6 else chip.Sigma
    names = [p.name for p in (*net.inputs, *net.populations)]
    sources = {net.outputs["out"], *([str(r.choice(names))] if r.random() < 0.5 else [])}
    made = [*net.populations, kind("read", (size,))]
    shapes = {n: net.shape(n) for n in sources}
    if r.random() < 0.5:
        made.insert(0, chip.Lif("tick", (1,), 4095, int(r.choice([0, 4096])), 40, np.full(1, 70)))
        shapes["tick"] = (1,)
    into = [
        _connection(r, n, "read", _synapses(r, shapes[n], (size,)), bool(r.integers(0, 2)))
        for n in sorted(shapes)
    ]
    net = replace(
        net,
        populations=tuple(made),
        connections=(*net.connections, *into),
        outputs={**net.outputs, "out": "read"},
    )
    return placed(net, LOIHI2)


def reader(kind, weight, largest=1, steps=4, exponent=0):
    """A program of one layer, of sums that an input drives."""
    net = IntNetwork(
        (InputPort("in", (weight.shape[1],), largest),), (kind("read", (len(weight),)),),
        (Connection("in", "read", Dense(weight), exponent),), {"out": "read"}, DT, steps,
        NUMBERS, {},
    )  # fmt: skip
    return placed(net, LOIHI2)


def classifier(seed=0, tau=DT, bias=True, steps=4, side=8) -> Network:
    """conv -> LIF -> dense -> integrator: an LI of ``tau`` seconds, or an I where it is inf."""
    r = np.random.default_rng(seed)
    kernel = Conv(r.normal(0, 0.12, (4, 1, 3, 3)), (1, side, side), (2, 2), (1, 1))
    image = kernel.output_shape
    resistance = np.array(1 / DT if np.isinf(tau) else 1.0)
    nodes = {
        "input": Input((1, side, side), 16),
        "conv": Conv2d(kernel, r.normal(0, 0.1, 4)),
        "lif": lif(image, 0.75),
        "flatten": Flatten(image),
        "fc": Affine(r.normal(0, 0.2, (5, int(np.prod(image)))), r.normal(0, 0.2, 5) * bias),
        "read": Leaky((5,), np.array(tau), resistance, np.zeros(())),
        "output": Output((5,)),
    }
    return Network(nodes, tuple(itertools.pairwise(nodes)), DT, steps)


def recurrent_chain(seed: int):
    """Two layers, the first with spikes back to itself, without biases: netx can hold it."""
    r = np.random.default_rng(seed)
    sizes_ = [int(n) for n in r.integers(2, 9, 3)]
    made = tuple(
        replace(_population(r, f"layer{i}", (n,), False), bias=np.zeros(n), bias_exp=6)
        for i, n in enumerate(sizes_[1:])
    )

    def dense(pre, post, **more):
        size = (
            sizes_[int(post[5:]) + 1],
            sizes_[0] if pre == "input" else sizes_[int(pre[5:]) + 1],
        )
        return Connection(pre, post, Dense(_weights(r, size, "mixed", 1.0) // 2 * 2), **more)

    connections = (
        dense("input", "layer0"), dense("layer0", "layer0", delay=1), dense("layer0", "layer1")
    )  # fmt: skip
    port = InputPort("input", (sizes_[0],))
    net = IntNetwork((port,), made, connections, {"output": "layer1"}, DT, 8, NUMBERS, {})
    return placed(net, LOIHI2)


def _late(r, connection):
    return replace(connection, delay=int(r.choice([0, 0, 0, 1, 2, 5])))


def _back(r, made, extreme):
    """Connections to the same or an earlier layer, slow enough for the chip, up to its limit."""
    found = []
    for _ in range(int(r.integers(1, 4))):
        pre = int(r.integers(0, len(made)))
        post = int(r.integers(0, pre + 1))
        longest = 63 if post == pre else 62 - len(made)
        delay = min(longest, pre - post + 1 + int(r.choice([0, 0, 1, 3, 63])))
        synapses = _synapses(r, made[pre].shape, made[post].shape)
        made_one = _connection(r, made[pre].name, made[post].name, synapses, extreme)
        found.append(replace(made_one, delay=delay))
    return found


def _connection(r, pre, post, synapses, extreme):
    usual = [*range(-8, 8), 6, 7, 7, 7] if extreme else [*range(-8, 8), *[0] * 12, 1, 1, 3, 3]
    return Connection(pre, post, synapses, int(r.choice(usual)))


def _synapses(r, pre, post):
    sign = r.choice(["mixed", "exc", "inh"], p=[0.7, 0.2, 0.1])
    density = r.choice([0.0, 0.3, 1.0], p=[0.05, 0.45, 0.5])
    kind = r.choice(["dense", "conv", "sparse"], p=[0.3, 0.4, 0.3])
    if len(pre) == 3 and kind == "conv":
        conv = _kernel(r, pre, sign, density)
        if post in (None, conv.output_shape):
            return conv
    size = int(np.prod(post)) if post else int(r.integers(2, 10))
    w = _weights(r, (size, int(np.prod(pre))), sign, density)
    return from_matrix(w) if kind == "sparse" else Dense(w)


def _kernel(r, image, sign, density):
    groups = int(r.choice([g for g in range(1, image[0] + 1) if image[0] % g == 0]))
    kernel = [min(int(r.integers(1, 4)), n) for n in image[1:]]
    stride, padding = r.integers(1, 3, 2).tolist(), r.integers(0, 2, 2).tolist()
    spans = zip(kernel, image[1:], strict=True)
    dilation = [int(r.integers(1, 3)) if (k - 1) * 2 < n else 1 for k, n in spans]
    shape = (groups * int(r.integers(1, 3)), image[0] // groups, *kernel)
    w = _weights(r, shape, sign, density)
    return Conv(w, tuple(image), tuple(stride), tuple(padding), tuple(dilation), groups)


seeds = st.integers(0, 2**32 - 1)
