"""Rounding to a Xylo's integers: formulas, limits, refusals."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from xylo_nets import AUDIO2, AUDIO3, DT, IMU, RULES, float_chain, neurons

from snn2hw import rewrites
from snn2hw.errors import NetworkError, UnsupportedError
from snn2hw.families.xylo import XYLO, engine
from snn2hw.families.xylo.quantize import quantize, refusals
from snn2hw.families.xylo.quantize.decays import NONE, dashes, tau_of
from snn2hw.ir.graph import wiring
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Leaky, Output, Threshold
from snn2hw.ir.synapses import Conv, Sparse, matrix
from snn2hw.pipeline.compiler import compile_network, reasons
from snn2hw.simulate import floating


def weight(net, pre, post):
    return next(c for c in net.connections if (c.pre, c.post) == (pre, post))


def test_the_formula_by_hand():
    """A quarter of the current goes in the step in which a spike comes: 0.75 of it is added.

    So 0.5 is 0.5 / 0.75 / 2 = 1/3 of the threshold 2, and 127 units stand for it at shift 0. There
    3 x 127 is the threshold, at shift 1 it is 762, at shift 2 it would be above 1024 = 32768 / 32.
    """
    net = float_chain([[[0.5, -0.25]], [[1.0]]], [neurons((1,), 3, 2, 2.0), neurons((1,), 5, 1)])
    ints = quantize(net, AUDIO2)
    hidden, out = ints.populations
    first = weight(ints, "in", "n0")
    assert (first.synapses.weight.tolist(), first.exponent, first.part) == ([[127, -64]], 1, "isyn")
    assert (hidden.threshold.tolist(), hidden.bias.tolist()) == ([762], [0])
    assert (hidden.dash_mem.tolist(), hidden.dash_syn.tolist()) == ([3], [2])
    assert (hidden.dash_syn2.tolist(), hidden.alias.tolist()) == ([0], [-1])
    # 1 / 0.5 = 2 thresholds are 127 << shift: 63.5 << 4 is the last below 1024.
    last = weight(ints, "n0", "n1")
    assert (last.synapses.weight.tolist(), last.exponent) == ([[127]], 4)
    assert (out.threshold.tolist(), out.dash_mem.tolist(), out.dash_syn.tolist()) == \
        ([1016], [5], [1])  # fmt: skip
    report = ints.rounding["n0"]
    assert (report.scale, report.limited_by, report.zeroed) == (762.0, "weights", 0)
    assert report.relative_error == pytest.approx(0.25 * (64 / 63.5 - 1) / np.hypot(0.5, 0.25))


def test_a_membrane_follows_that_of_the_network():
    """Below the threshold, but for what decays drop; a wrong gain is off by 12 % or more."""
    r = np.random.default_rng(0)
    cell = neurons((6,), [1, 2, 3, 4, 3, 2], [3, 1, 2, 1, 2, 1], 400.0,
                   v_leak=np.linspace(-0.3, 0.3, 6))  # fmt: skip
    net = float_chain([r.uniform(-1, 2, (6, 4)), np.ones((1, 6))], [cell, neurons((1,))], steps=40)
    x = {"in": r.integers(0, 3, (2, 40, 4))}
    exact = floating.run(net, x, record=["n0"]).membranes["n0"]
    program = compile_network(net, AUDIO2)
    held = engine.run(program, x, states=True).layers["n0"]
    assert not held.spikes.any()
    ours = held["vmem"] / program.network.population("n0").threshold * 400.0
    error = np.abs(ours - exact).max(axis=(0, 1)) / np.abs(exact).max(axis=(0, 1))
    assert error.max() < 0.01


def test_spikes_are_about_those_of_the_network():
    r = np.random.default_rng(1)
    net = float_chain([r.normal(0, 0.3, (40, 16)), r.normal(0, 0.2, (30, 40)), np.ones((2, 30))])
    x = {"in": r.poisson(0.3, (20, 20, 16))}
    found = floating.run(net, x, record=["n0", "n1"])
    ours = engine.run(compile_network(net, AUDIO2), x, states=True)
    for name in ("n0", "n1"):
        theirs = found.recorded[name]
        assert theirs.max() > 3
        assert ours.layers[name].spikes.sum() == pytest.approx(theirs.sum(), rel=0.03)


def test_each_neuron_has_a_scale_of_its_own():
    net = float_chain([[[1.0, 0.4], [0.008, -0.02]], np.eye(2)])
    ints = quantize(net, IMU)
    first = weight(ints, "in", "n0").synapses.weight
    assert first.tolist() == [[127, 51], [51, -127]]
    low, high = ints.population("n0").threshold
    assert high == pytest.approx(50 * low, rel=0.01)


def test_shifts_differ_where_weights_do():
    """Recurrent weights of a sixteenth: input weights are shifted four more to the left."""
    net = float_chain([0.8 * np.eye(3), np.eye(3)], [neurons((3,), 4, 1), neurons((3,))], steps=5)
    back = Affine(0.05 * np.ones((3, 3)), np.zeros(3))
    net = replace(
        net, nodes={**net.nodes, "back": back}, edges=(*net.edges, ("n0", "back"), ("back", "n0"))
    )
    ints = quantize(net, AUDIO2)
    first, own = weight(ints, "in", "n0"), weight(ints, "n0", "n0")
    assert (own.delay, first.exponent - own.exponent) == (1, 4)
    assert set(own.synapses.weight.flat) == {127}
    assert first.synapses.weight.max() == 127
    assert sorted(compile_network(net, AUDIO2).delays) == [0, 1, 1]


def test_bias_and_threshold_limit_the_scale():
    leak = neurons((2,), 3, 2, v_leak=np.array([0.0, 8000.0]))
    ints = quantize(float_chain([[[1.0], [1.0]], np.eye(2)], [leak, neurons((2,))]), AUDIO2)
    n0 = ints.population("n0")
    assert n0.bias.tolist() == [0, 32767]
    assert n0.threshold[1] == round(32767 / 1000)
    small = quantize(float_chain([[[1e-4], [1e-5]], np.eye(2)]), AUDIO2)
    assert small.population("n0").threshold.max() == 32767
    assert small.rounding["n0"].limited_by == "threshold"
    assert weight(small, "in", "n0").exponent == 0


def test_neurons_that_hear_nothing_leave_the_others_alone():
    ints = quantize(float_chain([[[0.5], [0.0]], np.eye(2)]), AUDIO2)
    assert ints.population("n0").threshold.tolist() == [762, 1024]


WEIGHTS = arrays.arrays(
    float, (3, 4), elements=st.floats(-4, 4).map(lambda x: x if abs(x) > 1e-3 else 0.0)
)


@given(WEIGHTS, arrays.arrays(float, 3, elements=st.floats(0.05, 20)), st.integers(1, 6))
@settings(max_examples=80)
def test_rounding_is_to_the_nearest_and_fills_the_bits(w, threshold, dash_syn):
    net = float_chain([w, np.eye(3)], [neurons((3,), 4, dash_syn, threshold), neurons((3,))])
    ints = quantize(net, AUDIO2)
    c, p = weight(ints, "in", "n0"), ints.population("n0")
    exact = w / threshold[:, None] / (1 - 2.0**-dash_syn)
    peak = np.abs(exact).max(axis=1)
    scale = np.where(peak > 0, 127 * 2.0**c.exponent / np.maximum(peak, 1e-300), 1024)
    scale = np.minimum(scale, 32767)
    assert np.abs(p.threshold - scale).max() <= 0.5 + 1e-6
    units = exact * scale[:, None] / 2.0**c.exponent
    assert np.abs(c.synapses.weight - units).max() <= 0.5 + 1e-6
    full = (peak > 0) & (scale < 32767)
    assert (np.abs(c.synapses.weight).max(axis=1)[full] == 127).all()
    # As large as the state has room for, but no larger.
    most = p.threshold[peak > 0].max(initial=0)
    assert c.exponent == 0 or most <= 1024
    assert c.exponent == 7 or 2 * most >= 1023 or not most


def test_convolutions_are_written_out_and_linear_layers_joined():
    """Both are exact; the chip joins anything with anything."""
    r = np.random.default_rng(0)
    kernel = Conv(r.normal(0, 1, (2, 1, 2, 2)), (1, 4, 4))
    nodes = {
        "in": Input((1, 4, 4), 15), "conv": Conv2d(kernel, np.zeros(2)), "a": neurons((2, 3, 3)),
        "flat": Flatten((2, 3, 3)),
        "fc": Affine(r.normal(0, 1, (5, 18)), np.zeros(5)),
        "fc2": Affine(r.normal(0, 1, (3, 5)), np.zeros(3)), "b": neurons((3,)), "out": Output((3,)),
    }  # fmt: skip
    edges = (*itertools.pairwise(nodes),)
    net = Network(nodes, edges, DT, 4, RULES)
    ints = quantize(net, AUDIO2)
    first = weight(ints, "in", "a")
    assert isinstance(first.synapses, Sparse)
    assert ((matrix(first.synapses) != 0) != (matrix(kernel) != 0)).nnz == 0
    assert ints.population("a").shape == (2, 3, 3)
    product = nodes["fc2"].weight @ nodes["fc"].weight
    last = weight(ints, "a", "b").synapses.weight
    assert np.corrcoef(last[0], product[0])[0, 1] > 0.999
    assert ints.rounding["b"].relative_error < 0.01


def test_time_steps_have_to_be_known():
    net = replace(float_chain([[[1.0]], [[1.0]]]), time_steps=None)
    with pytest.raises(NetworkError, match="how many time steps"):
        quantize(net, AUDIO2)
    assert quantize(net, AUDIO2, time_steps=7).time_steps == 7


@pytest.mark.parametrize("large", [1e5, 1e300])
def test_what_no_integers_stand_for(large):
    net = float_chain([[[large]], [[1.0]]], [neurons((1,), threshold=1e-10), neurons((1,))])
    with pytest.raises(UnsupportedError, match=r"n0 is driven by .* times its threshold"):
        quantize(net, AUDIO2)


def test_a_neuron_beside_others_that_leave_it_no_unit():
    """Weights of 200 thresholds are 127 units at shift 0, where the others' need it to be."""
    weights = [[[150.0], [0.07]], np.eye(2)]
    with pytest.raises(UnsupportedError, match="n0 is driven by 200 times its threshold"):
        quantize(float_chain(weights), AUDIO2)
    alone = quantize(float_chain([[[150.0], [1.0]], np.eye(2)]), AUDIO2)
    assert alone.population("n0").threshold.tolist() == [5, 762]


