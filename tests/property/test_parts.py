"""A part of a program, fed with what its sources sent, does what it does in the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import (
    LOIHI1,
    LOIHI2,
    classifier,
    heads,
    images,
    random_program,
    read_out,
    recurrent_chain,
    residual,
)

from snn2hw import resources
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.families.family import Run, Vendor
from snn2hw.families.loihi import definition, engine, lava
from snn2hw.pipeline import proving
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import compare, part


def some_part(program, r):
    """Some populations of a program, at times only some neurons of the last."""
    net = program.network
    names = [p.name for p in net.populations if r.random() < 0.5] or [net.populations[-1].name]
    if r.random() < 0.3:
        return part.select(net, part.chosen(net, names))
    last = names[-1]
    ranges = [np.sort(r.choice(n + 1, 2, replace=False)).tolist() for n in net.shape(last)]
    box = part.box_of(",".join(f"{a}:{b}" for a, b in ranges), last, net.shape(last))
    try:
        return part.select(net, names, box)
    except InputError:
        return part.select(net, names[-1:], box)


def alone(program, some, x):
    """What the part did in the whole, and the part as a program with what it is fed."""
    whole = engine.run(program, x, states=True)
    values = part.recorded(program.network, some, x, whole)
    return part.cut(program.network, some, whole), part.as_program(program, some, values), values


def check(program, r):
    x = images(program.network, samples=3, seed=int(r.integers(100)))
    for _ in range(3):
        some = some_part(program, r)
        try:
            ours, small, values = alone(program, some, x)
        except UnsupportedError as error:
            assert "of one sign" in str(error)  # noqa: PT017
            continue
        for run in (definition.run(small, values), engine.run(small, values, states=True)):
            found = compare.traces(ours, run)
            assert found.mismatches == 0, (some.names, found.first)
            assert found.compared == 3 * 3 * values[next(iter(values))].shape[1] * sum(
                some.keep[k].size for k in some.names
            )
        shift = {program.phase[k] - at for k, at in small.phase.items()}
        assert len(shift) == 1  # what is sent arrives as late as in the whole
        assert min(small.phase.values()) >= 0
        heard = [small.phase[k] for k in some.names if program.network.into(k)]
        assert min(heard, default=1) >= 1


@pytest.mark.parametrize("target", [LOIHI1, LOIHI2], ids=lambda t: t.name)
@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=25)
def test_random_programs(target, seed, loops):
    check(
        random_program(seed, loops=loops, side=6, target=target), np.random.default_rng((seed, 7))
    )


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_graded_messages(seed):
    check(read_out(random_program(seed), seed), np.random.default_rng((seed, 7)))


@pytest.mark.parametrize("net", [residual(side=9), classifier(), heads()])
def test_networks(net):
    check(compile_network(net, LOIHI2), np.random.default_rng(1))


def test_a_fault_is_seen_inside_the_part_and_nowhere_else():
    program = compile_network(residual(), LOIHI2)
    x = images(program.network, samples=3)
    net = program.network
    for name in ("lif2", "lif3"):
        some = part.select(net, [name])
        ours, _, values = alone(program, some, x)
        for broken in ("lif1", "lif2", "lif3", "lif4"):
            populations = tuple(
                replace(p, vth=p.vth + 40) if p.name == broken else p for p in net.populations
            )
            wrong = replace(program, network=replace(net, populations=populations))
            run = engine.run(part.as_program(wrong, some, values), values, states=True)
            assert bool(compare.traces(ours, run).mismatches) == (broken == name)


def defined(small, values, *, program_file, vendor_file):
    """A vendor's simulator whose answer is the definition's."""
    assert program_file.exists()
    return Run(definition.run(small, values), "program.h5", 1, {"processes": 1})


@pytest.fixture
def vendor(monkeypatch):
    """A simulator in the vendor's place, and the bytes that it may take."""
    free = {"bytes": 1e12}
    made = Vendor(lava.ENVIRONMENT, defined, memory=lambda load: 1e6 * (load.dense + load.sparse))
    monkeypatch.setattr(proving, "_vendor", lambda _: made)
    monkeypatch.setattr(proving, "memory_left", lambda: free["bytes"])
    monkeypatch.setattr(resources, "memory_left", lambda: free["bytes"])
    return free


