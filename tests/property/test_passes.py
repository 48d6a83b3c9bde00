"""Each pass keeps every spike; each rewrite changes what it says and nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from float_nets import random_network
from hypothesis import given, settings
from nets import (
    DT,
    LOIHI2,
    NUMBERS,
    assert_same_answers,
    images,
    lif,
    placed,
    random_program,
    residual,
    seeds,
    tiny,
)

from snn2hw import passes, rewrites
from snn2hw.families.loihi import engine, exact
from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.quantize import quantize
from snn2hw.ir.integer import Connection, InputPort, IntNetwork, Rounding
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Output, Pool2d, Scale, output_shape
from snn2hw.ir.synapses import Conv, Dense
from snn2hw.simulate import floating


def assert_same_outputs(one, other, seed=0):
    x = images(one, samples=2, seed=seed)
    a, b = floating.run(one, x), floating.run(other, x)
    for name, found in a.outputs.items():
        assert np.allclose(found, b.outputs[name], rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize(
    "step",
    [passes.drop_unheard, passes.fold_scales, passes.fold_pools, passes.simplify],
    ids=lambda f: f.__name__,
)
def test_exact_passes_keep_the_outputs(step):
    changed = 0

    @settings(max_examples=40)
    @given(seeds)
    def check(seed):
        nonlocal changed
        net = random_network(seed)
        done = step(net)
        changed += done.digest() != net.digest()
        assert_same_outputs(net, done, seed)

    check()
    assert changed > 0


@settings(max_examples=30)
@given(seeds)
def test_unit_resistance_keeps_the_outputs(seed):
    net = random_network(seed)
    done = passes.unit_resistance(net)
    if net.rules.v_min is None:
        plain = [n for n in done.neurons().values() if n.tau_synapse is None]
        assert all((n.r == 1).all() for n in plain if np.isfinite(n.tau).all())
    assert_same_outputs(net, done, seed)


def test_only_a_leaky_membrane_with_a_positive_resistance_is_measured_anew():
    same = [
        lif((2,), beta=1.0), lif((2,), r=np.array([1.0, 0.0])), lif((2,), r=np.array(-2.0)),
        lif((2,), tau_synapse=np.array(2 * DT), w_in=np.array(1.0)),
    ]  # fmt: skip
    one = lif((2,), r=np.array([2.0, 4.0]), threshold=3.0, v_leak=np.array(1.0),
              v_reset=np.array(-1.0))  # fmt: skip
    for node in (*same, one):
        nodes = {"in": Input((2,)), "lif": node, "out": Output((2,))}
        net = Network(nodes, (("in", "lif"), ("lif", "out")), DT, 4)
        found = passes.unit_resistance(net).nodes["lif"]
        if node is not one:
            assert found is node
            continue
        values = (found.r, found.v_threshold, found.v_leak, found.v_reset)
        for value, wanted in zip(values, ([1, 1], [1.5, 0.75], [0.5, 0.25], [-0.5, -0.25]),
                                 strict=True):  # fmt: skip
            assert (np.broadcast_to(value, (2,)) == wanted).all()
        floor = replace(net, rules=Rules(v_min=-1.0))
        assert passes.unit_resistance(floor) is floor


def chained(*nodes) -> Network:
    """An input, nodes one after another, neurons and an output."""
    shape = output_shape(nodes[-1])
    first = Input(nodes[0].input_shape if isinstance(nodes[0], Pool2d) else shape_into(nodes[0]), 5)
    named = {"in": first, **{f"n{i}": n for i, n in enumerate(nodes)}}
    named |= {"lif": lif(shape), "out": Output(shape)}
    return Network(named, tuple(itertools.pairwise(named)), DT, 4)


def shape_into(node):
    return node.scale.shape if isinstance(node, Scale) else node.kernel.input_shape


@settings(max_examples=40)
@given(seeds)
def test_scales_beside_a_convolution_go_into_its_kernel(seed):
    """One factor for each channel does, on either side and of groups; others stay."""
    r = np.random.default_rng(seed)
    groups = int(r.choice([1, 2]))
    kernel = Conv(r.normal(size=(4, 4 // groups, 2, 2)), (4, 4, 5), (1, 2), (1, 0), groups=groups)
    conv = Conv2d(kernel, r.normal(size=4))

    def factors(shape, by_channel):
        return Scale(np.broadcast_to(
            r.uniform(0.5, 2, (shape[0], 1, 1)) if by_channel else r.uniform(0.5, 2, shape), shape
        ))  # fmt: skip

    channels = r.random(2) < 0.6
    net = chained(factors((4, 4, 5), channels[0]), conv, factors(kernel.output_shape, channels[1]))
    done = passes.fold_scales(net)
    stay = [name for name, folds in zip(("n0", "n2"), channels, strict=True) if not folds]
    assert [k for k, n in done.nodes.items() if isinstance(n, Scale)] == stay
    assert_same_outputs(net, done, seed)


def test_a_scale_that_differs_within_a_single_channel_stays():
    r = np.random.default_rng(0)
    conv = Conv2d(Conv(r.normal(size=(2, 3, 1, 1)), (3, 2, 2)), np.zeros(2))
    factors = np.ones((3, 2, 2))
    factors[1, 0, 1] = 2.0
    done = passes.fold_scales(chained(Scale(factors), conv))
    assert any(isinstance(n, Scale) for n in done.nodes.values())


def test_scales_beside_a_dense_layer_go_into_its_weights():
    r = np.random.default_rng(0)
    dense = Affine(r.normal(size=(3, 4)), r.normal(size=3))
    nodes = {"in": Input((4,)), "a": Scale(r.uniform(0.5, 2, 4)), "fc": dense,
             "b": Scale(r.uniform(0.5, 2, 3)), "lif": lif((3,)), "out": Output((3,))}  # fmt: skip
    net = Network(nodes, tuple(itertools.pairwise(nodes)), DT, 4)
    done = passes.fold_scales(net)
    assert list(done.nodes) == ["in", "fc", "lif", "out"]
    assert_same_outputs(net, done)


@settings(max_examples=120)
@given(seeds)
def test_pools_and_convolutions_become_one_kernel(seed):
    """They do unless zeros that are padded behind the pool would have to meet pixels."""
    r = np.random.default_rng(seed)
    image = (2, *r.integers(5, 10, 2).tolist())
    window, step, spread, stride = (tuple(r.integers(1, 4, 2).tolist()) for _ in range(4))
    inner, outer = (tuple((r.integers(0, 3, 2) // 2).tolist()) for _ in range(2))
    try:
        pool = Pool2d(image, window, step, inner, bool(r.integers(0, 2)))
        taps = r.integers(1, 4, 2).tolist()
        kernel = Conv(r.normal(size=(4, 1, *taps)), output_shape(pool), stride, outer, spread, 2)
    except ValueError:  # does not fit the image
        return
    net = chained(pool, Conv2d(kernel, r.normal(size=4)))
    done = passes.fold_pools(net)
    linear = [n for n in done.nodes.values() if isinstance(n, Conv2d | Pool2d)]
    assert not any(isinstance(n, Pool2d) for n in linear)
    covered = [n * s for n, s in zip(output_shape(pool)[1:], step, strict=True)]
    clean = all(
        not p or (w <= s and size <= c)
        for p, w, s, size, c in zip(outer, window, step, image[1:], covered, strict=True)
    )
    if any(inner) or not clean:
        assert len(linear) == 2
    else:
        assert len(linear) == 1
    assert_same_outputs(net, done, seed)


def test_a_pool_before_a_dense_layer_goes_into_its_weights():
    r = np.random.default_rng(0)
    nodes = {
        "in": Input((2, 4, 4)), "pool": Pool2d((2, 4, 4), (2, 2), (2, 2), (0, 0), average=True),
        "flat": Flatten((2, 2, 2)), "fc": Affine(r.normal(size=(3, 8)), np.zeros(3)),
        "lif": lif((3,)), "out": Output((3,)),
    }  # fmt: skip
    names = list(nodes)
    net = Network(nodes, tuple(itertools.pairwise(names)), DT, 4)
    done = passes.fold_pools(net)
    assert list(done.nodes) == ["in", "flat", "fc", "lif", "out"]
    assert_same_outputs(net, done)


@pytest.mark.parametrize(("side", "goes"), [(4, True), (5, False)])
def test_a_pool_goes_into_a_dense_layer_that_stays_small(monkeypatch, side, goes):
    """It may have 16 times its weights, or as many as any map."""
    monkeypatch.setattr(passes, "MOST_KERNEL", 0)
    image = (1, 2 * side, 2 * side)
    nodes = {
        "in": Input(image), "pool": Pool2d(image, (side,) * 2, (side,) * 2, (0, 0), average=True),
        "flat": Flatten((1, 2, 2)), "fc": Affine(np.ones((3, 4)), np.zeros(3)),
        "lif": lif((3,)), "out": Output((3,)),
    }  # fmt: skip
    done = passes.fold_pools(Network(nodes, tuple(itertools.pairwise(nodes)), DT, 4))
    assert ("pool" not in done.nodes) == goes


def test_unheard_nodes_go():
    nodes = dict(tiny().nodes) | {"side": Affine(np.eye(3), np.zeros(3)), "lone": lif((3,))}
    net = Network(nodes, (*tiny().edges, ("lif1", "side"), ("side", "lone")), DT, 4)
    assert set(passes.drop_unheard(net).nodes) == set(tiny().nodes)


@settings(max_examples=40)
@given(seeds)
def test_batch_norm_folds_as_torch_computes_it(seed):
    torch.manual_seed(seed % 2**31)
    conv, norm = torch.nn.Conv2d(2, 3, 2).double(), torch.nn.BatchNorm2d(3).double().eval()
    for value in (norm.running_mean, norm.weight.data, norm.bias.data):
        value.normal_()
    norm.running_var.uniform_(0.01, 2)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    weight, bias = passes.fold_batch_norm(
        *(t.detach().numpy() for t in (conv.weight, conv.bias, norm.weight, norm.bias)),
        norm.running_mean.numpy(), norm.running_var.numpy(), norm.eps,
    )  # fmt: skip
    folded = torch.nn.functional.conv2d(x, torch.tensor(weight), torch.tensor(bias))
    assert torch.allclose(folded, norm(conv(x)), atol=1e-12)


@settings(max_examples=60)
@given(seeds)
def test_removing_dead_neurons_keeps_the_chips_outputs(seed):
    """Also where states wrap and saturate, and in loops."""
    program = random_program(seed, extreme=seed % 2 == 0)
    smaller = exact.remove_dead(program.network)
    again = placed(smaller, LOIHI2)
    x = images(program.network, samples=3, seed=seed)
    assert_same_answers(engine.run(program, x), engine.run(again, x))


def test_dead_neurons_and_zero_channels_are_removed():
    net = residual()
    conv1, conv2 = net.nodes["conv1"], net.nodes["conv2"]
    weight = np.array(conv1.kernel.weight)
    weight[1] = 0.0
    silent = Conv2d(replace(conv1.kernel, weight=weight), conv1.bias * [1, 0, 1])
    chain = tuple(e for e in net.edges if e != ("lif1", "lif3"))
    dead = replace(net, nodes={**net.nodes, "conv1": silent}, edges=chain)
    ints = exact.remove_dead(quantize(dead, LOIHI2))
    assert ints.population("lif1").shape == (2, 6, 6)
    (into,) = (c for c in ints.connections if c.post == "lif2")
    assert into.synapses.weight.shape == (3, 2, 3, 3)
    unheard = np.array(conv2.kernel.weight)
    unheard[:, 2] = 0.0
    deaf = replace(net, edges=chain, nodes={
        **net.nodes, "conv2": Conv2d(replace(conv2.kernel, weight=unheard), conv2.bias)
    })  # fmt: skip
    assert exact.remove_dead(quantize(deaf, LOIHI2)).population("lif1").shape[0] < 3


def neuron_beside_another(weights, exponents, largest, **p) -> IntNetwork:
    """A neuron that is driven by connections of one weight each, beside one that can spike."""
    hidden = chip.Lif("p", (2,), **{"du": 4095, "dv": 4096, "bias": np.zeros(2), **p})
    into = [
        Connection("in", "p", Dense(np.array([[w], [0]])), e)
        for w, e in zip(weights, exponents, strict=True)
    ]
    into.append(Connection("other", "p", Dense(np.array([[0], [1]]))))
    out = chip.Lif("out", (1,), 4095, 4096, 1, np.zeros(1))
    last = Connection("p", "out", Dense(np.array([[3, 5]])))
    ports = (InputPort("in", (1,), largest), InputPort("other", (1,), 1 << 18))
    return IntNetwork(ports, (hidden, out), (*into, last), {"out": "out"}, DT, 4, NUMBERS, {})


def highest(net: IntNetwork, steps=700) -> int:
    """Membrane of the first neuron if the largest input comes in every step and it never spikes."""
    never = replace(net.population("p"), vth=NUMBERS.threshold_max + 1)
    free = replace(net, populations=(never, net.populations[1]))
    return int(driven(free, steps)["v"][0, :, 0].max())


def driven(net, steps=700):
    x = np.full((1, steps, 1), net.inputs[0].max_value)
    program = placed(net, LOIHI2)
    return engine.run(program, {"in": x, "other": 0 * x}, states=True).layers["p"]


def removed(net: IntNetwork) -> bool:
    return exact.remove_dead(net).population("p").size == 1


@settings(max_examples=80)
@given(seeds)
def test_a_neuron_that_just_spikes_is_kept(seed):
    """Its threshold is the highest below what its membrane reaches."""
    r = np.random.default_rng(seed)
    count = int(r.integers(1, 4))
    net = neuron_beside_another(
        r.integers(1, 256, count), r.integers(-8, 8, count), int(r.choice([1, 16, 255])),
        du=int(r.choice([100, 2047, 4095])), dv=int(r.choice([100, 2048, 4096])),
        vth=1, bias=np.array([r.integers(-9, 99), 0]), bias_exp=int(r.integers(0, 8)),
    )  # fmt: skip
    reached = highest(net)
    top = NUMBERS.threshold_max << NUMBERS.state_shift
    if not 1 << NUMBERS.state_shift < reached <= top:
        return
    vth = (reached - 1) >> NUMBERS.state_shift
    just = replace(net, populations=(replace(net.population("p"), vth=vth), net.populations[1]))
    assert driven(just).spikes[0, :, 0].any()
    assert not removed(just)


@settings(max_examples=40)
@given(seeds)
def test_without_memory_exactly_what_cannot_spike_is_removed(seed):
    """Then the bound is the membrane itself; one that only reaches the threshold may stay."""
    r = np.random.default_rng(seed)
    weights, largest = r.integers(1, 256, int(r.integers(1, 4))), int(r.choice([1, 16, 255]))
    bias, shift = int(r.integers(-9, 99)), int(r.integers(0, 8))
    net = neuron_beside_another(
        weights, [0] * len(weights), largest, vth=1, bias=np.array([bias, 0]), bias_exp=shift
    )
    reached = (int(weights.sum()) * largest << NUMBERS.state_shift) + (bias << shift)
    below = reached >> NUMBERS.state_shift
    if not 1 < below < NUMBERS.threshold_max:
        return
    assert reached == highest(net)
    for vth in (below - 1, below, below + 1):
        p = replace(net.population("p"), vth=vth)
        at = replace(net, populations=(p, net.populations[1]))
        if reached != vth << NUMBERS.state_shift:
            assert removed(at) == (reached < vth << NUMBERS.state_shift)


@settings(max_examples=60)
@given(seeds)
def test_what_stays_below_the_threshold_for_ever_is_removed(seed):
    """Two geometric series: of the current, and of the membrane that takes current and bias."""
    r = np.random.default_rng(seed)
    du, dv = int(r.choice([0, 1, 100, 2047, 4095])), int(r.choice([1, 100, 2048, 4096]))
    weight, largest, exponent = r.integers(1, 256), int(r.choice([1, 7])), int(r.integers(-3, 4))
    bias, shift = int(r.integers(-300, 300)), int(r.integers(0, 8))
    current = Fraction(2) ** exponent * int(weight) * largest * 64 * Fraction(4096, du + 1)
    bound = max(0, (current + bias * 2**shift) * Fraction(4096, dv))
    vth = bound // 64 + 1
    if current >= 1 << 23 or vth > NUMBERS.threshold_max:
        return
    net = neuron_beside_another(
        [weight], [exponent], largest, du=du, dv=dv, vth=int(vth),
        bias=np.array([bias, 0]), bias_exp=shift,
    )  # fmt: skip
    assert removed(net)


@pytest.mark.parametrize(("weight", "wraps"), [(-218, False), (-219, True)])
def test_a_current_that_wraps_because_shifted_sums_round_down_is_seen(weight, wraps):
    """Three times floor(-43690.5) is below -2**17, three times -43690.5 is not."""
    net = neuron_beside_another([weight] * 3, [-1] * 3, 399, vth=1000)
    assert driven(net, 2).spikes[0, :, 0].any() == wraps
    assert removed(net) != wraps


def test_a_current_of_whole_sums_wraps_where_it_does():
    """Nothing is rounded without a negative exponent: -2**17 + 1 units stay in range."""
    net = neuron_beside_another([-1], [0], (1 << 17) - 1, vth=1000)
    assert not driven(net, 2).spikes[0, :, 0].any()
    assert removed(net)
    assert not removed(neuron_beside_another([-1], [0], 1 << 17, vth=1000))


PLAIN = chip.Lif("p", (2,), 4095, 4096, 10, np.zeros(2))


@pytest.mark.parametrize(("low", "stays"), [(0, False), (-1, False), (-5, True)])
def test_what_negative_inputs_excite_is_not_removed(low, stays):
    """An input from -5 times -4 is above a threshold of 10; one that may be negative is left."""
    net = neuron_beside_another([-4], [0], 1, vth=10)
    port = replace(net.inputs[0], min_value=low)
    net = replace(net, inputs=(port, net.inputs[1]))
    assert removed(net) == (low == 0)
    if stays:
        x = np.full((1, 4, 1), low)
        program = placed(net, LOIHI2)
        given = {"in": x, "other": 0 * x}
        assert engine.run(program, given, states=True).layers["p"].spikes[0, :, 0].any()


def test_a_neuron_that_the_host_drives_is_not_removed():
    ports = (InputPort("in", (2,), 4000), InputPort("other", (1,)))
    hidden = replace(PLAIN, driven_by="in", bias_exp=6)
    out = chip.Lif("out", (1,), 4095, 4096, 1, np.zeros(1))
    last = Connection("p", "out", Dense(np.array([[9, 9]])))
    net = IntNetwork(ports, (hidden, out), (last,), {"out": "out"}, DT, 4, NUMBERS, {})
    assert exact.remove_dead(net) is net


def test_a_neuron_that_hears_graded_spikes_is_not_removed():
    """They may be negative."""
    relay = chip.Graded("relay", (1,))
    heard = Connection("in", "relay", Dense(np.array([[-200]])))
    down = Connection("relay", "p", Dense(np.array([[-4], [0]])))
    out = chip.Lif("out", (1,), 4095, 4096, 1, np.zeros(1))
    last = Connection("p", "out", Dense(np.array([[9, 9]])))
    net = IntNetwork((InputPort("in", (1,)),), (relay, PLAIN, out), (heard, down, last),
                     {"out": "out"}, DT, 4, NUMBERS, {})  # fmt: skip
    assert exact.remove_dead(net) is net


def test_what_only_the_dead_excite_is_dead_too_and_so_is_what_nobody_hears():
    """From the first layer to the last in one run; the output stays whole."""
    first = np.array([[20, 0], [1, 0], [0, 20]])  # the second cannot reach 10
    second = np.array([[0, 20, 0], [20, 0, 0], [0, 0, 20]])  # the first hears only the second
    third = np.array([[20, 20, 0], [0, 20, 0]])  # nobody hears the third
    layers = [chip.Lif(f"p{i}", (3,), 4095, 4096, 10, np.zeros(3)) for i in range(2)]
    out = chip.Lif("out", (2,), 4095, 4096, 999, np.zeros(2))
    names = ("in", "p0", "p1", "out")
    into = tuple(
        Connection(a, b, Dense(w))
        for (a, b), w in zip(itertools.pairwise(names), (first, second, third), strict=True)
    )
    told = {"p0": Rounding(1.0, "weights", 0.0, 0, 2)}
    net = IntNetwork(
        (InputPort("in", (2,)),), (*layers, out), into, {"out": "out"}, DT, 4, NUMBERS, told
    )
    done = exact.remove_dead(net)
    assert [p.size for p in done.populations] == [1, 1, 2]
    assert done.connections[0].synapses.weight.tolist() == [[20, 0]]
    assert done.connections[1].synapses.weight.tolist() == [[20]]
    assert done.connections[2].synapses.weight.tolist() == [[20], [20]]
    assert done.rounding["p0"].removed == 2 + 2


def chain_with_a_way_back(first, back, last, count=5) -> IntNetwork:
    """Layers of three neurons, each heard by one of the next; the last are heard by the first."""
    layers = [chip.Lif(f"p{i}", (3,), 4095, 4096, 10, np.zeros(3)) for i in range(count)]
    out = chip.Lif("out", (1,), 4095, 4096, 10, np.zeros(1))
    names = ("in", *(p.name for p in layers), "out")
    weights = [first, *[np.diag([20] * 3)] * (count - 1), last]
    into = [
        Connection(a, b, Dense(np.array(w)))
        for (a, b), w in zip(itertools.pairwise(names), weights, strict=True)
    ]
    into.append(Connection(f"p{count - 1}", "p0", Dense(np.array(back)), delay=1))
    return IntNetwork(
        (InputPort("in", (3,)),), (*layers, out), tuple(into), {"out": "out"}, DT, 4, NUMBERS, {}
    )


ONE, TWO, ALL = (np.diag(weights) for weights in ([20, 0, 0], [20, 20, 0], [20, 20, 20]))


@pytest.mark.parametrize(
    ("first", "back", "last", "left"),
    [
        (TWO, ONE, [[20, 0, 20]], 1),  # the second leads nowhere, nothing reaches the third
        (TWO, ALL, [[20, 0, 20]], 3),  # which may excite itself now, as the second hears itself
        (ONE, [[0, 0, 0], [0, 0, 20], [0, 0, 0]], [[20, 20, 20]], 1),  # the third excited it
        (ALL, [[0, 0, 0], [0, 0, 20], [0, 0, 0]], [[20, 0, 0]], 1),  # the third's is heard by it
    ],
)
def test_what_is_dead_or_unheard_goes_through_all_layers_and_around_loops(first, back, last, left):
    done = exact.remove_dead(chain_with_a_way_back(first, back, last))
    assert [p.size for p in done.populations] == [left] * 5 + [1]
    assert exact.remove_dead(done) is done


@pytest.mark.parametrize(("weights", "size"), [([[-2, 2]], 2), ([[2, 4]], 1), ([[-3, -2]], 1)])
def test_a_neuron_stays_where_the_weights_would_be_left_with_one_sign(weights, size):
    """The chip has another grid for those."""
    net = neuron_beside_another([1], [0], 1, vth=10)
    last = replace(net.connections[-1], synapses=Dense(np.array(weights)))
    net = replace(net, connections=(*net.connections[:-1], last))
    assert exact.remove_dead(net).population("p").size == size


def test_random_programs_lose_neurons():
    removed = 0
    for seed in range(40):
        net = random_program(seed).network
        smaller = exact.remove_dead(net)
        removed += sum(p.size for p in net.populations) - sum(p.size for p in smaller.populations)
    assert removed > 10


def test_rewrites_are_named_and_only_as_needed():
    net = random_network(0)
    soft = replace(net, rules=Rules(fires="at", spikes="many", v_min=-1.0), nodes={
        k: replace(n, reset="subtract") if k in net.neurons() else n for k, n in net.nodes.items()
    })  # fmt: skip
    done, applied = rewrites.rewrite(soft, LOIHI2, ["all"])
    assert {"hard-reset", "one-spike", "above-threshold", "free-membrane"} <= set(applied)
    assert done.rules == Rules()
    assert {n.reset for n in done.neurons().values()} <= {"zero"}
    assert rewrites.rewrite(tiny(), LOIHI2, ["all"])[1] == []
    with pytest.raises(Exception, match="hard-rest"):
        rewrites.rewrite(tiny(), LOIHI2, ["hard-rest"])


def test_a_settled_bias_ends_where_the_bias_did():
    """After many synaptic time constants nothing is left of the difference."""
    cuba = lif(
        (3,), 0.5, tau_synapse=np.array(2 * DT), w_in=np.array(2.0), v_threshold=np.array(1e9)
    )
    nodes = {"in": Input((2,)), "fc": Affine(np.ones((3, 2)), np.array([0.1, 0.0, -0.3])),
             "lif": cuba, "out": Output((3,))}  # fmt: skip
    net = Network(nodes, (("in", "fc"), ("fc", "lif"), ("lif", "out")), DT, 60)
    assert rewrites.rewrite(net, LOIHI2, ["all"])[1] == []  # the chip can do it, at a price
    assert quantize(net, LOIHI2).connections[-1].pre == "bias"
    done, applied = rewrites.rewrite(net, LOIHI2, ["settled-bias"])
    assert applied == ["settled-bias"]
    assert [c.pre for c in quantize(done, LOIHI2).connections] == ["in"]
    x = {"in": np.ones((1, 60, 2))}
    was, now = (floating.run(n, x, record=["lif"]).membranes["lif"][0] for n in (net, done))
    assert not np.allclose(was[0], now[0])
    assert np.allclose(was[-1], now[-1])
    assert not done.nodes["fc"].bias.any()


def resetting(tau=2 * DT, v_reset=-0.5, **more):
    cell = lif((3,), tau=np.array(tau), r=np.array(1.0), v_reset=np.array(v_reset), **more)
    nodes = {"in": Input((3,), 20), "lif": cell, "out": Output((3,))}
    return Network(nodes, (("in", "lif"), ("lif", "out")), DT, 30)


@pytest.mark.parametrize("v_leak", [0.0, 0.25])
def test_a_start_at_the_reset_differs_before_the_first_spike_only(v_leak):
    """Membranes are measured from there; else every spike and every potential stays."""
    net = resetting(v_leak=np.array(v_leak))
    done, applied = rewrites.rewrite(net, LOIHI2, ["all"])
    assert applied == ["start-at-reset"]
    assert not done.neurons()["lif"].v_reset.any()
    x = np.random.default_rng(0).integers(0, 3, (4, 30, 3))
    x[:, 0] = 20  # a spike at once, wherever it starts
    was, now = (floating.run(n, {"in": x}, record=["lif"]) for n in (net, done))
    assert (was.answer[:, 0] == 1).all()
    assert 20 < was.answer.sum() < was.answer.size
    assert (was.answer == now.answer).all()
    assert np.allclose(was.membranes["lif"] + 0.5, now.membranes["lif"])


@pytest.mark.parametrize("net", [resetting(v_reset=1.0), resetting(np.inf), resetting(v_reset=0.0)])
def test_what_never_forgets_its_start_or_spikes_without_end_does_not_start_there(net):
    done, applied = rewrites.rewrite(net, LOIHI2, ["start-at-reset"])
    assert applied == []
    assert done is net
