"""The Xylo family's definition by hand, and the fast engine against it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import assert_same_answers
from xylo_nets import (
    AUDIO2,
    CHIPS,
    IMU,
    chain,
    dense,
    hidden,
    network,
    program_of,
    random_program,
    readout,
    spikes,
)

from snn2hw.errors import InputError
from snn2hw.families.xylo import definition, engine
from snn2hw.families.xylo.definition import add, decay, step, wrapped
from snn2hw.families.xylo.numbers import Numbers
from snn2hw.simulate import compare
from snn2hw.store import program as program_file


def both(program, x):
    """Return the engine's trace, once it is that of the definition."""
    slow, fast = definition.run(program, x), engine.run(program, x, states=True)
    found = compare.traces(slow, fast)
    assert found.compared > 0
    assert found.mismatches == 0, found.first
    assert slow.events.keys() == fast.events.keys()
    assert all((slow.events[k] == fast.events[k]).all() for k in slow.events)
    assert_same_answers(slow, fast)
    return fast


def of(trace, layer, what="spikes"):
    return trace.layers[layer][what][0].reshape(trace.steps, -1).T.tolist()


@given(st.integers(0, 1 << 30), st.booleans(), st.sampled_from(sorted(CHIPS)))
@settings(max_examples=60)
def test_engine_is_the_definition(seed, extreme, chip):
    program = random_program(seed, CHIPS[chip], extreme=extreme)
    both(program, spikes(program, 2, seed))


def test_samples_in_batches_are_those_alone():
    program = random_program(3)
    x = spikes(program, 7)
    done = []
    trace = engine.run(program, x, memory=1, progress=lambda *at: done.append(at))
    whole = engine.run(program, x)
    assert_same_answers(trace, whole)
    assert all((trace.events[k] == whole.events[k]).all() for k in whole.events)
    assert done[-1] == (7, 7)
    assert not whole.layers


def test_one_spike_by_hand():
    """Input before the decay of its step, both decays by at least one unit, reset by the threshold.

    isyn: 10 -> 10 - 2 = 8, 6, 5, 4, 3, 2, 1, 0; vmem: 8, 8 - 1 + 6 = 13, 17, 19, 19 - 2 + 3 = 20.
    """
    program = chain(
        [[10]], [[7]], steps=9, neurons={"threshold": 20, "dash_mem": 3, "dash_syn": 2},
        out={"threshold": 6, "dash_mem": 3, "dash_syn": 1},
    )  # fmt: skip
    x = np.zeros((1, 9, 1), int)
    x[0, 0] = 1
    trace = both(program, {"in": x})
    assert of(trace, "h", "isyn") == [[8, 6, 5, 4, 3, 2, 1, 0, 0]]
    assert of(trace, "h", "vmem") == [[8, 13, 17, 19, 0, 2, 2, 1, 0]]
    assert of(trace, "h") == [[0, 0, 0, 0, 1, 0, 0, 0, 0]]
    # A step later on the chip, so in the same step of the sample: 7 -> 7 - 3 = 4; 4, 4 - 1 + 2 = 5.
    assert program.phase == {"in": 0, "h": 0, "out": 1}
    assert of(trace, "out", "isyn") == [[0, 0, 0, 0, 4, 2, 1, 0, 0]]
    assert of(trace, "out", "vmem") == [[0, 0, 0, 0, 4, 5, 5, 4, 3]]


def test_several_spikes_a_step_and_one_of_the_readout():
    program = chain(
        [[100]], [[100]], steps=2, neurons={"threshold": 10, "dash_syn": 15},
        out={"threshold": 100, "dash_syn": 15},
    )  # fmt: skip
    trace = both(program, {"in": np.array([[[15], [0]]])})
    # isyn 1500 - 1; 31 spikes of 10 at most. Then vmem 1189 - 74 + 1498.
    assert of(trace, "h") == [[31, 31]]
    assert of(trace, "h", "vmem") == [[1499 - 310, 1189 - 74 + 1498 - 310]]
    assert of(trace, "out") == [[1, 1]]
    assert trace.events["in"].tolist() == [[15], [0]]
    assert trace.events["h"].tolist() == [[31], [31]]


def test_spikes_saturate_one_source_after_another():
    """Up to the largest number and down again, not the sum of both."""
    program = chain(
        [[127, -128]], [[1]], steps=1, neurons={"threshold": 32767, "dash_syn": 15}, shifts=(7, 0)
    )
    trace = both(program, {"in": np.array([[[15, 1]]])})
    assert of(trace, "h", "isyn") == [[32767 - (128 << 7) - 1]]


def test_two_currents_of_a_neuron():
    parts = [hidden("h", 1, dash_syn=1, dash_syn2=3, threshold=1000), readout("out", 1)]
    links = [
        dense("in", "h", [[40]]), dense("in", "h", [[-16]], part="isyn2"), dense("h", "out", [[1]])
    ]  # fmt: skip
    program = program_of(network(parts, links, 1, 2))
    trace = both(program, {"in": np.array([[[1], [0]]])})
    assert of(trace, "h", "isyn") == [[20, 10]]
    assert of(trace, "h", "isyn2") == [[-14, -12]]
    assert of(trace, "h", "vmem") == [[6, 5 - 2]]
    assert trace.layers["h"].names == ("isyn", "isyn2", "vmem", "spikes")
    assert trace.layers["out"].names == ("isyn", "vmem", "spikes")
    alone = engine.run(random_program(0, IMU), spikes(random_program(0, IMU)), states=True)
    assert alone.layers["h0"].names == ("isyn", "vmem", "spikes")


