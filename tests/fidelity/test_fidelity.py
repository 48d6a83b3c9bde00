"""Fidelity, counted: a part of ``make fidelity``, and that a difference is found."""

from __future__ import annotations

import pytest
from fidelity import sweep
from fidelity.networks import LOIHI_1, LOIHI_2_LIF, LOIHI_2_OTHERS, SWEEPS, XYLOS, Part

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


@pytest.mark.parametrize("which", SWEEPS, ids=TITLES)
def test_a_difference_is_counted_and_named(which):
    def wrong(program, x):
        return sweep.in_engine(program, {k: 0 * v for k, v in x.items()})

    found = sweep.count(which, Part(3, 3), wrong)
    assert found.mismatches > 0
    assert found.first.startswith("network ")


def test_the_page_tells_what_was_counted():
    counts = [
        (sweep.one(which, 0, 2, sweep.in_engine), sweep.one(which, 1, 2, sweep.in_engine))
        for which in SWEEPS
    ]
    lines = sweep.page(counts).splitlines()
    for which, columns in zip(SWEEPS, counts, strict=True):
        rows = [line for line in lines if line.startswith(f"| {which.title} |")]
        assert [row.split(" | ")[-2].replace(",", "") for row in rows] == [
            str(c.compared) for c in columns
        ]
        assert f"## {which.title}" in lines
