"""What a chip's neurons cannot do is refused; what they just can is not."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from nets import DT, LOIHI2, lif

from snn2hw.errors import UnsupportedError
from snn2hw.families.loihi.quantize import quantize, refusals
from snn2hw.ir.graph import wiring
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Delay, Input, Leaky, Output, Threshold, input_shape


def chain(cell, *before, largest=1, rules=None):
    """An input, linear nodes, and a cell that is read."""
    (size,) = input_shape(cell)
    same = Affine(np.eye(size), np.zeros(size))
    nodes = {"in": Input((size,), largest)}
    nodes |= {f"n{i}": node for i, node in enumerate(before or (same,))}
    nodes |= {"cell": cell, "out": Output((size,))}
    names = list(nodes)
    return Network(nodes, tuple(itertools.pairwise(names)), DT, 3, rules or Rules())


def integrator(tau=np.inf, v_leak=0.0, **more):
    return Leaky((2,), np.array(tau), np.array(1 / DT), np.array(v_leak), **more)


def refused(net, target=LOIHI2):
    """What of a network is refused; all of it is in the error, and none means that it compiles."""
    found = refusals(net, wiring(net), target)
    if not found:
        quantize(net, target)
        return found
    with pytest.raises(UnsupportedError) as caught:
        quantize(net, target)
    assert "; ".join(found) in str(caught.value)
    return found


def able(**abilities):
    return replace(LOIHI2, abilities={**LOIHI2.abilities, **abilities})


SLOW = {"w_in": np.array(1.0)}  # of a synapse


@pytest.mark.parametrize(
    ("net", "problem"),
    [
        (chain(lif((2,))), ""),
        (
            chain(lif((2,)), rules=Rules(fires="at")),
            "cell: neurons that leak spike at the threshold already",
        ),
        (chain(lif((2,), fires="at")), "cell: neurons that leak spike at the threshold already"),
        (chain(lif((2,), beta=1.0), rules=Rules(fires="at")), ""),
        (chain(lif((2,), beta=0.0, fires="at")), ""),
        (chain(lif((2,)), rules=Rules(spikes="many")), "its neurons send several spikes a step"),
        (chain(lif((2,)), rules=Rules(v_min=-1.5)), "its membranes stay above -1.5,"),
        (chain(lif((2,)), rules=Rules(v_min=0.0)), "its membranes stay above 0,"),
        (chain(lif((2,), v_reset=np.array([0.0, 0.5]))), "cell resets to 0.5, the chip to 0"),
        (chain(lif((2,), v_reset=np.array(-0.5))), "cell resets to -0.5, the chip to 0"),
        (
            chain(lif((2,), reset="subtract")),
            "cell: a spike takes the threshold from the membrane, which the chip's neuron does not",
        ),
        (
            chain(lif((2,), reset="zero-late")),
            "cell: a spike sets the membrane to v_reset one step late, and what that step brings "
            "is lost, which the chip's neuron does not do",
        ),
        (chain(Threshold(np.array([1.0, 0.0]))), "cell has a threshold that is not positive"),
        (chain(Threshold(np.array([-1.0, 1.0]))), "cell has a threshold that is not positive"),
        (chain(Threshold(np.array([1.0, 2.0]))), ""),
        (chain(lif((2,), beta=0.0)), ""),
        (chain(lif((2,), beta=1.0)), ""),
        (
            chain(lif((17,), tau=DT * np.arange(1, 18), r=np.ones(17))),
            "cell has 17 time constants, the chip one a population, which can be divided into 16",
        ),
        (
            chain(lif((17,), tau_synapse=DT * np.arange(1, 18), **SLOW)),
            "cell has 17 time constants, the chip one a population, which can be divided into 16",
        ),
        (chain(lif((16,), tau=DT * np.arange(1, 17), r=np.ones(16))), ""),
        (chain(lif((2,), tau_synapse=np.array(DT), **SLOW)), ""),
        (chain(lif((2,), tau_synapse=np.array(8000 * DT), **SLOW)), ""),
        (
            chain(lif((2,), tau_synapse=np.array(8300 * DT), **SLOW)),
            "cell has a synapse time constant too long for 0.001 s steps",
        ),
        (chain(integrator()), ""),
        (chain(integrator(DT)), ""),
        (chain(integrator(DT, v_leak=0.5)), ""),
        (chain(integrator(2 * DT)), "cell keeps a part of its membrane or current in each step"),
        (
            chain(integrator(DT, tau_synapse=np.array(2 * DT), **SLOW)),
            "cell keeps a part of its membrane or current in each step",
        ),
        (
            chain(lif((2,)), Affine(np.eye(2), np.ones(2)), Delay(np.array([0.0, DT]))),
            "cell has a bias that a Delay holds back, which the chip cannot",
        ),
        (chain(lif((2,)), Affine(np.eye(2), np.zeros(2)), Delay(np.array([0.0, DT]))), ""),
    ],
)
def test_a_network_is_refused_for_what_it_asks_too_much(net, problem):
    found = refused(net)
    assert len(found) == bool(problem), found
    assert not problem or found[0].startswith(problem)


@pytest.mark.parametrize("largest", [1, 255, 256])
def test_plain_spikes_stand_for_digits_as_far_as_exponents_go(largest):
    net = chain(lif((2,)), largest=largest)
    found = refused(net, able(graded_input=False))
    assert refused(net) == []
    assert len(found) == (largest > 255)
    assert not found or found[0].startswith("cell takes graded values up to 256 from in, which")


def test_only_what_hears_a_graded_input_is_named():
    nodes = {
        "a": Input((2,), 300), "b": Input((2,), 1), "c": Input((2,), 700),
        "one": lif((2,)), "two": lif((2,)), "out": Output((2,)),
    }  # fmt: skip
    edges = (("a", "one"), ("c", "one"), ("b", "two"), ("one", "two"), ("two", "out"))
    found = refused(Network(nodes, edges, DT, 3), able(graded_input=False))
    wanted = [
        "one takes graded values up to 300 from a",
        "one takes graded values up to 700 from c",
    ]
    assert [f.partition(",")[0] for f in found] == wanted


def test_potentials_need_a_chip_that_sends_them():
    for net in (chain(integrator()), chain(integrator(2 * DT))):
        found = refused(net, able(graded_output=False))
        said = "cell gives its membrane potential and never spikes (end the network with spiking "
        assert found == [f"{said}neurons)"]


def test_everything_is_refused_at_once():
    cell = lif((20,), tau=DT * np.arange(1, 21), r=np.ones(20), reset="subtract")
    delay = Delay(np.linspace(0, 19 * DT, 20))
    net = chain(cell, Affine(np.eye(20), np.ones(20)), delay, largest=256,
                rules=Rules(fires="at", spikes="many", v_min=-1.0))  # fmt: skip
    assert len(refused(net, able(graded_input=False))) == 7


def test_several_outputs_are_taken():
    net = chain(lif((2,)))
    twice = replace(net, nodes={**net.nodes, "more": lif((2,)), "last": Output((2,))},
                    edges=(*net.edges, ("cell", "more"), ("more", "last")))  # fmt: skip
    assert refused(twice) == []