def verified(program, x, names, neurons=None, progress=None):
    return proving.compare_with_vendor(program, x, Path("none"), None, names, neurons, progress)


def test_each_in_pieces_where_memory_is_short(vendor):
    program = compile_network(residual(), LOIHI2)
    x, heard = images(program.network, samples=2), []
    vendor["bytes"] = 1600e6
    found = verified(program, x, ["each"], progress=lambda *at: heard.append(at))
    neurons = sum(p.size for p in program.network.populations)
    assert (found["mismatches"], found["left_out"]) == (0, [])
    assert found["compared"] == 3 * 2 * program.network.time_steps * neurons
    pieces = [p["window"] for p in found["parts"] if "lif2" in p["populations"]]
    assert pieces == ["0:3,0:3,0:3", "0:3,0:3,3:6", "0:3,3:6,0:3", "0:3,3:6,3:6"]
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    vendor["bytes"] = 100e6
    found = verified(program, x, ["each"])
    assert [p["part"] for p in found["left_out"]] == [f"lif4 [{i}:{i + 1}]" for i in range(5)]
    assert found["compared"] == 3 * 2 * program.network.time_steps * (neurons - 5)
    vendor["bytes"] = 1e6
    with pytest.raises(
        InputError, match=r"No population fits .*: lif1 \[0:1,0:1,0:1\] alone needs"
    ):
        verified(program, x, ["each"])


def test_a_loop_that_needs_all_of_itself_is_not_cut_without_end(vendor):
    program = recurrent_chain(1)
    vendor["bytes"] = 1e6
    with pytest.raises(InputError, match="No population fits"):
        verified(program, images(program.network, samples=2), ["each"])


def test_too_little_memory_is_said_before_anything_runs(vendor):
    program = compile_network(residual(), LOIHI2)
    x = images(program.network, samples=2)
    vendor["bytes"] = 500e6
    with pytest.raises(InputError) as raised:
        verified(program, x, ["lif3"], ":,0:3,:")
    assert "lif3 [0:3,0:3,0:6] in lava" in str(raised.value)
    assert raised.value.hint == (
        "Take fewer neurons of lif3 than 54 (--neurons, in Python neurons=) or fewer samples or "
        "samples of fewer steps."
    )
    one = images(program.network, samples=1)
    vendor["bytes"] = 1e6
    with pytest.raises(InputError) as raised:
        verified(program, one, ["lif3", "lif4"], "0:1")
    assert "--part" in raised.value.hint
    assert "--neurons" not in raised.value.hint
    assert "fewer samples" not in raised.value.hint
    with pytest.raises(InputError, match="Verify it in parts: --part NAME or --part each"):
        verified(program, x, [])


def test_a_simulator_that_runs_no_parts(vendor, monkeypatch):
    program = compile_network(residual(), LOIHI2)
    monkeypatch.setattr(proving, "_vendor", lambda _: Vendor(lava.ENVIRONMENT, defined))
    with pytest.raises(UnsupportedError, match="Leave out --part and --neurons"):
        verified(program, images(program.network), ["lif3"])


def test_what_each_cannot_be_given_with(vendor):
    program = compile_network(residual(), LOIHI2)
    for names, neurons in ((["each", "lif1"], None), (["each"], "1")):
        with pytest.raises(InputError, match="'each' stands for all populations"):
            verified(program, images(program.network), names, neurons)


def test_samples_in_batches_are_those_of_one_run(vendor, monkeypatch):
    program = compile_network(residual(), LOIHI2)
    x = images(program.network, samples=5)
    some = part.select(program.network, ("lif3",), part.box_of(":,1:3,:", "lif3", (3, 6, 6)))
    values, trace = proving._recorded(program, x, some)
    again, batched = proving._recorded(program, x, some, memory=1)
    assert values.keys() == again.keys()
    assert all((values[k] == again[k]).all() for k in values)
    assert compare.traces(trace, batched).mismatches == 0
    assert compare.traces(trace, batched).compared == 3 * 5 * program.network.time_steps * 36
