"""Pools in front of dense layers with many inputs: the chip adds up the windows and sends sums."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import DT, LOIHI1, LOIHI2, lif

import snn2hw
from snn2hw import passes
from snn2hw.errors import Snn2hwError
from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.definition import run as define
from snn2hw.families.loihi.quantize import quantize, relays
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Output, Pool2d
from snn2hw.ir.synapses import Conv
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import floating

STEPS = 5


def pooled(seed, channels=6, side=4, *, average=False, padding=0, largest=1):
    """Neurons of an image, a pool over it, and a dense layer whose weights are eighths."""
    r = np.random.default_rng(seed)
    image = (channels, side, side)
    pool = Pool2d(image, (2, 2), (2, 2), (padding, padding), average)
    after = (side + 2 * padding) // 2
    dense = r.integers(-3, 9, (5, channels * after**2)) / 8
    nodes = {
        "in": Input(image, largest),
        "conv": Conv2d(Conv(np.full((channels, 1, 1, 1), 1.0), image, groups=channels),
                       np.zeros(channels)),
        "a": lif(image, 0.0, 0.5), "pool": pool, "flat": Flatten((channels, after, after)),
        "fc": Affine(dense, np.zeros(5)), "b": lif((5,), 1.0, 4.0), "out": Output((5,)),
    }  # fmt: skip
    names = list(nodes)
    return Network(nodes, tuple(itertools.pairwise(names)), DT, STEPS)


@pytest.fixture
def small_core(monkeypatch):
    """A chip whose neurons hear 50 others at most."""
    monkeypatch.setattr(relays, "most_inputs", lambda _: 50)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), average=st.booleans(), padding=st.sampled_from([0, 1]))
def test_sums_of_windows_are_exact(seed, average, padding):
    net = pooled(seed, average=average, padding=padding)
    x = np.random.default_rng(seed).integers(0, 2, (3, STEPS, 6, 4, 4))
    wanted = floating.run(net, {"in": x}).answer
    plain = net.nodes["pool"]
    assert isinstance(plain, Pool2d)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(relays, "most_inputs", lambda _: 50)
        patched.setattr("snn2hw.passes.MOST_FAN_IN", 50)
        program = snn2hw.build(net, LOIHI2).program
    kinds = {p.name: type(p) for p in program.network.populations}
    assert kinds == {"a": chip.Lif, "pool.relay": chip.Graded, "b": chip.Lif}
    (into,) = (c for c in program.network.connections if c.post == "pool.relay")
    assert set(np.unique(into.synapses.weight)) == {1}  # messages as small as they can be
    ran = snn2hw.pipeline.api.Built(program).simulate(x).trace
    assert (ran.spikes == wanted).all()
    assert (define(program, {"in": x}).spikes == ran.spikes).all()


def test_only_where_a_core_is_too_small():
    net = pooled(0)
    assert [p.name for p in snn2hw.build(net, LOIHI2).program.network.populations] == ["a", "b"]


@pytest.mark.usefixtures("small_core")
def test_only_pools_before_dense_layers_and_only_with_graded_spikes(monkeypatch):
    monkeypatch.setattr("snn2hw.passes.MOST_FAN_IN", 50)
    net = pooled(0)
    assert len(quantize(snn2hw.passes.simplify(net), LOIHI2).populations) == 3
    assert len(quantize(snn2hw.passes.simplify(net), LOIHI1).populations) == 2
    nodes = dict(net.nodes)
    nodes["conv2"] = Conv2d(Conv(np.ones((2, 6, 2, 2)), (6, 2, 2)), np.zeros(2))
    nodes |= {"flat": Flatten((2, 1, 1)), "fc": Affine(np.ones((5, 2)), np.zeros(5))}
    edges = [e for e in net.edges if e != ("pool", "flat")]
    other = replace(net, nodes=nodes, edges=(*edges, ("pool", "conv2"), ("conv2", "flat")))
    assert len(quantize(snn2hw.passes.simplify(other), LOIHI2).populations) == 2


@pytest.mark.lava
def test_512_channels_before_a_dense_layer_fit_and_are_what_lava_computes():
    """8,192 inputs of each of ten neurons would need 526,400 bytes of a core."""
    r = np.random.default_rng(0)
    image = (512, 4, 4)
    weight = r.normal(size=(10, 512)) * 0.1
    nodes = {
        "in": Input(image),
        "conv": Conv2d(Conv(np.ones((512, 1, 1, 1)), image, groups=512), np.zeros(512)),
        "a": lif(image, 0.5), "pool": Pool2d(image, (4, 4), (4, 4), (0, 0), average=False),
        "flat": Flatten((512, 1, 1)), "fc": Affine(weight, np.zeros(10)), "b": lif((10,)),
        "out": Output((10,)),
    }  # fmt: skip
    names = list(nodes)
    net = Network(nodes, tuple(itertools.pairwise(names)), DT, 4)
    with pytest.raises(Snn2hwError, match=r"one neuron needs .* axons"):
        compile_network(net, LOIHI1)
    build = snn2hw.build(net, LOIHI2)
    x = (r.random((2, 4, *image)) < 0.3).astype(int)
    found = build.verify(x)
    assert found["mismatches"] == 0
    assert found["compared"] > 100_000
    same = build.simulate(x).prediction == floating.run(net, {"in": x}).prediction
    assert same.all()


def stem(seed, side=6):
    """Neurons, a pool of 3 x 3 that reaches over the border, and a residual block behind it."""
    r = np.random.default_rng(seed)
    image = (2, side, side)
    pool = Pool2d(image, (3, 3), (2, 2), (1, 1), average=False)
    after = (2, (side - 1) // 2 + 1, (side - 1) // 2 + 1)
    kernel = Conv(r.integers(-1, 3, (2, 2, 3, 3)) / 8, after, padding=(1, 1))
    nodes = {
        "in": Input(image),
        "conv": Conv2d(Conv(np.full((2, 1, 1, 1), 1.0), image, groups=2), np.zeros(2)),
        "a": lif(image, 0.0, 0.5), "pool": pool, "block": Conv2d(kernel, np.zeros(2)),
        "b": lif(after, 1.0, 2.0), "out": Output(after),
    }  # fmt: skip
    edges = [*itertools.pairwise(nodes), ("pool", "b")]
    return Network(nodes, tuple(edges), DT, STEPS)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), side=st.sampled_from([5, 6, 7]))
def test_a_pool_that_no_kernel_takes_in_adds_up_in_neurons(seed, side):
    net = stem(seed, side)
    x = {"in": np.random.default_rng(seed).integers(0, 2, (3, STEPS, 2, side, side))}
    wanted = floating.run(net, x).answer
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(passes, "MOST_WRITTEN_OUT", 0)
        passes.simplify.cache_clear()
        simple = passes.simplify(net)
        held = "pool.relay" in simple.nodes
        program = compile_network(net, LOIHI2)
    passes.simplify.cache_clear()
    assert held == (side == 6)  # of odd sides, the windows at the border see nothing of the image
    assert (floating.run(simple, x).answer == wanted).all()
    assert (define(program, x).spikes == wanted).all()


def test_small_pools_are_written_out_as_before():
    assert "pool.relay" not in passes.simplify(stem(0)).nodes
