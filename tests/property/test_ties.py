"""Networks whose weights are multiples of one unit spike on the chip as in float, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import DT, LOIHI2, lif

import snn2hw
from snn2hw.errors import UnsupportedError
from snn2hw.families.loihi.quantize import quantize
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.rewrites import rewrite
from snn2hw.simulate import floating

STEPS = 8


def grid_network(seed, fires, beta, unit=0.125):
    """Return two layers of neurons that keep all (beta 1) or nothing (0) in a step."""
    r = np.random.default_rng(seed)

    def weights(*shape):
        return np.asarray(r.integers(-3, 9, shape) * unit, np.float32).astype(float)

    nodes = {
        "in": Input((6,)),
        "w1": Affine(weights(9, 6), np.asarray(r.integers(-1, 2, 9) * unit)),
        "a": lif((9,), beta, v_threshold=np.array(8 * unit)),
        "w2": Affine(weights(4, 9), np.zeros(4)),
        "b": lif((4,), beta, v_threshold=np.array(8 * unit), fires=fires),
        "out": Output((4,)),
    }
    edges = (("in", "w1"), ("w1", "a"), ("a", "w2"), ("w2", "b"), ("b", "out"))
    return Network(nodes, edges, DT, STEPS, Rules(fires=fires))


@given(
    seed=st.integers(0, 10_000),
    fires=st.sampled_from(["at", "above"]),
    beta=st.sampled_from([0.0, 1.0]),
    unit=st.sampled_from([0.125, 0.75, 2.0**-9, 5.0]),
)
def test_spikes_on_the_chip_are_those_in_float(seed, fires, beta, unit):
    net = grid_network(seed, fires, beta, unit)
    x = np.random.default_rng(seed).integers(0, 2, (5, STEPS, 6))
    ran = floating.run(net, {"in": x})
    build = snn2hw.build(net, "loihi2")
    assert (build.simulate(x).trace.spikes == ran.answer).all()


def test_a_tie_is_a_spike_or_not_as_asked():
    """Eight eighths, one in a step."""
    for fires, wanted in (("at", 1), ("above", 0)):
        nodes = {"in": Input((1,)), "w": Affine(np.full((1, 1), 0.125), np.zeros(1)),
                 "a": lif((1,), 1.0), "out": Output((1,))}  # fmt: skip
        edges = (("in", "w"), ("w", "a"), ("a", "out"))
        net = Network(nodes, edges, DT, 8, Rules(fires=fires))
        x = np.ones((1, 8, 1), int)
        assert snn2hw.build(net, "loihi2").simulate(x).trace.spikes.sum() == wanted


def test_the_rewrite_keeps_ties_where_they_are_exact():
    net = grid_network(0, "at", 1.0)
    leaky = lif((4,), 0.5, fires="at")
    mixed = Network({**net.nodes, "b": leaky}, net.edges, DT, STEPS, net.rules)
    with pytest.raises(UnsupportedError, match="b: neurons that leak spike at the threshold"):
        quantize(mixed, LOIHI2)
    assert rewrite(net, LOIHI2, ["all"])[1] == []
    done, applied = rewrite(mixed, LOIHI2, ["all"])
    assert applied == ["above-threshold"]
    assert {k: n.fires for k, n in done.neurons().items()} == {"a": "at", "b": None}
    assert done.rules.fires == "above"
    was, now = (quantize(n, LOIHI2).population("a") for n in (net, done))
    assert was.vth == now.vth


def test_what_a_rewrite_does_to_ties_is_measured_on_the_chip():
    """Ten tenths of single precision are above one; in integers, at it: ``b`` is silent there."""
    weight = np.full((1, 1), np.float32(0.1), float)
    nodes = {
        "in": Input((1,)),
        "w": Affine(weight, np.zeros(1)),
        "a": lif((1,), 1.0),
        "w2": Affine(weight * 10, np.zeros(1)),
        "b": lif((1,), 0.5),
        "out": Output((1,)),
    }
    edges = (("in", "w"), ("w", "a"), ("a", "w2"), ("w2", "b"), ("b", "out"))
    net = Network(nodes, edges, DT, 40, Rules(fires="at"))  # fmt: skip
    with pytest.warns(UserWarning, match="on the chip"):
        build = snn2hw.build(net, "loihi2", rewrite=["all"])
    before, after = build.rewrites["spikes_per_sample"]
    assert before == after > 0
    assert before / 2 <= build.rewrites["on_chip"]["spikes_per_sample"] < 0.6 * before
