"""What is said never to spike does not, and what is not said can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from float_nets import random_network
from hypothesis import given
from hypothesis import strategies as st
from nets import DT, lif

from snn2hw import nir_io
from snn2hw.ir.graph import wiring
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.silence import never, notes
from snn2hw.simulate import floating

FOLDER = Path(__file__).parents[1] / "fixtures" / "networks"


@given(seed=st.integers(0, 10_000))
def test_neurons_that_are_named_stay_silent(seed):
    net = random_network(seed)
    dead = never(net, wiring(net))
    r = np.random.default_rng(seed)
    x = {k: r.integers(0, n.max_value + 1, (4, 12, *n.shape)) for k, n in net.inputs().items()}
    x = {k: np.concatenate([v, np.full_like(v, v.max())]) for k, v in x.items()}
    events = floating.run(net, x).events
    assert set(dead) == set(net.neurons())
    for name, silent in dead.items():
        assert not events[name][silent].any()


def one(weight, threshold, bias=0.0, *, beta=0.5, **more):
    nodes = {"in": Input((len(weight),)), "w": Affine(np.array([weight]), np.array([bias])),
             "n": lif((1,), beta, threshold, **more), "out": Output((1,))}  # fmt: skip
    return Network(nodes, (("in", "w"), ("w", "n"), ("n", "out")), DT, 60)


@pytest.mark.parametrize(
    ("net", "spikes"),
    [
        (one([0.5, -1.0], 0.99), True),  # 0.5 / (1 - 0.5), if only the first comes
        (one([0.5, -1.0], 1.0), False),
        (one([0.5, -1.0], 1.0, fires="at"), False),  # which it nears but never reaches
        (one([1.0], 1.0, beta=0.0), False),
        (one([1.0], 1.0, beta=0.0, fires="at"), True),
        (one([-1.0], 1.0, 0.5), False),
        (one([-1.0], 0.99, 0.5), True),
        (one([0.001], 1.0, beta=1.0), True),
        (one([-0.001], 1.0, beta=1.0), False),
        (one([0.25], 0.99, tau_synapse=np.array(2 * DT), w_in=np.array(2.0)), True),
        (one([0.25], 1.0, tau_synapse=np.array(2 * DT), w_in=np.array(2.0)), False),
        (one([0.25], 0.99, v_leak=np.array(0.5)), True),
        (one([0.25], 1.0, v_leak=np.array(0.5)), False),
    ],
)
def test_the_bound_is_the_least(net, spikes):
    """A neuron with the threshold just below it spikes."""
    said = never(net, wiring(net))["n"][0]
    x = np.zeros((1, 2000 if spikes else 60, net.inputs()["in"].shape[0]), int)
    if spikes:
        x[:, :, 0] = net.nodes["w"].weight[0, 0] > 0
    assert floating.run(net, {"in": x}).answer.any() == spikes
    assert not (said and spikes)
    assert said or spikes or net.neurons()["n"].fires == "at"


@pytest.mark.parametrize("turned", ["r", "w_in", "both"])
@pytest.mark.parametrize(
    ("weight", "threshold", "spikes"),
    [([0.25], 0.99, True), ([0.25], 1.0, False), ([0.25, -9.0], 1.0, False), ([-9.0], 0.1, False)],
)
def test_what_inhibits_excites_through_a_resistance_below_zero(weight, threshold, spikes, turned):
    """The signs of weights and of a resistance (or w_in) turned together change nothing."""
    sign = -1.0 if turned != "both" else 1.0
    net = one([sign * w for w in weight], threshold, tau_synapse=np.array(2 * DT),
              w_in=np.array(2.0 if turned == "r" else -2.0))  # fmt: skip
    node = net.neurons()["n"]
    node = replace(node, r=node.r if turned == "w_in" else -node.r)
    net = replace(net, nodes={**net.nodes, "n": node})
    x = np.zeros((1, 400, len(weight)), int)
    x[:, :, 0] = weight[0] > 0
    assert floating.run(net, {"in": x}).answer.any() == spikes
    assert bool(never(net, wiring(net))["n"][0]) != spikes


def test_an_output_that_cannot_spike_is_said():
    net, _ = nir_io.read(FOLDER / "dead_output.nir", nir_io.Choice(dt=1.0))
    (note,) = notes(net)
    assert note.startswith("n1: can never spike")


def test_classes_that_cannot_spike_are_said():
    nodes = {"in": Input((2,)), "w": Affine(np.array([[2.0, 0], [0.1, 0], [0, 2]]), np.zeros(3)),
             "n": lif((3,)), "out": Output((3,))}  # fmt: skip
    net = Network(nodes, (("in", "w"), ("w", "n"), ("n", "out")), DT, 4)
    (note,) = notes(net)
    assert note.startswith("n: its neurons 1 can never spike")


def test_silence_spreads():
    """Who hears only silent neurons is silent."""
    nodes = {"in": Input((2,)), "w": Affine(np.full((2, 2), 0.1), np.zeros(2)), "a": lif((2,)),
             "w2": Affine(np.full((2, 2), 9.0), np.zeros(2)), "b": lif((2,)),
             "out": Output((2,))}  # fmt: skip
    edges = (("in", "w"), ("w", "a"), ("a", "w2"), ("w2", "b"), ("b", "out"))
    net = Network(nodes, edges, DT, 4)
    (note,) = notes(net)
    assert note.startswith("a, b: can never spike")
