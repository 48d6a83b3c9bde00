"""Populations with several time constants: divided for chips that have one a population."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import DT, LOIHI2, lif

import snn2hw
from snn2hw.errors import UnsupportedError
from snn2hw.families.loihi.definition import run as define
from snn2hw.families.loihi.quantize import parts, quantize
from snn2hw.ir.discrete import coefficients
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Lif, Output
from snn2hw.ir.synapses import Conv
from snn2hw.rewrites import rewrite
from snn2hw.simulate import floating

STEPS = 6
WHOLE = (0.0, 1.0)  # decays that are exact in any integers


def neurons(shape, betas, *, current=False, threshold=1.0):
    """Return neurons with a decay each, to which inputs count once."""
    betas = np.asarray(betas, float)
    keeps = np.where(betas == 1, np.inf, DT / np.where(betas == 1, 1.0, 1 - betas))
    r = np.where(np.isinf(keeps), 1.0, keeps) / DT
    more = {"tau_synapse": 2 * keeps, "w_in": 2 * r} if current else {}
    zero = np.zeros(())
    return Lif(shape, keeps, r, np.array(threshold), zero, zero, **more)


def network(r, betas, kind, loop=False):
    """Two layers, and an output whose neurons differ, too."""
    if kind == "dense":
        nodes = {"in": Input((6,)), "w1": Affine(grid(r, 8, 6), np.zeros(8)),
                 "a": neurons((8,), betas(8))}  # fmt: skip
        last, size = ["w1", "a"], 8
    else:
        image = (2, 4, 4)
        conv = Conv2d(Conv(grid(r, 3, 2, 3, 3), image, padding=(1, 1)), np.zeros(3))
        each = betas(3)[:, None, None] if kind == "channels" else betas(48).reshape(3, 4, 4)
        nodes = {"in": Input(image), "w1": conv,
                 "a": neurons((3, 4, 4), np.broadcast_to(each, (3, 4, 4))),
                 "conv2": Conv2d(Conv(grid(r, 2, 3, 3, 3), (3, 4, 4)), np.zeros(2)),
                 "c": neurons((2, 2, 2), np.ones((2, 2, 2))), "f": Flatten((2, 2, 2))}  # fmt: skip
        last, size = ["w1", "a", "conv2", "c", "f"], 8
    nodes |= {"w2": Affine(grid(r, 4, size), np.zeros(4)), "b": neurons((4,), betas(4)),
              "out": Output((4,))}  # fmt: skip
    names = ["in", *last, "w2", "b", "out"]
    edges = list(itertools.pairwise(names))
    if loop:
        nodes["back"] = Affine(grid(r, 4, 4), np.zeros(4))
        edges += [("b", "back"), ("back", "b")]
    return Network(nodes, tuple(edges), DT, STEPS)


def grid(r, *shape):
    return r.integers(-3, 9, shape) / 8


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["dense", "channels", "pixels"]),
    loop=st.booleans(),
)
def test_parts_together_spike_as_the_population(seed, kind, loop):
    r = np.random.default_rng(seed)
    net = network(r, lambda n: r.choice(WHOLE, n), kind, loop)
    x = r.integers(0, 2, (3, STEPS, *net.inputs()["in"].shape))
    wanted = floating.run(net, {"in": x}).answer
    build = snn2hw.build(net, LOIHI2)
    ran = build.simulate(x).trace
    assert (ran.spikes == wanted).all()
    assert (define(build.program, {"in": x}).spikes == ran.spikes).all()


def test_kernels_stay_kernels_where_channels_differ():
    r = np.random.default_rng(0)
    net = network(r, lambda n: np.resize([0.5, 0.75], n), "channels")
    made = quantize(net, LOIHI2)
    kinds = {(c.pre, c.post): c.synapses.kind for c in made.connections}
    assert kinds["in", "a.tau0"] == kinds["in", "a.tau1"] == kinds["a.tau0", "c"] == "conv"
    assert made.population("a.tau1").shape == (2, 4, 4)
    assert made.outputs == {"out": "b"}
    assert {c.pre for c in made.connections if c.post == "b"} == {"b.tau0", "b.tau1"}


def test_decays_are_told_apart_as_pairs():
    """One number stands for two decays, in their order."""
    r = np.random.default_rng(0)
    for low, high in ((0, 3), (-(1 << 62), 1 << 62), (0, 4097)):
        decays = r.integers(low, high, (200, 2))
        decays[100:, 0] = decays[:100, 0]
        _, wanted = np.unique(decays, axis=0, return_inverse=True)
        _, found = np.unique(parts._pairs(decays), return_inverse=True)
        assert found.tolist() == wanted.reshape(-1).tolist()


def test_each_part_has_the_decay_and_the_numbers_of_its_neurons():
    betas = [0.5, 0.75, 0.5, 0.875]
    cell = replace(neurons((4,), betas, current=True), v_threshold=np.array([1.0, 2.0, 3.0, 4.0]),
                   v_leak=np.array([0.1, 0.2, 0.3, 0.4]))  # fmt: skip
    nodes = {
        "in": Input((4,)),
        "w": Affine(np.eye(4), np.zeros(4)),
        "a": cell,
        "w2": Affine(np.eye(4), np.zeros(4)),
        "b": lif((4,)),
        "out": Output((4,)),
    }
    edges = (("in", "w"), ("w", "a"), ("a", "w2"), ("w2", "b"), ("b", "out"))
    made = quantize(Network(nodes, edges, DT, 4), LOIHI2)  # fmt: skip
    found = {p.name: (p.size, p.dv, p.du + 1) for p in made.populations if p.name != "bias"}
    assert found == {
        "a.tau0": (1, 512, 256), "a.tau1": (1, 1024, 512), "a.tau2": (2, 2048, 1024),
        "b": (4, 2048, 4096),
    }  # fmt: skip
    assert LOIHI2.numbers.decay_bits == 12


@pytest.mark.lava
@pytest.mark.parametrize("kind", ["dense", "channels", "pixels"])
def test_lava_computes_the_same(kind):
    r = np.random.default_rng(3)
    net = network(r, lambda n: r.choice([0.5, 0.75, 0.9], n), kind, loop=True)
    x = r.integers(0, 2, (2, STEPS, *net.inputs()["in"].shape))
    found = snn2hw.build(net, LOIHI2).verify(x)
    assert found["mismatches"] == 0
    assert found["compared"] > 500


def many(count):
    r = np.random.default_rng(0)
    return network(r, lambda n: np.linspace(0.2, 0.95, count)[np.arange(n) % count], "pixels")


def test_too_many_are_refused_or_grouped_on_request():
    assert len(quantize(many(16), LOIHI2).populations) > 16
    net = many(17)
    with pytest.raises(UnsupportedError, match="a has 17 time constants, the chip one a popula"):
        quantize(net, LOIHI2)
    assert rewrite(many(16), LOIHI2, ["all"])[1] == []
    with pytest.warns(UserWarning, match="eight|8 time constants"):
        build = snn2hw.build(net, LOIHI2, rewrite=["all"])
    assert list(build.rewrites["applied"]) == ["few-time-constants"]
    x = np.random.default_rng(1).integers(0, 2, (5, STEPS, *net.inputs()["in"].shape))
    with pytest.warns(UserWarning, match="5 samples of yours"):
        build = snn2hw.build(net, LOIHI2, rewrite=["all"], x=x, y=np.zeros(5, int))
    before, after = build.rewrites["spikes_per_sample"]
    assert build.rewrites["on_chip"]["spikes_per_sample"] == pytest.approx(after, rel=0.1)
    assert len(build.rewrites["accuracy"]) == 2
    assert before > 0


@pytest.mark.parametrize("current", [False, True])
@pytest.mark.parametrize("integration", ["euler", "exponential"])
def test_grouping_changes_decays_only(current, integration):
    cell = replace(neurons((40,), np.linspace(0.1, 0.9, 40), current=current),
                   v_leak=np.linspace(-0.5, 0.5, 40))  # fmt: skip
    nodes = {"in": Input((40,)), "a": cell, "out": Output((40,))}
    net = Network(nodes, (("in", "a"), ("a", "out")), DT, 4)
    net = replace(net, rules=replace(net.rules, integration=integration))
    rules = snn2hw.families.of(LOIHI2).trains(LOIHI2)
    done, applied = rewrite(net, LOIHI2, ["few-time-constants"], rules)
    assert applied == ["few-time-constants"]
    was, now = (coefficients(n.neurons()["a"], DT, integration) for n in (net, done))
    assert len(np.unique(now.keep_voltage)) == 8
    assert np.abs(now.keep_voltage - was.keep_voltage).max() < 0.1
    assert np.allclose(now.gain_voltage, was.gain_voltage)
    assert np.allclose(now.drift, was.drift)
    if current:
        assert np.allclose(now.gain_current, was.gain_current)
        assert np.abs(now.keep_current - was.keep_current).max() < 0.1
