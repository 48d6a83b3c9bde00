"""SANA-FE counts what we count, and prices it alike: docs/results/sanafe.md tells the rest.

In an environment of its own in the user cache (Python 3.11):

    python -m pytest tests/sanafe -m sanafe
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from nets import DT, LOIHI1, placed
from sanafe_runs import SANAFE, recurrent, replayed, small_cores

from snn2hw.errors import RuntimeMissingError
from snn2hw.families.loihi.cost import FINE
from snn2hw.families.loihi.populations import Lif
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.synapses import Conv, Dense, from_matrix
from snn2hw.pipeline import counting

pytestmark = [pytest.mark.slow, pytest.mark.sanafe]


@pytest.fixture(autouse=True, scope="module")
def sanafe():
    """Install SANA-FE if need be; where that fails, CI fails and others skip."""
    try:
        SANAFE.install()
    except RuntimeMissingError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"SANA-FE IS NOT TESTED HERE: {error}")


def both(program, x):
    """Our counts of all samples, SANA-FE's, and the energies of the two in microjoules."""
    trace, counts = counting.run(program, x, states=True)
    told = replayed(program, x, trace)
    ours = {e: counts.per_sample(e, program).sum() * counts.samples for e in FINE}
    report = counting.report(program, trace, counts, program.target)
    return ours, dict(told.counts), report.dynamic_uj.typical * counts.samples, told.energy_uj


def chain(layers, side, target, steps=6):
    """Neurons without biases, whose membranes stay a while and whose currents do not."""
    into, made, before = [], [], "in"
    for name, synapses, size in layers:
        into.append(Connection(before, name, synapses))
        made.append(Lif(name, size, 4095, 512, 300, np.zeros(np.prod(size))))
        before = name
    port = (InputPort("in", (1, side, side)),)
    net = IntNetwork(port, tuple(made), tuple(into), {"out": before}, DT, steps, LOIHI1.numbers, {})
    return placed(net, target)


def test_every_count_and_the_energy_of_a_chain():
    """Weights are positive, so that no sum of what arrives is 0: ours would be at rest there."""
    r = np.random.default_rng(0)
    kernel = Conv(r.integers(1, 200, (4, 1, 3, 3)), (1, 8, 8))
    few = np.where(r.random((60, 144)) < 0.1, r.integers(1, 200, (60, 144)), 0)
    layers = [
        ("a", kernel, (4, 6, 6)), ("b", from_matrix(few), (60,)),
        ("c", Dense(r.integers(1, 100, (20, 60))), (20,)),
    ]  # fmt: skip
    program = chain(layers, 8, small_cores(4))
    assert program.placement.cores > 32  # of 4 cores a tile and 8 tiles a row
    x = {"in": (r.random((3, 6, 1, 8, 8)) < 0.1).astype(int)}
    ours, theirs, our_uj, their_uj = both(program, x)
    assert theirs == pytest.approx(ours, rel=1e-12)
    assert min(ours.values()) > 0
    assert ours["soma_update"] < ours["soma_access"]
    assert their_uj == pytest.approx(our_uj, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_every_count_of_a_network_with_loops(seed):
    """But of updates, where they differ in what a neuron at rest is."""
    program = recurrent(seed, (20, 90, 60, 10), 8, 4)
    x = {"in": (np.random.default_rng(seed).random((2, 8, 20)) < 0.2).astype(int)}
    ours, theirs, *_ = both(program, x)
    apart = abs(ours.pop("soma_update") - theirs.pop("soma_update"))
    assert theirs == pytest.approx(ours, rel=1e-12)
    assert min(ours[e] for e in ("synop_dense", "synop_sparse", "hop_x", "hop_y")) > 0
    assert apart < 0.1 * ours["soma_access"]


def test_two_connections_share_a_message_of_theirs():
    """On the chip each has an axon of its own (words.py), and so a message."""
    every = Dense(np.full((5, 3), 200))
    net = IntNetwork(
        (InputPort("in", (2,)),),
        (Lif("a", (3,), 4095, 4096, 1, np.full(3, 99)), Lif("b", (5,), 4095, 4096, 1, np.zeros(5))),
        (
            Connection("in", "a", Dense(np.full((3, 2), 200))),
            Connection("a", "b", every), Connection("a", "b", every, exponent=1),
        ),
        {"out": "b"}, DT, 4, LOIHI1.numbers, {},
    )  # fmt: skip
    ours, theirs, *_ = both(placed(net, LOIHI1), {"in": np.zeros((1, 4, 2), int)})
    assert (ours["axon_out"], theirs["axon_out"]) == (2 * 3 * 4, 3 * 4)
    assert (ours["axon_in"], theirs["axon_in"]) == (2 * 3 * 4, 3 * 4)
    assert ours["synop_dense"] == theirs["synop_dense"] == 2 * 3 * 4 * 5
