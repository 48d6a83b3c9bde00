"""Each pass keeps every spike; each rewrite changes what it says and nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from float_nets import random_network
from hypothesis import given, settings
from nets import DT, LOIHI2, NUMBERS, images, lif, random_program, residual, seeds, tiny

from snn2hw import passes, rewrites
from snn2hw.ir import populations as chip
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.network import (
    Affine,
    Conv2d,
    Flatten,
    Input,
    Network,
    Output,
    Pool2d,
    Rules,
    output_shape,
)
from snn2hw.ir.synapses import Conv, Dense
from snn2hw.lower import lower
from snn2hw.mapping import map_network
from snn2hw.quantize import quantize
from snn2hw.simulate import engine, floating


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


@settings(max_examples=60)
@given(seeds)
def test_pools_and_convolutions_become_one_kernel(seed):
    r = np.random.default_rng(seed)
    image = (2, int(r.integers(5, 10)), int(r.integers(5, 10)))
    side = int(r.integers(1, 4))
    pool = Pool2d(image, (side, 2), (int(r.integers(1, 4)), 2), (0, 0), bool(r.integers(0, 2)))
    middle = output_shape(pool)
    if min(middle[1:]) < 2:
        return
    kernel = Conv(r.normal(size=(4, 1, 2, 2)), middle, (1, int(r.integers(1, 3))),
                  tuple(int(n) for n in r.integers(0, 2, 2)), groups=2)  # fmt: skip
    nodes = {"in": Input(image, 5), "pool": pool, "conv": Conv2d(kernel, r.normal(size=4)),
             "lif": lif(kernel.output_shape), "out": Output(kernel.output_shape)}  # fmt: skip
    names = list(nodes)
    net = Network(nodes, tuple(itertools.pairwise(names)), DT, 4)
    done = passes.fold_pools(net)
    assert not any(isinstance(n, Pool2d) for n in done.nodes.values())
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
    smaller = passes.remove_dead(program.network)
    again = lower(smaller, map_network(smaller, LOIHI2), LOIHI2)
    x = images(program.network, samples=3, seed=seed)
    assert (engine.run(program, x).spikes == engine.run(again, x).spikes).all()


def test_dead_neurons_and_zero_channels_are_removed():
    net = residual()
    conv1, conv2 = net.nodes["conv1"], net.nodes["conv2"]
    weight = np.array(conv1.kernel.weight)
    weight[1] = 0.0
    silent = Conv2d(replace(conv1.kernel, weight=weight), conv1.bias * [1, 0, 1])
    chain = tuple(e for e in net.edges if e != ("lif1", "lif3"))
    dead = replace(net, nodes={**net.nodes, "conv1": silent}, edges=chain)
    ints = passes.remove_dead(quantize(dead, LOIHI2))
    assert ints.population("lif1").shape == (2, 6, 6)
    (into,) = (c for c in ints.connections if c.post == "lif2")
    assert into.synapses.weight.shape == (3, 2, 3, 3)
    unheard = np.array(conv2.kernel.weight)
    unheard[:, 2] = 0.0
    deaf = replace(net, edges=chain, nodes={
        **net.nodes, "conv2": Conv2d(replace(conv2.kernel, weight=unheard), conv2.bias)
    })  # fmt: skip
    assert passes.remove_dead(quantize(deaf, LOIHI2)).population("lif1").shape[0] < 3


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
    return IntNetwork(ports, (hidden, out), (*into, last), "out", DT, 4, NUMBERS, {})


def highest(net: IntNetwork, steps=700) -> int:
    """Membrane of the first neuron if the largest input comes in every step and it never spikes."""
    never = replace(net.population("p"), vth=NUMBERS.threshold_max + 1)
    free = replace(net, populations=(never, net.populations[1]))
    return int(driven(free, steps).v[0, :, 0].max())


def driven(net, steps=700):
    x = np.full((1, steps, 1), net.inputs[0].max_value)
    program = lower(net, map_network(net, LOIHI2), LOIHI2)
    return engine.run(program, {"in": x, "other": 0 * x}, states=True).layers["p"]


def removed(net: IntNetwork) -> bool:
    return passes.remove_dead(net).population("p").size == 1


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


@pytest.mark.parametrize(("weight", "wraps"), [(-218, False), (-219, True)])
def test_a_current_that_wraps_because_shifted_sums_round_down_is_seen(weight, wraps):
    """Three times floor(-43690.5) is below -2**17, three times -43690.5 is not."""
    net = neuron_beside_another([weight] * 3, [-1] * 3, 399, vth=1000)
    assert driven(net, 2).spikes[0, :, 0].any() == wraps
    assert removed(net) != wraps


def test_random_programs_lose_neurons():
    removed = 0
    for seed in range(40):
        net = random_program(seed).network
        smaller = passes.remove_dead(net)
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