@pytest.mark.parametrize(
    ("lost", "span", "found"),
    [(0.5, (1, 15), 1), (1.0, (1, 15), None), (1.0, (0, 15), 0), (1 / 3, (0, 15), None),
     (0.25 * (1 + 1e-7), (0, 15), 2), (2.0**-15, (0, 15), 15), (2.0**-16, (0, 15), None),
     (0.0, (0, 15), None), (-0.5, (0, 15), None), (2.0, (0, 15), None)],
)  # fmt: skip
def test_decays_are_powers_of_two(lost, span, found):
    several = dashes(np.array([0.25, lost, 0.5]), span)
    assert several.tolist() == [2, NONE if found is None else found, 1]


@pytest.mark.parametrize("integration", ["euler", "exponential"])
def test_the_nearest_time_constant_is_one_that_fits(integration):
    rules = replace(RULES, integration=integration)
    plain = replace(float_chain([[[1.0]], [[1.0]]]), rules=rules)
    tau = np.array(tau_of(5, plain))
    cell = neurons((1,), tau=tau, r=tau / DT, tau_synapse=np.array(tau_of(1, plain)))
    net = float_chain([[[1.0]], [[1.0]]], [cell, cell], rules=rules)
    n0 = quantize(net, AUDIO2).population("n0")
    assert (n0.dash_mem.tolist(), n0.dash_syn.tolist()) == ([5], [1])


