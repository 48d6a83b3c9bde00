"""Spikes between cores, and which core lies where on the mesh."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import DT, LOIHI1, LOIHI2, random_program, seeds
from scipy import sparse

from snn2hw.families.loihi import mesh
from snn2hw.families.loihi.place import map_network
from snn2hw.families.loihi.populations import Lif
from snn2hw.families.loihi.traffic import load
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.placement import Span
from snn2hw.ir.synapses import Conv, Dense, matrix


def with_limits(target, **values):
    changed = {k: dataclasses.replace(target.limits[k], value=float(v)) for k, v in values.items()}
    return dataclasses.replace(target, limits={**target.limits, **changed})


def spans_of(placement, net):
    return {p.name: [(s.core, s.span) for s in placement.of(p.name)] for p in net.populations}


def one_by_one(net, spans, cores, spikes):
    """Each spike goes once to each part that hears its neuron, over each connection."""
    found = np.zeros((cores, cores), int)
    for c in net.connections:
        there = matrix(c.synapses).toarray() != 0
        for a, before in spans.get(c.pre, ()):
            for b, after in spans[c.post]:
                heard = there[after.where].any(axis=0)
                found[a, b] += (heard * spikes[c.pre])[before.where].sum()
    return found


@settings(max_examples=40)
@given(seeds)
def test_every_spike_goes_once_to_each_core_that_hears_it(seed):
    net = random_program(seed, loops=seed % 2 == 0).network
    net = dataclasses.replace(
        net, connections=tuple(c for c in net.connections if not isinstance(c.synapses, Conv))
    )
    placement = map_network(net, with_limits(LOIHI2, neurons_per_core=6, chips=99))
    spans, cores = spans_of(placement, net), placement.cores
    r = np.random.default_rng(seed)
    spikes = {p.name: r.integers(0, 9, p.size) for p in net.populations}
    found = load(net, spans, cores, spikes).toarray()
    assert found.tolist() == one_by_one(net, spans, cores, spikes).tolist()
    once = {k: np.ones_like(n) for k, n in spikes.items()}
    assert (
        load(net, spans, cores).toarray().tolist() == one_by_one(net, spans, cores, once).tolist()
    )


@settings(max_examples=60)
@given(seeds)
def test_rows_of_a_kernel_are_heard_without_its_matrix(seed):
    """Parts of whole rows or channels, on both sides; no padding at the sides, so all is heard."""
    r = np.random.default_rng(seed)
    groups, stride, padding = int(r.choice([1, 2])), int(r.integers(1, 3)), int(r.integers(0, 2))
    shape = (4, int(r.integers(6, 10)), 7)
    kernel = Conv(
        np.full((6, 4 // groups, 3, 3), 2), shape, (stride, 1), (padding, 0), groups=groups
    )
    lif = [Lif(k, s, 4095, 0, 9, np.zeros(int(np.prod(s)))) for k, s in
           (("p", shape), ("q", kernel.output_shape))]  # fmt: skip
    first = Connection("in", "p", Dense(np.full((int(np.prod(shape)), 1), 2)))
    net = IntNetwork(
        (InputPort("in", (1,)),), tuple(lif), (first, Connection("p", "q", kernel)), {"out": "q"},
        DT, 4, LOIHI2.numbers, {},
    )  # fmt: skip
    spans, cores = {}, 0
    for p in net.populations:
        channels, height, width = p.shape
        rows = int(r.integers(1, height))
        if r.random() < 0.5:  # blocks of all channels
            ends = [(0, rows * width), (rows * width, height * width)]
            parts = [Span(a, b, channels, height * width) for a, b in ends]
        else:  # channels, the first of them in two parts
            plane = height * width
            ends = [0, rows * width, plane, 3 * plane, channels * plane]
            parts = [Span(a, b) for a, b in itertools.pairwise(ends)]
        spans[p.name] = [(cores + i, s) for i, s in enumerate(parts)]
        cores += len(parts)
    once = {p.name: np.ones(p.size, int) for p in net.populations}
    found = load(net, spans, cores).toarray()
    assert found.tolist() == one_by_one(net, spans, cores, once).tolist()


@settings(max_examples=40)
@given(seeds, st.integers(2, 40))
def test_every_exchange_saves_what_it_is_said_to(seed, count):
    r = np.random.default_rng(seed)
    spikes = r.integers(0, 50, (count, count)) * (r.random((count, count)) < 0.3)
    both = sparse.csr_array(np.triu(spikes, 1) + np.triu(spikes, 1).T)
    target = with_limits(LOIHI1, cores_per_chip=20, tiles_per_row=3, cores_per_tile=2)
    at = mesh.tiles(np.arange(count), target)
    search = mesh._Search(both, at, r.permutation(count))
    for core in range(count):
        was, before = mesh.hops(both, at[search.place]) // 2, search.place.copy()
        moved = search.improve(core)
        now = mesh.hops(both, at[search.place]) // 2
        assert sorted(search.place) == list(range(count))
        assert moved == (now < was)
        gains = search._costs(core)
        for other in range(count):
            swapped = before.copy()
            swapped[[core, other]] = swapped[[other, core]]
            gain = gains_of(both, at, before, core, other)
            assert mesh._Search(both, at, before)._saved(core, other, gain) == (
                was - mesh.hops(both, at[swapped]) // 2
            )
        assert gains[search.place[core]] == sum(
            both[[core], :].toarray()[0] * np.abs(at[search.place] - at[search.place[core]]).sum(1)
        )


def gains_of(both, at, place, core, other):
    """What a core alone would save at the place of another."""
    spikes = both[[core], :].toarray()[0]
    here, there = (np.abs(at[place] - at[place[k]]).sum(axis=1) @ spikes for k in (core, other))
    return int(here - there)


@settings(max_examples=30)
@given(seeds, st.integers(1, 60))
def test_cores_are_arranged_no_worse_than_in_their_order_and_always_alike(seed, count):
    r = np.random.default_rng(seed)
    spikes = sparse.csr_array(r.integers(0, 50, (count, count)) * (r.random((count, count)) < 0.1))
    numbers = mesh.arranged(spikes, LOIHI2)
    assert sorted(numbers) == list(range(count))
    at = mesh.tiles(np.arange(count), LOIHI2)
    assert mesh.hops(spikes, at[numbers]) <= mesh.hops(spikes, at)
    assert numbers.tolist() == mesh.arranged(spikes, LOIHI2).tolist()


def test_cores_that_talk_end_up_in_one_tile():
    """Core i talks to i + 4 and i + 8 and i + 12 only: four tiles of four, and no hop is left."""
    group = np.arange(16) % 4
    spikes = sparse.csr_array((group[:, None] == group) * 7)
    numbers = mesh.arranged(spikes, LOIHI2)
    assert mesh.hops(spikes, mesh.tiles(numbers, LOIHI2)) == 0


def test_the_meshes_of_chips_stand_side_by_side():
    target = with_limits(LOIHI1, cores_per_chip=12, cores_per_tile=2, tiles_per_row=3)
    tiles = mesh.tiles(np.array([0, 1, 2, 6, 11, 12, 18]), target)
    assert tiles.tolist() == [[0, 0], [0, 0], [1, 0], [0, 1], [2, 1], [3, 0], [3, 1]]


def test_measured_spikes_bring_those_together_that_talk():
    """Two layers send to the same three, of which one is silent when it runs: the other has the
    place in the middle, where else only one of them can be.
    """
    pops = tuple(Lif(k, (8,), 4095, 0, 9, np.zeros(8)) for k in "abcde")
    ones = Dense(np.full((8, 8), 2))
    links = [("in", "a"), ("in", "b"), *itertools.product("ab", "cde")]
    net = IntNetwork(
        (InputPort("in", (8,)),), pops, tuple(Connection(a, b, ones) for a, b in links),
        {"out": "e"}, DT, 4, LOIHI2.numbers, {},
    )  # fmt: skip
    target = with_limits(LOIHI2, neuron_groups_per_core=1, cores_per_tile=1)

    def cost(placement, spikes):
        at = mesh.tiles(np.arange(placement.cores), target)
        return mesh.hops(load(net, spans_of(placement, net), placement.cores, spikes), at)

    saved = []
    for busy in "ab":
        spikes = {k: np.full(8, 100 * (k == busy)) for k in "abcde"}
        measured = map_network(net, target, spikes)
        assert cost(measured, spikes) == 3200  # one tile to two of them, and two to the third
        saved.append(cost(map_network(net, target), spikes) - 3200)
    assert min(saved) >= 0
    assert max(saved) > 0
