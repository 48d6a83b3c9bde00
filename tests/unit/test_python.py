"""The Python verbs tell what the commands tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nets import LOIHI2, tiny

import snn2hw
from snn2hw.errors import InputError
from snn2hw.ir.arrays import frozen
from snn2hw.ir.network import Network


def soft() -> Network:
    net = tiny()
    nodes = {
        k: replace(n, reset="subtract") if k in net.neurons() else n for k, n in net.nodes.items()
    }
    return Network(nodes, net.edges, net.dt, net.time_steps, net.rules)


def test_a_build_reports_its_rewrites():
    with pytest.warns(UserWarning, match=r"rewrite hard-reset|together") as told:
        built = snn2hw.build(soft(), rewrite=["all"])
    assert built.rewrites is not None
    assert list(built.rewrites["applied"]) == ["hard-reset"]
    assert 0 <= built.rewrites["same_predictions"] <= 1
    said = " ".join(str(w.message) for w in told)
    assert "rewrite hard-reset" in said
    assert "of the predictions stay" in said
    assert snn2hw.build(tiny(), rewrite=["all"]).rewrites is None


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.uint8])
def test_whole_numbers_of_any_type_measure_rewrites(kind):
    net = soft()
    ((port, node),) = net.inputs().items()
    x = (np.random.default_rng(0).random((6, 8, *node.shape)) < 0.5).astype(kind)
    for given in (x, {port: x}):
        with pytest.warns(UserWarning, match="hard-reset"):
            built = snn2hw.build(
                net, "loihi2", time_steps=x.shape[1], rewrite=["hard-reset"], x=given
            )
        assert built.simulate(given).prediction.size == 6
    with pytest.raises(InputError, match="must hold integers"):
        snn2hw.build(net, "loihi2", time_steps=8, rewrite=["hard-reset"], x=x * np.float32(0.5))


def test_the_bill_is_at_the_prices_of_the_target_that_is_given():
    ran = snn2hw.build(tiny()).simulate(np.ones((2, 4, 4), int))
    dearer = replace(
        LOIHI2,
        prices={
            k: replace(f, value=2 * f.value, high=2 * f.high) for k, f in LOIHI2.prices.items()
        },
    )
    assert snn2hw.energy(ran, dearer).dynamic_uj.typical == pytest.approx(
        2 * snn2hw.energy(ran).dynamic_uj.typical
    )
    for other in (replace(LOIHI2, family="another"), "loihi1", "xylo-imu"):
        with pytest.raises(InputError, match="counts other events"):
            snn2hw.energy(ran, other)


def test_what_is_frozen_is_not_copied_again():
    mine = np.arange(6.0)
    held = frozen(mine)
    assert not np.shares_memory(mine, held)
    assert frozen(held) is held
    view = held.reshape(2, 3)
    assert frozen(view) is view
    assert frozen(view.T) is not view.T
    assert frozen(held, np.int32).dtype == np.int32
    shown = mine[:3]
    shown.flags.writeable = False  # but what it is a part of can be written
    assert not np.shares_memory(frozen(shown), mine)
