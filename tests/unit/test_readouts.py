"""Readouts that leak: what each chip does with them, and what stands for them where it cannot."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import DT, LOIHI1, LOIHI2, classifier, images, seeds
from xylo_nets import AUDIO2, float_chain, neurons

from snn2hw import families
from snn2hw.errors import UnsupportedError
from snn2hw.families.loihi import engine
from snn2hw.families.loihi.populations import Graded, Sigma
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Input, Leaky, Output
from snn2hw.pipeline.compiler import compile_network, reasons
from snn2hw.pipeline.exporting import compiled
from snn2hw.pipeline.loading import Model
from snn2hw.rewrites import rewrite
from snn2hw.simulate import floating

NAME = "summed-readout"


def read(tau, tau_synapse=None, w_in=1.0, leak=0.0, integration="euler", seed=0) -> Network:
    """Numbers that a dense layer weighs, read by an integrator; times in steps."""
    r = np.random.default_rng(seed)
    current = {} if tau_synapse is None else {
        "tau_synapse": np.array(tau_synapse * DT), "w_in": np.array(w_in)
    }  # fmt: skip
    cell = Leaky((3,), np.array(tau) * DT, np.array(1.7), np.array(leak), **current)
    nodes = {
        "in": Input((4,), 5), "fc": Affine(r.normal(0, 1, (3, 4)), np.zeros(3)), "read": cell,
        "out": Output((3,)),
    }  # fmt: skip
    edges = tuple(itertools.pairwise(nodes))
    return Network(nodes, edges, DT, 6, Rules(integration=integration))


@settings(max_examples=40)
@given(
    seeds, st.floats(1.1, 9.0), st.one_of(st.none(), st.floats(1.1, 5.0)), st.floats(0.2, 3.0),
    st.sampled_from(["euler", "exponential"]),
)  # fmt: skip
def test_totals_are_those_of_a_membrane_that_is_read_until_it_has_decayed(
    seed, tau, tau_synapse, w_in, integration
):
    net = read(tau, tau_synapse, w_in, integration=integration, seed=seed)
    changed, applied = rewrite(net, LOIHI2, [NAME])
    assert applied == [NAME]
    x = images(net, seed=seed)["in"]
    silence = np.zeros((4, 600, 4), int)
    long = floating.run(net, {"in": np.concatenate([x, silence], axis=1)}).answer.sum(axis=1)
    short = floating.run(changed, {"in": x}).answer.sum(axis=1)
    assert short == pytest.approx(long, abs=1e-9 * np.abs(short).max() + 1e-9)


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_steps_counted_by_how_many_came_after_them(steps):
    """What the docstring of the rewrite says of the totals as they were."""
    net, (keep, r) = read(4.0), (0.75, 1.7)
    weight = net.nodes["fc"].weight
    x = images(net)["in"][:, :steps]
    counted = r * (1 - keep ** (steps - np.arange(steps)))
    wanted = np.einsum("s,nsi,oi->no", counted, x, weight)
    assert floating.run(net, {"in": x}).answer.sum(axis=1) == pytest.approx(wanted)
    changed, _ = rewrite(net, LOIHI2, [NAME])
    alike = r * np.einsum("nsi,oi->no", x, weight)
    assert floating.run(changed, {"in": x}).answer.sum(axis=1) == pytest.approx(alike)


def test_a_leak_to_a_potential_is_there_from_the_first_step():
    changed, _ = rewrite(read(4.0, leak=0.3), LOIHI2, [NAME])
    silent = floating.run(changed, {"in": np.zeros((1, 6, 4), int)}).answer
    assert silent == pytest.approx(np.full((1, 6, 3), 0.3))


def test_an_integrator_without_a_leak_stays_one():
    changed, applied = rewrite(read(np.inf, 3.0, 2.0), LOIHI2, [NAME])
    assert applied == [NAME]
    cell = changed.nodes["read"]
    assert (np.isinf(cell.tau).all(), cell.tau_synapse, float(cell.r)) == (True, None, 3.4)
    assert isinstance(compile_network(changed, LOIHI2).network.population("read"), Sigma)


@pytest.mark.parametrize(
    ("tau", "tau_synapse"), [(1.0, None), (np.inf, None), (1e4, None), (1.0001, None), (1.0, 1.0)]
)
def test_what_the_chip_does_exactly_stays(tau, tau_synapse):
    net = read(tau, tau_synapse)
    assert reasons(net, LOIHI2) == []
    assert rewrite(net, LOIHI2, ["all"])[1] == []


def test_an_integrator_that_others_hear_stays():
    net = read(4.0)
    last = Leaky((3,), np.array(DT), np.ones(()), np.zeros(()))
    more = {"again": Affine(np.eye(3), np.zeros(3)), "last": last, "end": Output((3,))}
    edges = (*net.edges, ("read", "again"), ("again", "last"), ("last", "end"))
    heard = replace(net, nodes={**net.nodes, **more}, edges=edges)
    assert rewrite(heard, LOIHI2, [NAME])[1] == []


def test_the_refusal_names_what_stands_for_it():
    net = classifier(tau=3 * DT)
    (said,) = reasons(net, LOIHI2)
    assert said.startswith("read keeps a part of its membrane or current in each step")
    assert f"--rewrite {NAME}" in said
    with pytest.raises(UnsupportedError, match=NAME):
        compile_network(net, LOIHI2)
    changed, program, _ = compiled(Model("leaky", net, {}), LOIHI2, allowed=["all"])
    assert isinstance(program.network.population("read"), Graded)
    x = images(net, samples=60)
    same = engine.run(program, x).prediction == floating.run(changed, x).prediction
    assert same.mean() > 0.9


def test_the_change_is_measured():
    _, _, told = compiled(Model("leaky", classifier(tau=3 * DT), {}), LOIHI2, allowed=[NAME])
    assert list(told["applied"]) == [NAME]
    assert 0.5 < told["same_predictions"] < 1


@pytest.mark.parametrize("target", [LOIHI1, AUDIO2], ids=["loihi1", "xylo"])
def test_chips_whose_outputs_spike_say_so(target):
    net = classifier(tau=3 * DT)
    assert rewrite(net, target, ["all"], families.of(target).trains(target))[1].count(NAME) == 0
    assert any("end the network with spiking neurons" in said for said in reasons(net, target))


def test_a_readout_of_a_xylo_leaks_as_its_other_neurons_do():
    r = np.random.default_rng(1)
    cells = [neurons((6,)), neurons((3,), dash_mem=5, dash_syn=3)]
    net = float_chain([r.normal(0.2, 0.4, (6, 4)), r.normal(0.2, 0.4, (3, 6))], cells)
    out = compile_network(net, AUDIO2).network.populations[-1]
    assert (out.dash_mem == 5).all()
    assert (out.dash_syn == 3).all()