@pytest.mark.parametrize(
    ("alias", "sent"),
    [([-1, -1], [3, 1]), ([1, -1], [3, 4]), ([-1, 0], [4, 1]), ([0, -1], [6, 1]), ([1, 0], [7, 4])],
)
def test_an_alias_sends_what_its_source_sends(alias, sent):
    """Of a later neuron before its own spikes, of an earlier one beside what it has sent."""
    numbers = {"threshold": [10, 30], "dash_syn": 15, "alias": alias}
    program = chain([[31], [31]], [[1, 1]], steps=1, neurons=numbers)
    trace = both(program, {"in": np.array([[[1]]])})
    assert of(trace, "h") == [[n] for n in sent]


def test_an_alias_counts_against_the_most_that_a_neuron_sends():
    numbers = {"threshold": 1, "dash_syn": 15, "alias": [1, -1]}
    program = chain([[21], [21]], [[1, 1]], steps=1, neurons=numbers)
    trace = both(program, {"in": np.array([[[1]]])})
    assert of(trace, "h") == [[20], [31]]
    assert of(trace, "h", "vmem") == [[0], [20 - 11]]


def test_a_bias_acts_from_the_chips_first_step_on():
    """So a layer has been at work before its first step of the sample."""
    parts = [
        hidden("a", 1, threshold=1000), hidden("b", 1, threshold=1000, bias=8, dash_mem=15),
        readout("out", 1, bias=4, threshold=1000, dash_mem=15),
    ]  # fmt: skip
    links = [dense("in", "a", [[1]]), dense("a", "b", [[1]]), dense("b", "out", [[1]])]
    program = program_of(network(parts, links, 1, 2))
    trace = both(program, {"in": np.zeros((1, 2, 1), int)})
    assert program.phase == {"in": 0, "a": 0, "b": 1, "out": 2}
    assert of(trace, "b", "vmem") == [[8 - 1 + 8, 15 - 1 + 8]]
    assert of(trace, "out", "vmem") == [[4 + 3 + 3, 13]]
    assert (program.streams, program.tail, program.period(2)) == (False, 2, 4)


def test_samples_start_from_fresh_state():
    program = random_program(11, extreme=True)
    x = spikes(program, 3)
    whole = both(program, x)
    last = both(program, {k: v[2:] for k, v in x.items()})
    assert (whole.spikes[2:] == last.spikes).all()


def test_inputs_are_checked():
    program = chain([[1]], [[1]])
    with pytest.raises(InputError, match="0 to 15"):
        engine.run(program, {"in": np.full((1, 2, 1), 16)})


@pytest.mark.parametrize(
    ("value", "dash", "lost"),
    [(0, 3, 0), (7, 3, 1), (8, 3, 1), (16, 3, 2), (-1, 3, -1), (-8, 3, -1), (-9, 3, -2),
     (5, 0, 5), (-1, 15, -1), (1, 15, 1)],
)  # fmt: skip
def test_decay(value, dash, lost):
    assert decay(value, dash) == lost
    assert engine._decay(np.int32(value), np.int32(dash)) == lost


def test_sums_saturate_and_minus_the_smallest_number_is_itself():
    n = Numbers()
    assert [add(32767, 1, n), add(-32768, -1, n), add(3, -5, n)] == [32767, -32768, -2]
    assert [wrapped(32768, n), wrapped(-32768, n), wrapped(7, n)] == [-32768, -32768, 7]
    one = np.zeros(1, np.int64)
    pinned = definition.Neuron(10, 0, 0, (1,), -1, [one], one - 32768)
    step(pinned, one, 31, n)
    assert pinned.vmem == -32768


@pytest.mark.parametrize("chip", CHIPS)
def test_a_program_is_stored_whole(tmp_path, chip):
    program = random_program(5, CHIPS[chip])
    path = tmp_path / "program.h5"
    program_file.write(path, program)
    back = program_file.read(path, program.placement, CHIPS[chip])
    assert back.digest() == program.digest()


def test_numbers_of_another_chip_are_kept_to():
    """Fewer bits and spikes than any chip has: nothing is fixed in the simulators."""
    numbers = Numbers(weight_bits=6, state_bits=10, hidden_spikes=3, shift_max=2)
    parts = [hidden("h", 1, threshold=9, dash_syn=4), readout("out", 1)]
    links = [dense("in", "h", [[31]], exponent=2), dense("h", "out", [[1]])]
    program = program_of(network(parts, links, 1, 2, numbers), AUDIO2)
    trace = both(program, {"in": np.array([[[15], [15]]])})
    assert of(trace, "h") == [[3, 3]]
    assert max(of(trace, "h", "isyn")[0]) == 511 - 31
