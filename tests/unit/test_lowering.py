"""Phases and delays: everything in time, nothing later than needed, too fast loops refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import DT, LOIHI2, NUMBERS, placed, random_program, seeds

from snn2hw.errors import UnsupportedError
from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi.populations import Lif
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.synapses import Dense


def graph(n, edges, output="p0") -> IntNetwork:
    """``n`` neurons and an input, connected by ``(pre, post, delay)``."""
    return IntNetwork(
        (InputPort("in", (1,)),),
        tuple(Lif(f"p{i}", (1,), 4095, 2048, 100, np.zeros(1)) for i in range(n)),
        tuple(Connection(a, b, Dense(np.array([[2]])), 0, d) for a, b, d in edges),
        {"out": output}, DT, 4, NUMBERS, {},
    )  # fmt: skip


def lowered(net):
    return placed(net, LOIHI2)


def assert_earliest(program):
    """Each phase is the chip's least, or a chain of connections without slack leads to it.

    A population that hears nobody starts one step before the first that hears it.
    """
    net, phase = program.network, program.phase
    free = {p.name for p in net.populations if not net.into(p.name)}
    for name in free:
        heard = [phase[c.post] for c in net.connections if c.pre == name]
        assert phase[name] == min(heard, default=1) - 1
    settled = {p.name for p in net.inputs} | {k for k, p in phase.items() if p == 1} | free
    for _ in net.populations:
        settled |= {
            c.post
            for c, d in zip(net.connections, program.delays, strict=True)
            if d == 1 and c.pre in settled
        }
    assert settled == set(phase)


@settings(max_examples=50)
@given(seeds)
def test_everything_arrives_in_time_and_no_layer_starts_late(seed):
    program = random_program(seed, layers=6, loops=True)
    for c, d in zip(program.network.connections, program.delays, strict=True):
        assert d == program.phase[c.post] - program.phase[c.pre] + c.delay
        assert 1 <= d <= 63
    assert_earliest(program)


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 5))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=8, unique=True))
    edges = [(f"p{a}", f"p{b}", draw(st.integers(int(a >= b), 3))) for a, b in pairs]
    return n, [("in", "p0", 0), *edges]


def loops(n, edges):
    """Every simple loop, as the delays of its connections by the path of its populations."""
    delay = {(a, b): d for a, b, d in edges}
    for size in range(1, n + 1):
        for path in itertools.permutations([f"p{i}" for i in range(n)], size):
            steps = list(zip(path, (*path[1:], path[0]), strict=True))
            if path[0] == min(path) and all(s in delay for s in steps):
                yield path, [delay[s] for s in steps]


@settings(max_examples=200)
@given(graphs())
def test_a_loop_is_refused_exactly_when_it_is_too_fast(made):
    n, edges = made
    too_fast = [path for path, delays in loops(n, edges) if sum(delays) < len(path)]
    if not too_fast:
        assert_earliest(lowered(graph(n, edges)))
        return
    with pytest.raises(UnsupportedError) as caught:
        lowered(graph(n, edges))
    named = str(caught.value).split("The loop ")[1].split(" takes ")[0].split(" -> ")
    first = named.index(min(named[:-1]))
    assert (*named[first:-1], *named[:first]) in too_fast


def test_refusal_names_every_loop_what_it_needs_and_the_way_out():
    edges = [("in", "p0", 0), ("p0", "p1", 0), ("p1", "p0", 1), ("p1", "p2", 0), ("p2", "p3", 0)]
    with pytest.raises(UnsupportedError) as caught:
        lowered(graph(4, [*edges, ("p3", "p2", 1)]))
    message = str(caught.value)
    assert message.count("takes 2 steps on the chip, but the network gives it 1") == 2
    assert message.count("The loop") == 2
    assert "p0 -> p1 -> p0" in message or "p1 -> p0 -> p1" in message
    assert "Add a delay" in message


def test_a_loop_has_the_sum_of_its_delays():
    edges = [("in", "p0", 0), ("p0", "p1", 0), ("p1", "p2", 0), ("p2", "p3", 1), ("p3", "p0", 2)]
    with pytest.raises(UnsupportedError, match=r"takes 4 steps on the chip, but .* gives it 3"):
        lowered(graph(4, edges))


def test_a_recurrent_layer_costs_no_phase():
    program = lowered(graph(2, [("in", "p0", 0), ("p0", "p0", 1), ("p0", "p1", 0)], "p1"))
    assert dict(program.phase) == {"in": 0, "p0": 1, "p1": 2}
    assert program.delays == (1, 1, 1)
    assert (program.streams, program.period(4), program.chip_steps(4)) == (False, 6, 6)


def test_delays_beyond_the_limit_are_refused_together():
    edges = [("in", "p0", 0), ("p0", "p0", 64), ("p0", "p1", 63), ("p1", "p1", 63)]
    with pytest.raises(UnsupportedError) as caught:
        lowered(graph(2, [*edges, ("in", "p1", 70)]))
    message = str(caught.value)
    assert "p0 -> p0 waits 64 steps; in -> p1 waits 71 steps" in message
    assert "p1 -> p1" not in message


@pytest.mark.parametrize(
    ("edge", "problem"),
    [
        (("p1", "p0", 0), "goes back without a delay"),
        (("p0", "p0", 0), "goes back without a delay"),
        (("p0", "p1", -1), "has delay -1"),
        (("p0", "in", 1), "ends in an input"),
    ],
)
def test_networks_out_of_order_are_refused(edge, problem):
    with pytest.raises(ValueError, match=problem):
        graph(2, [("in", "p0", 0), edge])


def test_sums_beyond_32_bits_are_refused():
    wide = Connection("in", "p0", Dense(np.full((1, 130), 254)))
    port = InputPort("in", (130,), 1 << 16)
    with pytest.raises(ValueError, match="in -> p0 can sum up to more than 32 bits"):
        IntNetwork((port,), graph(1, []).populations, (wide,), {"out": "p0"}, DT, 4, NUMBERS, {})


def test_the_digest_sees_a_delay():
    edges = [("in", "p0", 0), ("p0", "p1", 0)]
    assert graph(2, edges).digest() != graph(2, [edges[0], ("p0", "p1", 2)]).digest()


def test_a_layer_deeper_than_the_output_keeps_its_window():
    program = lowered(graph(3, [("in", "p0", 0), ("p0", "p1", 0), ("p1", "p2", 0)], "p1"))
    assert (program.depth, program.tail) == (2, 3)
    x = {"in": np.ones((2, 4, 1), int)}
    trace = reference.run(program, x)
    assert trace.layers["p2"]["v"].shape == (2, 4, 1)
    on_chip = trace.on_chip_time(trace.layers["p2"]["v"], program.phase["p2"])
    assert on_chip.shape == (2, 6, 1)
    assert (on_chip[:, 3:] == trace.layers["p2"]["v"][:, :3]).all()


def test_components_are_loops_with_their_sources_first():
    edges = [("in", "p0", 0), ("p3", "p0", 2), ("p0", "p1", 0), ("p1", "p0", 2), ("p2", "p3", 0)]
    assert graph(4, edges).components() == [["p2"], ["p3"], ["p0", "p1"]]
