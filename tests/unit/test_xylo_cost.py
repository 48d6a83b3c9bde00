"""Clock cycles of a Xylo: the vendor's model with its own numbers, written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xylo_nets import (
    AUDIO2,
    CHIPS,
    IMU,
    dense,
    hidden,
    network,
    program_of,
    random_program,
    readout,
)

from snn2hw.families.xylo.cost import clock, core_of, worst
from snn2hw.pipeline import counting


def made(chip, alias=-1):
    """4 inputs; 6 hidden neurons, of which 2 hear inputs and 3 are read out; 2 readout neurons."""
    w_in, w_out = np.zeros((6, 4), int), np.zeros((2, 6), int)
    w_in[:2], w_out[:, 3:] = 1, 1
    own = np.zeros((6, 6), int)
    own[:3, 0], own[1, 1] = 1, 1
    more = np.zeros((6, 6), int)
    more[0, 0], more[5, 1] = 2, 2
    links = [dense("in", "h", w_in), dense("h", "h", own, delay=1), dense("h", "out", w_out)]
    if chip is AUDIO2:
        links.append(dense("h", "h", more, delay=1, part="isyn2"))
    parts = [hidden("h", 6, alias=alias), readout("out", 2)]
    return network(parts, links, 4, numbers=chip.numbers)


def core(chip, alias=-1):
    return core_of(made(chip, alias), chip)


def test_what_the_cycles_depend_on():
    fan_out, read = np.array([3, 1, 0, 0, 0, 0]), np.array([0, 0, 0, 1, 1, 1])
    found = core(IMU)
    assert found.channel.tolist() == [3.5, 3.5, 0, 0, 0, 0]
    assert found.neuron.tolist() == (7 * fan_out + 17 * read + 3).tolist()
    # There all hidden neurons are offered inputs; synapses of one pair are one.
    found = core(AUDIO2)
    assert found.channel.tolist() == [3.5] * 6
    assert found.neuron.tolist() == [7 * 3 + 20, 7 * 2 + 20, 20, 20, 20, 20]


@pytest.mark.parametrize(
    ("chip", "p_in", "p_hid", "expected"),
    [
        # Nin (3.5 p Nien + 1) + Nhid (7 f p + 3) + Noen p (1 + 8 Nout) + Nhid (19 + 3 p) + 12 Nout
        (IMU, 0.0, 0.0, 4 + 6 * 3 + 6 * 19 + 24),
        (IMU, 1.0, 1.0, 4 * 8 + (7 * 4 + 18) + 3 * 17 + 6 * 22 + 24),
        (IMU, 0.5, 0.25, 4 * 4.5 + (7 * 4 * 0.25 + 18) + 3 * 0.25 * 17 + 6 * 19.75 + 24),
        (AUDIO2, 1.0, 1.0, 4 * 22 + (7 * 5 + 18) + 6 * 17 + 6 * 22 + 24),
    ],
)
def test_the_vendors_model(chip, p_in, p_hid, expected):
    assert core(chip).step(4 * p_in, np.full(6, p_hid)) == pytest.approx(expected)


def test_aliases():
    """Neuron 0 has neuron 1 as its alias: each costs more where it spikes."""
    found, plain = core(IMU, [1, -1, -1, -1, -1, -1]), core(IMU)
    assert (found.neuron - plain.neuron).tolist() == [1, 3, 0, 0, 0, 0]
    dear = {"alias_source": replace(IMU.timing["alias_source"], value=2.5, high=2.5)}
    other = replace(IMU, timing={**IMU.timing, **dear})
    found = core_of(made(IMU, [1, -1, -1, -1, -1, -1]), other)
    assert (found.neuron - plain.neuron).tolist() == [2.5, 3, 0, 0, 0, 0]


def test_clock():
    found = core(IMU)
    assert worst(found, 4) == 32 + 46 + 51 + 132 + 24
    assert clock(found, 4, 1e-3, IMU.timing) == pytest.approx(285 * 1.2e3)


@settings(max_examples=30)
@given(st.integers(0, 1 << 20), st.sampled_from(sorted(CHIPS)))
def test_cycles_are_those_of_every_step(seed, name):
    """Layer by layer they add up to the vendor's sum over the whole core, step by step."""
    chip = CHIPS[name]
    program = random_program(seed, chip)
    net, r = program.network, np.random.default_rng(seed)
    port = net.inputs[0]
    x = r.integers(0, 3, (2, net.time_steps, *port.shape))
    trace, counts = counting.run(program, {port.name: x}, states=True)
    report = counting.report(program, trace, counts, chip)
    found, total = core_of(net, chip), 0.0
    names = [p.name for p in net.populations if p.name not in net.outputs.values()]
    for sample in range(2):
        for t in range(net.time_steps):
            spikes = [trace.layers[k].spikes[sample, t].reshape(-1) > 0 for k in names]
            channels = np.count_nonzero(x[sample, t])
            total += found.step(channels, np.concatenate(spikes).astype(float))
    resting = found.step(0, np.zeros_like(found.neuron))
    total = total / 2 + program.tail * resting
    assert sum(layer.counts["cycle"] for layer in report.layers) == pytest.approx(total)
    pj = chip.prices["cycle"].value
    assert report.dynamic_uj.typical == pytest.approx(total * pj * 1e-6)
    assert report.period_us.typical == pytest.approx(total / chip.timing["clock"].value)
    assert report.static_uj.typical == pytest.approx(
        chip.prices["static"].value * report.period_us.typical
    )
    assert report.latency_us.typical <= report.period_us.typical * (1 + 1e-9)
    assert report.input_events == x.sum() / 2


def test_a_network_is_priced_for_its_own_program():
    program = program_of(made(IMU), IMU)
    trace, counts = counting.run(program, {"in": np.zeros((1, 5, 4), int)})
    first, second = counting.report(program, trace, counts, IMU).layers
    assert first.counts["cycle"] == (5 + program.tail) * (4 + 6 * 22)
    assert second.counts["cycle"] == (5 + program.tail) * 24
