"""Networks check themselves, and paths of linear nodes compose exactly."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from nets import DT, lif, residual, seeds, tiny

from snn2hw.errors import NetworkError
from snn2hw.families.loihi.definition import correlate
from snn2hw.ir.discrete import FEW, MANY, coefficients, contents
from snn2hw.ir.graph import output_populations, wiring
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d, Delay, Flatten, Input, Output, Pool2d, Scale
from snn2hw.ir.synapses import Conv, fan_out, matrix


def test_a_small_population_steps_as_a_large_one_and_nobody_changes_how():
    """The steps of small ones are kept, and given to everybody."""
    for integration in ("euler", "exponential"):
        steps = [
            coefficients(lif((n,), beta=0.7, tau_synapse=np.full(n, 3 * DT)), DT, integration)
            for n in (FEW, MANY, MANY + 1)
        ]
        for f in fields(steps[0]):
            found = [getattr(step, f.name) for step in steps]
            assert len({float(np.unique(x)[0]) for x in found}) == 1
            assert all(np.unique(x).size == 1 and not x.flags.writeable for x in found)
    for size in (2, FEW + 1, MANY + 1):
        neuron = lif((size,), beta=0.7)
        remembered = coefficients(neuron, DT) is coefficients(neuron, DT)
        assert remembered == (size <= MANY)
    neuron = lif((2,), beta=0.7)
    euler = coefficients(neuron, DT).keep_voltage
    assert (coefficients(neuron, 2 * DT).keep_voltage < euler).all()
    assert (coefficients(neuron, DT, "exponential").keep_voltage > euler).all()


@pytest.mark.parametrize("size", [3, FEW + 1])
def test_neurons_of_equal_numbers_have_one_key(size):
    one, other = (lif((size,), beta=0.7, threshold=np.arange(1.0, size + 1)) for _ in range(2))
    assert one is not other
    assert contents(one) == contents(other)
    changed = replace(one, v_threshold=np.arange(2.0, size + 2))
    turned = replace(one, v_threshold=one.v_threshold[::-1])
    assert len({contents(x) for x in (one, changed, turned, replace(one, reset="zero-late"))}) == 4


def test_every_problem_is_listed_at_once():
    nodes = {
        "in": Input((3,)),
        "fc": Affine(np.full((2, 4), np.nan), np.zeros(2)),
        "lif": lif((2,), threshold=-1.0),
        "lost": Affine(np.eye(2), np.zeros(2)),
        "out": Output((2,)),
    }
    edges = (("in", "fc"), ("fc", "lif"), ("lif", "out"), ("lif", "nowhere"))
    with pytest.raises(NetworkError) as caught:
        Network(nodes, edges, -1.0)
    for part in (
        "time step is -1.0", "names nowhere, which does not exist",
        "in gives (3,) but fc takes (4,)", "weight holds 8 values that are NaN",
        "v_threshold must be positive", "lost has no input",
    ):  # fmt: skip
        assert part in str(caught.value)


def test_values_are_frozen():
    net = tiny()
    with pytest.raises(ValueError, match="read-only"):
        net.nodes["fc1"].weight[0, 0] = 1
    with pytest.raises(TypeError):
        net.nodes["fc1"] = None


def test_digest_sees_values_and_edges():
    assert tiny().digest() == tiny().digest()
    assert residual(seed=1).digest() != residual(seed=2).digest()


@settings(max_examples=40)
@given(seeds)
def test_convolution_unrolls_to_the_same_numbers(seed):
    r = np.random.default_rng(seed)
    groups = int(r.integers(1, 3))
    shape = (groups * int(r.integers(1, 3)), int(r.integers(5, 8)), int(r.integers(5, 8)))
    kernel = r.integers(-9, 9, (groups * 2, shape[0] // groups, *r.integers(1, 4, 2)))
    conv = Conv(
        kernel,
        shape,
        tuple(r.integers(1, 4, 2)),
        tuple(r.integers(0, 3, 2)),
        tuple(r.integers(1, 3, 2)),
        groups,
    )
    x = r.integers(0, 5, shape)
    assert (matrix(conv) @ x.reshape(-1) == correlate(conv, x[None]).reshape(-1)).all()
    reach = (matrix(conv).toarray() != 0).sum(axis=0)
    assert (fan_out(conv) == reach).all()


def test_pooling_and_dense_compose_to_one_map():
    r = np.random.default_rng(0)
    fc = Affine(r.normal(size=(3, 8)), r.normal(size=3))
    nodes = {
        "in": Input((2, 4, 4)),
        "pool": Pool2d((2, 4, 4), (2, 2), (2, 2), (0, 0), average=True),
        "flatten": Flatten((2, 2, 2)),
        "fc": fc,
        "lif": lif((3,)),
        "out": Output((3,)),
    }
    names = list(nodes)
    net = Network(nodes, tuple(itertools.pairwise(names)), DT, 2)
    into = wiring(net).into["lif"]
    (source,) = into.sources
    x = r.normal(size=(2, 4, 4))
    pooled = x.reshape(2, 2, 2, 2, 2).mean(axis=(2, 4)).reshape(-1)
    assert source.name == "in"
    assert np.allclose(matrix(source.synapses) @ x.reshape(-1), fc.weight @ pooled)
    assert np.allclose(into.bias, fc.bias)


def test_biases_of_a_chain_of_linear_nodes_add_up():
    r = np.random.default_rng(0)
    a, b = (
        Affine(r.normal(size=(4, 2)), r.normal(size=4)),
        Affine(r.normal(size=(3, 4)), r.normal(size=3)),
    )
    nodes = {"in": Input((2,)), "a": a, "b": b, "lif": lif((3,)), "out": Output((3,))}
    net = Network(nodes, (("in", "a"), ("a", "b"), ("b", "lif"), ("lif", "out")), DT, 2)
    into = wiring(net).into["lif"]
    assert np.allclose(into.bias, b.weight @ a.bias + b.bias)
    assert np.allclose(into.sources[0].synapses.weight, b.weight @ a.weight)


def test_bias_of_a_convolution_is_one_a_channel():
    kernel = Conv(np.ones((2, 1, 3, 3)), (1, 4, 4))
    nodes = {
        "in": Input((1, 4, 4)), "conv": Conv2d(kernel, np.array([1.0, 2.0])),
        "lif": lif((2, 2, 2)), "out": Output((2, 2, 2)),
    }  # fmt: skip
    net = Network(nodes, (("in", "conv"), ("conv", "lif"), ("lif", "out")), DT, 2)
    assert wiring(net).into["lif"].bias.tolist() == [1.0] * 4 + [2.0] * 4


def _recurrent(back, **more):
    nodes = dict(tiny().nodes) | {"back": back} | more
    edges = [*tiny().edges, ("lif1", "back"), ("back", "lif1")]
    return Network(nodes, tuple(edges), DT, 2)


def test_an_edge_that_closes_a_loop_takes_one_step():
    wires = wiring(_recurrent(Affine(np.eye(3), np.zeros(3))))
    assert wires.closing == {("lif1", "lif1")}
    assert {(s.name, s.delay) for s in wires.into["lif1"].sources} == {("input", 0), ("lif1", 1)}
    assert [s.delay for s in wires.into["lif2"].sources] == [0]


def test_a_delay_on_a_loop_stands_for_itself():
    wires = wiring(_recurrent(Delay(np.array([3 * DT, DT, 3 * DT]))))
    assert not wires.closing
    own = {s.delay: s for s in wires.into["lif1"].sources if s.name == "lif1"}
    assert set(own) == {1, 3}
    assert matrix(own[1].synapses).toarray().tolist() == np.diag([0, 1, 0]).tolist()
    assert matrix(own[3].synapses).toarray().tolist() == np.diag([1, 0, 1]).tolist()


def test_networks_of_the_same_linear_nodes_are_each_wired_as_they_are():
    """What lies between neurons is composed once for all networks that have it in common."""
    net = _recurrent(Delay(np.array([4 * DT, 4 * DT, 4 * DT])))
    slower = replace(net, dt=2 * DT)
    ahead = [("fc1" if edge == ("lif1", "back") else edge[0], edge[1]) for edge in net.edges]
    later = replace(net, edges=tuple(ahead))
    for one, back in ((net, ("lif1", 4)), (slower, ("lif1", 2)), (later, ("input", 4))):
        sources = wiring(one).into["lif1"].sources
        assert {(s.name, s.delay) for s in sources} == {("input", 0), back}


def test_loops_without_neurons_are_refused_by_name():
    nodes = dict(tiny().nodes) | {k: Affine(np.eye(3), np.zeros(3)) for k in ("a", "b")}
    edges = (*tiny().edges, ("fc1", "a"), ("a", "b"), ("b", "a"), ("b", "lif1"))
    with pytest.raises(NetworkError, match="a, b form a loop that holds no neurons"):
        Network(nodes, edges, DT, 2)


def test_many_ways_through_linear_nodes_are_one_map():
    """Sixty diamonds in a row: 2**60 paths."""
    nodes, edges = {"input": Input((2,))}, []
    before = "input"
    for i in range(60):
        nodes |= {f"a{i}": Scale(np.full(2, 0.25)), f"b{i}": Scale(np.full(2, 0.75))}
        nodes[f"c{i}"] = Flatten((2,))
        edges += [(before, f"a{i}"), (before, f"b{i}"), (f"a{i}", f"c{i}"), (f"b{i}", f"c{i}")]
        before = f"c{i}"
    nodes |= {"lif": lif((2,)), "output": Output((2,))}
    net = Network(nodes, (*edges, (before, "lif"), ("lif", "output")), DT, 2)
    (source,) = wiring(net).into["lif"].sources
    assert matrix(source.synapses).toarray().tolist() == np.eye(2).tolist()


def test_order_follows_edges_not_names():
    order = wiring(residual()).order
    assert order == ("lif1", "lif2", "lif3", "lif4")
    assert output_populations(residual()) == {"output": "lif4"}


def test_output_must_be_fed_by_neurons():
    nodes = dict(tiny().nodes) | {"last": Affine(np.eye(2), np.zeros(2))}
    edges = tuple(e for e in tiny().edges if e[1] != "output")
    net = Network(nodes, (*edges, ("lif2", "last"), ("last", "output")), DT, 2)
    with pytest.raises(NetworkError, match="End the network with a spiking layer"):
        output_populations(net)