def said(net, target=AUDIO2):
    return refusals(net, wiring(net), target)


def test_nothing_is_refused_of_what_the_chip_does():
    net = float_chain([np.ones((128, 16)), np.ones((32, 128))])
    assert said(net, AUDIO3) == reasons(net, AUDIO3) == []


def test_rules_of_another_chip():
    found = said(replace(float_chain([[[1.0]], [[1.0]]]), rules=Rules(v_min=-1.0)))
    assert found == [
        "its neurons spike above the threshold only, the chip's at it already",
        "its neurons send one spike a step at most, the chip's as many as the membrane holds "
        "thresholds, up to 31",
        "its membranes stay above -1, the chip's do not",
    ]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (neurons((2,), np.log2(20)), "loses 0.05 of its membrane in a step, the chip a power of "
         "two from 1/1 to 1/32768 (the nearest is 1/16, a time constant of 0.016 s)"),
        (neurons((2,), tau=np.array(np.inf), r=np.array(1.0)), "loses nothing of its membrane in a "
         "step, the chip a power of two from 1/1 to 1/32768 (the nearest is 1/32768, a time "
         "constant of 32.77 s)"),
        (neurons((2,), dash_syn=0), "loses all of its synaptic current in a step, the chip a power "
         "of two from 1/2 to 1/32768 (the nearest is 1/2, a time constant of 0.002 s)"),
        (neurons((2,), [1.5, 2.5]), "loses 0.1768 of its membrane in a step (the smallest "
         "of 2 different values)"),
        (neurons((2,), tau_synapse=None), "no synaptic current, the chip's neurons have one (the "
         "nearest has a tau_synapse of 0.002 s)"),
        (neurons((2,), reset="zero"), "a spike sets the membrane to v_reset (0), on the chip it "
         "takes the threshold at once"),
        (Leaky((2,), np.array(0.01), np.array(1.0), np.array(0.0)), "gives its membrane potential"),
        (Threshold(np.ones(2)), "remembers nothing"),
    ],
)  # fmt: skip
def test_neurons_that_the_chip_does_not_have(cell, reason):
    (found,) = said(float_chain([np.ones((2, 2))] * 2, [neurons((2,)), cell])) \
        if isinstance(cell, Leaky) else \
        said(float_chain([np.ones((2, 2))] * 2, [cell, neurons((2,))]))  # fmt: skip
    assert reason in found
    assert found.startswith(("n0: ", "n1: "))


