"""Fidelity, counted: the engine on 1,000 networks, and real Lava on the first 100 (slow)."""

from __future__ import annotations

import pytest
from fidelity import sweep


def test_a_thousand_networks_in_the_engine():
    found = sweep.count(range(sweep.NETWORKS), sweep.in_engine)
    assert found.networks == 1000
    assert found.mismatches.total() == 0, found.first
    assert min(found.compared[k] for k in ("u", "v", "spikes")) > 100_000
    assert sweep.missing(found) == []


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_a_hundred_networks_in_lava():
    found = sweep.count(range(sweep.IN_LAVA), sweep.in_lava)
    assert found.mismatches.total() == 0, found.first
    assert sweep.missing(found) == []


def test_a_difference_is_counted_and_named():
    def wrong(program, x):
        return sweep.in_engine(program, {k: 0 * v for k, v in x.items()})

    found = sweep.count(range(3), wrong)
    assert found.mismatches.total() > 0
    assert found.first.startswith("network ")
