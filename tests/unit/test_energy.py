"""The bill: counts by hand, prices that reproduce their calibration, time by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import LOIHI2, images, random_program, residual, seeds, tiny

from snn2hw import estimator, mapping
from snn2hw.ir.integer import Connection
from snn2hw.ir.synapses import Dense, matrix
from snn2hw.lower import lower
from snn2hw.pipeline.builds import estimate
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import engine


def test_prices_reproduce_the_measurement_they_are_fitted_to():
    c = LOIHI2.calibration
    synops, updates = c["pilotnet_synops"].value, c["pilotnet_updates"].value
    dynamic_mj = (
        synops * LOIHI2.prices["synop"].value + updates * LOIHI2.prices["update"].value
    ) * 1e-9
    assert dynamic_mj == pytest.approx(c["pilotnet_dynamic"].value, rel=2e-3)
    ratio = LOIHI2.prices["update"].value / LOIHI2.prices["synop"].value
    assert ratio == pytest.approx((51.2 + 21.6) / 24.0, rel=2e-3)


def test_counts_by_hand():
    program = compile_network(tiny(), LOIHI2)
    x = {"input": np.zeros((1, 4, 4), int)}
    x["input"][0, 0] = [1, 0, 0, 1]  # drives lif1 neuron 0 with 1.5, neuron 2 with -0.75
    x["input"][0, 2] = [0, 1, 1, 0]  # neuron 1 with 1.375
    trace = engine.run(program, x, states=True)
    fired = trace.layers["lif1"].spikes[0]
    assert fired.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    report = estimate(program, trace, LOIHI2)
    first, second = report.layers
    # inputs 0 and 3 reach 2 and 2 neurons, inputs 1 and 2 reach 2 and 2
    assert (first.spikes, first.synops, first.updates) == (2, 2 + 2 + 2 + 2, 3 * 4)
    # neuron 0 reaches one of lif2, neuron 1 both; stored densely, each spike is charged for both
    assert (second.synops, second.updates) == (1 + 2, 2 * 4)
    assert second.synops_charged == 4
    uj = (4 * 24.7 + 8 * 74.9) * 1e-6
    assert second.dynamic_uj.typical == pytest.approx(uj)


def test_time_of_a_step_is_the_busiest_cores():
    program = compile_network(tiny(), LOIHI2)
    x = {"input": np.ones((1, 4, 4), int)}
    report = estimate(program, engine.run(program, x), LOIHI2)
    # every step lif1's core takes 4 events of 3 stored synapses (9 of 12 are not zero: dense)
    step_us = 1.8 + (12 * 1.2 + 3 * 9.7) * 1e-3
    assert report.period_us.typical == pytest.approx(4 * step_us)
    assert report.latency_us.typical == pytest.approx((4 + 2) * step_us)
    assert report.static_uj.typical == pytest.approx(0.232 * 4 * step_us)
    assert report.io_us.typical == pytest.approx(16 * 1.466)


def test_a_loop_waits_until_the_sample_has_left():
    net = compile_network(tiny(), LOIHI2).network
    back = Connection("lif1", "lif1", Dense(np.zeros((3, 3), int)), delay=1)
    net = replace(net, connections=(*net.connections, back))
    program = lower(net, mapping.map_network(net, LOIHI2), LOIHI2)
    report = estimate(program, engine.run(program, {"input": np.ones((1, 4, 4), int)}), LOIHI2)
    # lif1's core takes 12 synapses a step as above, and none in the two steps that lif2 ends in
    period_us = 6 * 1.8 + (4 * (12 * 1.2 + 3 * 9.7) + 2 * 3 * 9.7) * 1e-3
    assert report.period_us.typical == pytest.approx(period_us)
    assert report.latency_us == report.period_us
    assert [layer.updates for layer in report.layers] == [3 * 6, 2 * 6]


@settings(max_examples=20)
@given(seeds, st.booleans())
def test_ranges_are_ordered_and_layers_add_up(seed, loops):
    program = random_program(seed, loops=loops)
    x = images(program.network, samples=3, seed=seed)
    trace = engine.run(program, x)
    report = estimate(program, trace, LOIHI2)
    if loops:  # the output may be done before the last layer is
        assert 0 < report.latency_us.typical <= report.period_us.typical * (1 + 1e-9)
    for part in report.boundaries().values():
        for r in part.values():
            assert 0 <= r.low <= r.typical <= r.high
        assert part["total_uj"].typical == pytest.approx(
            part["static_uj"].typical + part["dynamic_uj"].typical
        )
    assert report.dynamic_uj.typical == pytest.approx(
        sum(x.dynamic_uj.typical for x in report.layers)
    )
    for layer in report.layers:
        assert layer.synops <= layer.synops_charged + 1e-9


@settings(max_examples=20)
@given(seeds)
def test_synops_are_spikes_that_meet_weights(seed):
    program = random_program(seed)
    x = images(program.network, samples=2, seed=seed)
    trace = engine.run(program, x, states=True)
    sent = {k: v.reshape(*v.shape[:2], -1) for k, v in x.items()}
    sent |= {
        k: layer.spikes.reshape(*layer.spikes.shape[:2], -1) for k, layer in trace.layers.items()
    }
    counts = estimator.layer_counts(program, trace)
    for p in program.network.populations:
        met = 0
        for i in program.network.into(p.name):
            c = program.network.connections[i]
            met += ((sent[c.pre] != 0) @ (matrix(c.synapses).toarray() != 0).T.astype(int)).sum()
        assert counts[p.name].synops == pytest.approx(met / trace.samples)


def test_zeros_cost_nothing_once_they_are_left_out():
    program = compile_network(residual(), LOIHI2)
    c = program.network.connections[-1]
    assert not mapping.stored_sparse(c, LOIHI2)
    pruned = type(c)(c.pre, c.post, type(c.synapses)(c.synapses.weight * (np.arange(108) % 4 == 0)))
    assert mapping.stored_sparse(pruned, LOIHI2)