def test_a_reason_is_named_once_for_all_layers():
    cells = [neurons((2,), reset="zero")] * 3
    assert said(float_chain([np.ones((2, 2))] * 3, cells)) == [
        "n0, n1, n2: a spike sets the membrane to v_reset (0), on the chip it takes the threshold "
        "at once"
    ]


def test_sizes_are_named_with_everything_else():
    net = float_chain([np.ones((1001, 17)), np.ones((40, 1001))])
    more = {
        "fc2": Affine(np.ones((2, 1001)), np.zeros(2)), "n2": neurons((2,)), "o2": Output((2,))
    }  # fmt: skip
    edges = (*net.edges, ("n0", "fc2"), ("fc2", "n2"), ("n2", "o2"))
    found = said(replace(net, nodes={**net.nodes, **more}, edges=edges), IMU)
    for part in (
        "it has 17 inputs, the chip 16", "it has 1,001 hidden neurons, the chip 496",
        "output neurons (n1 40, n2 2)",
    ):  # fmt: skip
        assert any(part in reason for reason in found), (part, found)


def test_a_bias_acts_on_the_membrane():
    net = float_chain([np.ones((2, 2))] * 2)
    net = replace(net, nodes={**net.nodes, "fc0": Affine(np.ones((2, 2)), np.array([1.0, 0.5]))})
    (found,) = said(net)
    assert "n0: a bias on the synaptic current" in found
    settled, applied = rewrites.rewrite(net, AUDIO2, ["settled-bias"])
    assert (said(settled), applied) == ([], ["settled-bias"])
    assert rewrites.rewrite(net, AUDIO2, ["all"], XYLO.trains(AUDIO2))[1] == ["settled-bias"]
    bias = quantize(settled, AUDIO2).population("n0")
    gain = 4.0  # of a synaptic current that keeps three quarters in a step
    assert bias.bias / bias.threshold == pytest.approx([gain, gain / 2], rel=0.01)


