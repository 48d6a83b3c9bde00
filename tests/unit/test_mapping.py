"""Placement: tiles every layer, keeps every limit, and refuses with need and limit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import DT, LOIHI2, NUMBERS, random_program, seeds

from snn2hw.errors import DoesNotFitError
from snn2hw.families.loihi.bound import lower_bound
from snn2hw.families.loihi.place import map_network, most_inputs, storage
from snn2hw.families.loihi.populations import Lif
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.placement import Placement, Slice
from snn2hw.ir.synapses import Conv, Dense, Sparse, from_matrix, matrix, sizes


def chain(shape, *layers) -> IntNetwork:
    populations, connections, before = [], [], "in"
    for i, synapses in enumerate(layers):
        out = synapses.output_shape if isinstance(synapses, Conv) else sizes(synapses)[:1]
        size = int(np.prod(out))
        populations.append(Lif(f"p{i}", out, 4095, 2048, 100, np.zeros(size)))
        connections.append(Connection(before, f"p{i}", synapses))
        before = f"p{i}"
    return IntNetwork(
        (InputPort("in", shape),), tuple(populations), tuple(connections), {"out": before}, DT, 16,
        NUMBERS, {},
    )  # fmt: skip


def kernel(out, into, shape, stride, padding=(0, 0)):
    return Conv(np.full((out, into, 3, 3), 2), shape, stride, padding)


def test_pilotnets_published_placement():
    """lava-dl's PilotNet LIF tutorial prints 25, 13, 3, 3, 2, 12, 1, 1, 1 cores.

    Its second convolution is the one that the memory model does not explain (9 instead of 13);
    the others are met within one core.
    """
    c1 = kernel(24, 3, (3, 66, 200), (2, 2))
    c2 = kernel(36, 24, c1.output_shape, (2, 2))
    c3 = kernel(48, 36, c2.output_shape, (2, 2))
    c4 = kernel(64, 48, c3.output_shape, (2, 1), (1, 0))
    c5 = kernel(64, 64, c4.output_shape, (1, 1))
    r = np.random.default_rng(0)
    d1 = Dense(np.where(r.random((100, 2560)) < 12 * 7253 / 256000, 2, 0))
    rest = [Dense(np.full(s, 2)) for s in ((50, 100), (10, 50), (1, 10))]
    net = chain((3, 66, 200), c1, c2, c3, c4, c5, d1, *rest)
    placement = map_network(net, LOIHI2)
    cores = [len(placement.of(f"p{i}")) for i in range(9)]
    published = [25, 13, 3, 3, 2, 12, 1, 1, 1]
    off = [a - b for a, b in zip(cores, published, strict=True)]
    assert off[1] == -4
    assert all(abs(d) <= 1 for i, d in enumerate(off) if i != 1), cores


def limited(**values):
    """Loihi 2 with other limits."""
    changed = {k: dataclasses.replace(LOIHI2.limits[k], value=float(v)) for k, v in values.items()}
    return dataclasses.replace(LOIHI2, limits={**LOIHI2.limits, **changed})


def bytes_of(connection, neurons):
    """What a core with these neurons pays for a connection: 64 a source, 1 or 4 a synapse."""
    weight, sparse = connection.synapses.weight, connection.synapses.kind == "sparse"
    if not sparse and np.count_nonzero(weight) <= weight.size / 2:
        sparse = True
    if isinstance(connection.synapses, Conv):
        channels = {int(np.unravel_index(n, connection.synapses.output_shape)[0]) for n in neurons}
        kernels = [weight[c] for c in channels]
        return sum(4 * np.count_nonzero(k) if sparse else k.size for k in kernels)
    rows = matrix(connection.synapses).toarray()[neurons]
    stored = 4 * np.count_nonzero(rows) if sparse else rows.size
    return 64 * np.count_nonzero(rows.any(axis=0)) + stored


def memory_of(into, neurons):
    """The bytes of a core with these neurons, 64 for the state of each."""
    return 64 * len(neurons) + sum(bytes_of(c, neurons) for c in into)


def fewest_runs(into, size, neurons, memory):
    """The least number of runs of neurons that keep both limits; None if none do."""
    least = [0] + [None] * size
    for stop in range(1, size + 1):
        before = [
            least[start]
            for start in range(max(0, stop - neurons), stop)
            if least[start] is not None and memory_of(into, list(range(start, stop))) <= memory
        ]
        least[stop] = min(before) + 1 if before else None
    return least[size]


def neurons_of(s):
    """The neurons of a slice, one by one."""
    return [s.start + n + i * s.stride for i in range(s.repeats) for n in range(s.stop - s.start)]


@settings(max_examples=60)
@given(seeds, st.integers(1, 20), st.integers(200, 3000), st.booleans())
def test_a_layer_takes_the_fewest_cores_that_hold_it(seed, neurons, memory, exact):
    """No more than runs of neurons would take; rows of channels may take fewer."""
    net = random_program(seed, loops=seed % 2 == 0).network
    into = {p.name: [net.connections[i] for i in net.into(p.name)] for p in net.populations}
    if exact:  # a core that one layer just fills
        memory = max(memory_of(into[p.name], list(range(p.size))) for p in net.populations[:2])
    chip = limited(neurons_per_core=neurons, memory_per_core=memory, chips=999)
    wanted = [fewest_runs(into[p.name], p.size, neurons, memory) for p in net.populations]
    if None in wanted:
        with pytest.raises(DoesNotFitError) as caught:
            map_network(net, chip)
        for p, found in zip(net.populations, wanted, strict=True):
            assert (f"{p.name}: one neuron needs" in str(caught.value)) == (found is None)
        return
    placement = map_network(net, chip)
    assert placement == map_network(net, chip)
    for p, found in zip(net.populations, wanted, strict=True):
        slices = placement.of(p.name)
        assert len(slices) <= found
        assert len({s.core for s in slices}) == len(slices)
        assert sorted(n for s in slices for n in neurons_of(s)) == list(range(p.size))
        for s in slices:
            assert s.uses == {
                "neurons": len(neurons_of(s)), "neuron_groups": 1,
                "memory_bytes": memory_of(into[p.name], neurons_of(s)),
            }  # fmt: skip
    for core in range(placement.cores):
        uses = [s.uses for s in placement.slices if s.core == core]
        assert sum(u["memory_bytes"] for u in uses) <= memory
        assert sum(u["neurons"] for u in uses) <= neurons
        assert len(uses) <= 8
    assert lower_bound(net, chip, ordered=False) <= lower_bound(net, chip) <= placement.cores


@pytest.mark.parametrize("ones", [4, 5, 6])
def test_up_to_half_of_the_weights_are_stored_without_zeros(ones):
    weight = np.zeros((2, 5), int)
    weight.flat[:ones] = 1
    connection = Connection("in", "p0", Dense(weight))
    assert (storage(connection, LOIHI2) == "sparse") == (ones <= 5)
    full = Sparse(np.ones(10, int), np.tile(np.arange(5), 2), np.array([0, 5, 10]), 5)
    assert storage(Connection("in", "p0", full), LOIHI2) == "sparse"


def test_refusal_names_layer_need_and_limit():
    wide = Dense(np.full((2, 4000), 2))
    with pytest.raises(DoesNotFitError) as caught:
        map_network(chain((4000,), wide), LOIHI2)
    message = str(caught.value)
    assert "p0: one neuron needs 260,064 bytes" in message
    assert "4,000 source neurons" in message
    assert "has 196,608" in message
    assert "prune" in message


def test_refusal_names_the_neuron_that_needs_most_and_what_for():
    """Every connection into it is listed, of every layer that does not fit."""
    weight = np.ones((200, 3000), int)
    weight[:199, 2:] = 0  # the last neuron alone listens to all
    image = Conv(np.ones((4, 2, 10, 10), int), (2, 10, 10))
    net = chain((3000,), from_matrix(weight))
    side = Connection("other", "p1", image)
    more = Lif("p1", (4, 1, 1), 4095, 2048, 100, np.zeros(4))
    loop = Connection("p1", "p1", Dense(np.ones((4, 4), int)), delay=1)
    net = dataclasses.replace(
        net, inputs=(*net.inputs, InputPort("other", (2, 10, 10))),
        populations=(*net.populations, more), connections=(*net.connections, side, loop),
    )  # fmt: skip
    with pytest.raises(DoesNotFitError) as caught:
        map_network(net, limited(memory_per_core=300))
    assert "p0: one neuron needs 204,064 bytes on its core " in str(caught.value)
    assert "(3,000 source neurons and 3,000 synapses from in)" in str(caught.value)
    why = "200 kernel weights; 4 source neurons and 4 synapses from p1"
    assert f"p1: one neuron needs {64 + 200 + 4 * 64 + 4} bytes on its core ({why})" in str(
        caught.value
    )


def test_a_neuron_with_the_most_inputs_fits_a_core():
    most = most_inputs(LOIHI2)
    for size in (most, 3 * most):  # stored dense, and sparse
        weight = np.zeros((1, size), int)
        weight[0, :most] = 1
        map_network(chain((size,), Dense(weight)), LOIHI2)
    weight[0, most] = 1
    with pytest.raises(DoesNotFitError):
        map_network(chain((size,), Dense(weight)), LOIHI2)


def test_refusal_when_the_board_is_full():
    small = dataclasses.replace(
        LOIHI2,
        limits={
            **LOIHI2.limits,
            "cores_per_chip": dataclasses.replace(LOIHI2.limits["cores_per_chip"], value=1.0),
            "chips": dataclasses.replace(LOIHI2.limits["chips"], value=2.0),
        },
    )
    first = kernel(24, 1, (1, 66, 200), (2, 2))
    second = kernel(2, 24, first.output_shape, (2, 2))
    net = chain((1, 66, 200), first, second)
    message = r"needs 26 cores.*has 2 \(2 chips\); p0 alone needs 25"
    with pytest.raises(DoesNotFitError, match=message):
        map_network(net, small)


def test_a_core_holds_what_it_holds_together():
    def placed(*cores, uses=4):
        return Placement(
            tuple(Slice(f"p{i}", 0, 4, core, {"neurons": uses}) for i, core in enumerate(cores)),
            {"neurons": 10}, 2,
        )  # fmt: skip

    assert placed(0, 0, 1).cores == 2
    assert placed(0, 1, 2).chips == 2
    with pytest.raises(ValueError, match=r"core 1 .* exceeds neurons"):
        placed(0, 1, 1, uses=6)
    for order in ((0, 2), (1, 0), (0, 1, 0), (1,)):
        with pytest.raises(ValueError, match="numbered in order"):
            placed(*order)


def test_slices_tile_a_layer_whatever_their_order():
    def placed(*parts):
        slices = (
            Slice("p", *part[:2], i, {"neurons": 1}, *part[2:]) for i, part in enumerate(parts)
        )
        return Placement(tuple(slices), {"neurons": 10}, 2)

    rows = (2, 6, 3, 6), (0, 2, 3, 6)  # of three channels of 3 x 2
    assert [s.span.size for s in placed(*rows).slices] == [12, 6]
    assert str(placed(*rows).slices[0].span) == "2 to 5, 3 such runs, 6 apart"
    assert placed((4, 9), (0, 4)).cores == 2
    for parts in [rows[:1], ((0, 4), (3, 9)), ((0, 4), (5, 9)), ((1, 4),), (*rows, (0, 1))]:
        with pytest.raises(ValueError, match="do not tile it"):
            placed(*parts)
    for part in [(3, 3), (-1, 2), (0, 2, 0, 0), (0, 2, 1, 5), (0, 4, 2, 3), (0, 2, 0, 4)]:
        with pytest.raises(ValueError, match=r"are none|cannot lie"):
            placed(part)
    with pytest.raises(ValueError, match="no layer has a neuron"):
        placed((0, 1, 1 << 40, 2))
    with pytest.raises(ValueError, match="more runs of neurons than"):
        placed((0, 1, 1 << 25, 2))
    twice = tuple(Slice("p", a, a + 1, 0, {"neurons": 1}) for a in (0, 1))
    with pytest.raises(ValueError, match="core 0 holds two slices of p"):
        Placement(twice, {"neurons": 10}, 2)
