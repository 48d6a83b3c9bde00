"""Fidelity, counted: a part of ``make fidelity``, and that a difference is found."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import repeat

import pytest
from fidelity import sweep
from fidelity.networks import LOIHI_1, LOIHI_2_LIF, LOIHI_2_OTHERS, SWEEPS, XYLOS, Part

from snn2hw.families.loihi.populations import Lif
from snn2hw.ir.synapses import with_weight
from snn2hw.ir.trace import SPIKES, LayerTrace

# As few networks as show every feature.
IN_ENGINE = {LOIHI_2_LIF: 300, LOIHI_2_OTHERS: 60, LOIHI_1: 200, XYLOS: 60}
TITLES = [s.title for s in SWEEPS]


@pytest.mark.parametrize("which", SWEEPS, ids=TITLES)
def test_random_networks_in_the_engine(which):
    found = sweep.count(which, Part(IN_ENGINE[which], 3), sweep.in_engine)
    assert found.networks == IN_ENGINE[which]
    assert found.mismatches == 0, found.first
    assert found.compared > 100_000
    assert sweep.missing(which, found) == []


def in_their_simulator(which):
    found = sweep.count(which, Part(which.theirs.networks, 3), sweep.in_vendor(which.vendor))
    assert found.mismatches == 0, found.first
    assert sweep.missing(which, found) == []


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("which", [LOIHI_2_LIF, LOIHI_2_OTHERS], ids=TITLES[:2])
def test_random_networks_in_lava(which):
    in_their_simulator(which)


@pytest.mark.slow
@pytest.mark.nengo_loihi
@pytest.mark.usefixtures("nengo_loihi_python")
def test_random_networks_in_the_emulator_of_loihi_1():
    in_their_simulator(LOIHI_1)


@pytest.mark.slow
@pytest.mark.xylosim
@pytest.mark.usefixtures("xylosim_python")
def test_random_networks_in_xylosim():
    in_their_simulator(XYLOS)


def changed(**by):
    """Return the engine with a fault: numbers of its neurons are off by one."""

    def wrong(program, x):
        net = program.network
        populations = tuple(
            replace(p, **{k: f(getattr(p, k)) for k, f in by.items()}) if isinstance(p, Lif) else p
            for p in net.populations
        )
        other = replace(program, network=replace(net, populations=populations))
        return sweep.in_engine(other, x)

    return wrong


def heavier(program, x):
    """Run the engine with a fault: a synapse of the last connection is heavier."""
    net = program.network
    *others, last = net.connections
    weight = last.synapses.weight.copy()
    weight.flat[:1] += 2
    other = replace(last, synapses=with_weight(last.synapses, weight))
    faulty = replace(net, connections=(*others, other))
    return sweep.in_engine(replace(program, network=faulty), x)


def one_bit(program, x):
    """Run the engine with the least of faults: one bit of one value of a state is wrong."""
    trace = sweep.in_engine(program, x)
    layer = list(trace.layers.values())[-1]
    state = next(k for k in layer.names if k != SPIKES)
    values = layer[state].copy()
    values.flat[-1] ^= 1
    layers = {**trace.layers}
    layers[list(trace.layers)[-1]] = LayerTrace(layer.spikes, {**layer.states, state: values})
    return replace(trace, layers=layers)


@pytest.mark.parametrize(
    "fault",
    [
        changed(vth=lambda n: n + 1), changed(du=lambda n: n - (n > 0)),
        changed(dv=lambda n: n - (n > 0)), changed(bias=lambda n: n + 1), heavier,
    ],
    ids=["threshold", "decay of u", "decay of v", "bias", "weight"],
)  # fmt: skip
@pytest.mark.parametrize("which", [LOIHI_2_LIF, LOIHI_1], ids=lambda s: s.title)
def test_a_fault_of_the_engine_is_found(which, fault):
    found = sweep.count(which, Part(12, 200), fault)
    assert found.mismatches > 0
    assert found.first.startswith("network ")


@pytest.mark.parametrize("which", SWEEPS, ids=TITLES)
def test_one_wrong_bit_is_found_and_counted_once(which):
    found = sweep.count(which, Part(2, 9), one_bit)
    assert found.mismatches == found.networks == 2


@pytest.mark.parametrize("which", SWEEPS, ids=TITLES)
def test_every_value_is_of_one_kind_and_size(which):
    found = sweep.count(which, Part(4, 9), sweep.in_engine)
    assert sum(found.values.values()) == found.compared
    assert {what for _, what, _ in found.values} >= {SPIKES}


def test_a_budget_of_values_ends_a_sweep_at_the_same_network():
    part, found = Part(2, 3, values=100), sweep.Count(networks=1, compared=30)
    assert len(list(sweep.until(part, 1.0, math.inf, repeat(found)))) == 4
    assert len(list(sweep.until(part, 0.5, math.inf, repeat(found)))) == 2
    assert len(list(sweep.until(replace(part, networks=9), 1.0, math.inf, repeat(found)))) == 9
    assert len(list(sweep.until(part, 1.0, 0.0, repeat(found)))) == 1


@pytest.mark.parametrize("which", [LOIHI_2_LIF, LOIHI_2_OTHERS, LOIHI_1], ids=lambda s: s.title)
def test_networks_side_by_side_compute_what_each_computes_alone(which):
    for seed in range(12):
        alone, _ = which.made(seed, 1, 1)
        program, x = which.made(seed, 3, 4)
        trace = sweep.in_engine(program, x)
        first = {k: v.reshape(*v.shape[:2], 4, -1)[:, :, 0] for k, v in x.items()}
        one = sweep.in_engine(
            alone, {p.name: first[p.name].reshape(3, -1, *p.shape) for p in alone.network.inputs}
        )
        for name, layer in one.layers.items():
            for what in layer.names:
                wide = trace.layers[name][what].reshape(3, layer.spikes.shape[1], 4, -1)
                assert (wide[:, :, 0] == layer[what].reshape(wide[:, :, 0].shape)).all()


@pytest.mark.parametrize("which", SWEEPS, ids=TITLES)
def test_a_difference_is_counted_and_named(which):
    def wrong(program, x):
        return sweep.in_engine(program, {k: 0 * v for k, v in x.items()})

    found = sweep.count(which, Part(3, 3), wrong)
    assert found.mismatches > 0
    assert found.first.startswith("network ")


def test_the_page_tells_what_was_counted():
    counts = [
        tuple(sweep.one(which, seed, Part(1, 2), sweep.in_engine) for seed in range(2))
        for which in SWEEPS
    ]
    lines = sweep.page(counts).splitlines()
    for which, columns in zip(SWEEPS, counts, strict=True):
        rows = [line for line in lines if line.startswith(f"| {which.title} |")]
        assert [row.split(" | ")[-2].replace(",", "") for row in rows] == [
            str(c.compared) for c in columns
        ]
        assert f"## {which.title}" in lines