def test_graphs_that_the_chip_does_not_have():
    net = float_chain([np.ones((2, 2))] * 3)

    def joined(*edges, **nodes):
        return said(replace(net, edges=(*net.edges, *edges), nodes={**net.nodes, **nodes}))

    assert "n0 -> n2 arrives 1 step too early" in joined(("n0", "fc2"))[0]
    assert joined(("n2", "fc0"))[0] == (
        "n2 is heard by n0, the chip's readout by nobody (give the output neurons of its own)"
    )
    assert joined(("n0", "fc0")) == []
    assert "n1 -> n0 arrives 1 step too late" in joined(("n1", "fc0"))[0]
    assert joined(("more", "fc0"), more=Input((2,)), **{"in": Input((2,), 255)}) == [
        "it has 2 inputs (in, more); join them to one",
        "in sends numbers up to 255, an input channel takes at most 15 spikes a step",
    ]
    inner = joined(("n0", "other"), other=Output((2,)))
    assert any("n0 is heard by n1, the chip's readout by nobody" in said for said in inner)
    assert said(float_chain([np.ones((2, 2))])) == [
        "n0 receives in directly, the chip's readout only hidden neurons (put a layer of neurons "
        "between them)"
    ]
    assert "Output out is fed by fc2" in said(
        replace(net, edges=(*(e for e in net.edges if e[0] != "n2"), ("fc2", "out")))
    )[0]  # fmt: skip


def test_what_does_not_fit_is_among_the_refusals():
    found = said(float_chain([np.ones((1001, 17)), np.ones((9, 1001))]))
    assert found == [
        "it has 17 inputs, the chip 16", "it has 1,001 hidden neurons, the chip 1,000",
        "it has 9 output neurons, the chip 8",
    ]  # fmt: skip
    found = said(float_chain([np.ones((64, 2)), np.ones((64, 64)), np.ones((2, 64))]))
    assert "n0: a neuron sends to 64 hidden neurons, the chip's to 63 at most" in found[0]


def test_a_network_for_another_chip_is_refused_with_all_reasons_quickly():
    net = nets.residual()
    with pytest.raises(UnsupportedError) as caught:
        quantize(net, IMU)
    for part in ("36 inputs", "lif1, lif2, lif3, lif4: no synaptic current", "too early",
                 "SynSense Xylo IMU cannot run this network"):  # fmt: skip
        assert part in str(caught.value)


def test_rewrites_that_make_a_network_one_for_the_chip():
    cells = [neurons((2,), reset="zero", v_reset=np.array(0.1))] * 2
    net = float_chain([np.ones((2, 2))] * 2, cells, rules=Rules(v_min=0.0))
    done, applied = rewrites.rewrite(net, AUDIO2, ["all"])
    assert applied == ["soft-reset", "many-spikes", "at-threshold", "free-membrane"]
    assert said(done) == []
    assert rewrites.rewrite(done, AUDIO2, ["all"])[1] == []
    back, applied = rewrites.rewrite(done, nets.LOIHI2, ["all"])
    assert applied == ["hard-reset", "one-spike", "above-threshold"]
    assert back.rules == Rules()
