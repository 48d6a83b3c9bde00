"""Clock cycles of a Xylo: the vendor's model with its own numbers, written out."""

from __future__ import annotations

import numpy as np
import pytest
from xylo_nets import AUDIO2, IMU, dense, hidden, network, readout

from snn2hw.families.xylo.cost import clock, core_of, cycles, power, worst


def core(chip, alias=-1):
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
    return core_of(network(parts, links, 4, numbers=chip.numbers), chip)


def test_what_the_cycles_depend_on():
    found = core(IMU)
    assert (found.inputs, found.hidden, found.readout, found.input_targets) == (4, 6, 2, 2)
    assert found.fan_out.tolist() == [3, 1, 0, 0, 0, 0]
    assert found.readout_sources.tolist() == [0, 0, 0, 1, 1, 1]
    # There all hidden neurons are offered inputs; synapses of one pair are one.
    found = core(AUDIO2)
    assert found.input_targets == 6
    assert found.fan_out.tolist() == [3, 2, 0, 0, 0, 0]
    assert found.readout_sources.sum() == 6


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
    found = cycles(core(chip), np.full(4, p_in), np.full(6, p_hid), chip.timing)
    assert float(found) == pytest.approx(expected)


def test_each_step_by_its_own_spikes():
    inputs, spiking = np.zeros((3, 4)), np.zeros((3, 6))
    inputs[1, 2] = spiking[2, 0] = 1
    idle, entering, sending = cycles(core(IMU), inputs, spiking, IMU.timing)
    assert (idle, entering - idle, sending - idle) == (160, 7, pytest.approx(3 * 7 + 3))


def test_aliases():
    """One of six has an alias: shares of 1/6 as source and as target."""
    found = cycles(core(IMU, [1, -1, -1, -1, -1, -1]), np.zeros(4), np.full(6, 0.5), IMU.timing)
    plain = cycles(core(IMU), np.zeros(4), np.full(6, 0.5), IMU.timing)
    assert float(found - plain) == pytest.approx(6 * (3 * 0.5 / 6 + 0.5 / 6))


def test_clock_and_power():
    found = core(IMU)
    assert worst(found, IMU.timing) == 32 + 46 + 51 + 132 + 24
    assert clock(found, 1e-3, IMU.timing) == pytest.approx(285 * 1.2e3)
    assert power(1e6, IMU.prices) == pytest.approx(216e-6 + 14.9e-6)
