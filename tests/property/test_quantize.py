"""Quantization: half a step at most, one scale a population, and never an overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from nets import DT, LOIHI2, NUMBERS, lif, residual, seeds, tiny

from snn2hw.errors import NetworkError, UnsupportedError
from snn2hw.ir.network import Affine, Conv2d, Input, Network, Output
from snn2hw.ir.synapses import Conv
from snn2hw.pipeline.compiler import compile_network
from snn2hw.quantize import quantize
from snn2hw.simulate import engine


def single(weight, bias, threshold=1.0, beta=0.5, max_value=1, **more) -> Network:
    nodes = {
        "in": Input((weight.shape[1],), max_value),
        "fc": Affine(weight, bias),
        "lif": lif((weight.shape[0],), beta, threshold, **more),
        "out": Output((weight.shape[0],)),
    }
    return Network(nodes, (("in", "fc"), ("fc", "lif"), ("lif", "out")), DT, 3)


networks = st.tuples(seeds, st.floats(1e-3, 30), st.floats(0.05, 20), st.sampled_from([1, 16, 255]))


@settings(max_examples=60)
@given(networks)
def test_rounding_is_within_half_a_step(drawn):
    seed, spread, threshold, largest = drawn
    r = np.random.default_rng(seed)
    net = single(r.normal(0, spread, (5, 7)), r.normal(0, spread, 5), threshold, max_value=largest)
    try:
        ints = quantize(net, LOIHI2)
    except UnsupportedError:
        assert spread / threshold > 20  # nothing milder may be refused
        return
    (c,), (p,) = ints.connections, ints.populations
    scale = ints.rounding["lif"].scale
    step = 2 * 2.0**c.exponent if c.mixed else 2.0**c.exponent
    back = c.synapses.weight * 2.0**c.exponent
    want = net.nodes["fc"].weight / threshold * scale
    inside = (want <= NUMBERS.weight_range(c.mixed)[1] * 2.0**c.exponent + 1e-6) & (
        want >= NUMBERS.weight_range(c.mixed)[0] * 2.0**c.exponent
    )
    assert inside.all() or c.exponent == NUMBERS.exponent_min
    assert np.abs(back - want)[inside].max() <= step / 2 + 1e-9
    assert abs(p.vth - scale) <= 0.5
    assert np.abs(p.bias - net.nodes["fc"].bias / threshold * scale).max() <= 0.5 + 1e-9


@settings(max_examples=60)
@given(networks)
def test_no_input_can_wrap_the_current(drawn):
    seed, spread, threshold, largest = drawn
    r = np.random.default_rng(seed)
    more = {"tau_synapse": np.array(4 * DT), "w_in": np.array(1.0)} if seed % 2 else {}
    net = single(
        r.normal(spread, spread, (3, 9)), np.zeros(3), threshold, max_value=largest, **more
    )
    try:
        program = compile_network(net, LOIHI2, time_steps=40)
    except UnsupportedError:
        reject()
    (c,) = program.network.connections
    for row in range(3):  # the input that pushes this neuron hardest, up and down
        for sign in (1, -1):
            x = np.where(sign * c.synapses.weight[row] > 0, largest, 0)
            trace = engine.run(program, {"in": np.tile(x, (1, 40, 1))}, states=True)
            u = trace.layers["lif"].u[0, :, row]
            assert (np.diff(sign * u) >= -64).all(), "an overflow would turn the current around"


def test_branches_share_a_scale_and_use_exponents():
    net = residual()
    ints = quantize(net, LOIHI2)
    into = {c.pre: c for c in ints.connections if c.post == "lif3"}
    scale = ints.rounding["lif3"].scale
    assert into["lif1"].exponent > into["lif2"].exponent == 0
    assert into["lif1"].synapses.weight[0] << into["lif1"].exponent == pytest.approx(
        scale, rel=0.01
    )
    kernel = net.nodes["conv3"].kernel.weight
    assert np.abs(into["lif2"].synapses.weight - kernel * scale).max() <= 1


def test_lone_convolutions_have_no_exponent_so_that_netx_can_hold_them():
    r = np.random.default_rng(0)
    kernel = Conv(np.abs(r.normal(0.5, 0.1, (2, 1, 5, 5))), (1, 9, 9))
    nodes = {
        "in": Input((1, 9, 9), 255), "conv": Conv2d(kernel, np.zeros(2)),
        "lif": lif((2, 5, 5), threshold=300.0), "out": Output((2, 5, 5)),
    }  # fmt: skip
    net = Network(nodes, (("in", "conv"), ("conv", "lif"), ("lif", "out")), DT, 2)
    ints = quantize(net, LOIHI2)
    assert ints.connections[0].exponent == 0
    assert ints.rounding["lif"].limited_by in ("current", "threshold")


def test_time_constants_become_decays():
    net = single(np.eye(2), np.zeros(2), beta=0.75)
    (p,) = quantize(net, LOIHI2).populations
    assert (p.du, p.dv) == (4095, 1024)
    cuba = single(np.eye(2), np.zeros(2), beta=1, tau_synapse=np.array(8 * DT), w_in=np.array(1.0))
    (p,) = quantize(cuba, LOIHI2).populations
    assert (p.du, p.dv) == (511, 0)


def test_every_refusal_is_listed():
    net = single(np.eye(2), np.zeros(2), reset="subtract", tau=np.array([DT, 2 * DT]), r=np.ones(2))
    with pytest.raises(UnsupportedError) as caught:
        quantize(net, LOIHI2)
    assert "lif resets by subtract" in str(caught.value)
    assert "several membrane time constants" in str(caught.value)


def test_time_steps_must_be_known():
    net = Network(tiny().nodes, tiny().edges, DT)
    with pytest.raises(NetworkError, match="Give --time-steps"):
        quantize(net, LOIHI2)
    assert quantize(net, LOIHI2, time_steps=7).time_steps == 7


def test_a_current_that_would_never_decay_is_refused():
    net = single(np.eye(2), np.zeros(2), tau_synapse=np.array(1e5 * DT), w_in=np.array(1.0))
    with pytest.raises(UnsupportedError, match="lif has a synapse time constant too long"):
        quantize(net, LOIHI2)
