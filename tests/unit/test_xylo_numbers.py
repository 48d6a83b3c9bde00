"""What the Xylo family holds: numbers, networks, phases, one core, target files."""

from __future__ import annotations

from dataclasses import replace

import nets
import numpy as np
import pytest
from xylo_nets import (
    AUDIO2,
    AUDIO3,
    CHIPS,
    IMU,
    dense,
    hidden,
    network,
    program_of,
    random_program,
    readout,
)

from snn2hw import target
from snn2hw.errors import DoesNotFitError, InputError, UnsupportedError
from snn2hw.families import of
from snn2hw.families.xylo import numbers
from snn2hw.families.xylo.numbers import Numbers, first_ids, group, shift
from snn2hw.families.xylo.place import map_network, most_inputs
from snn2hw.families.xylo.schedule import phases, untimely
from snn2hw.ir.integer import Connection, InputPort
from snn2hw.ir.populations import described
from snn2hw.ir.synapses import Conv, Sparse
from snn2hw.pipeline.compiler import compile_network


def small(**changes):
    """Input, two hidden layers, readout."""
    parts = [hidden("a", 2), hidden("b", 3), readout("out", 2)]
    links = [
        dense("in", "a", np.ones((2, 3), int)), dense("a", "b", np.ones((3, 2), int)),
        dense("b", "out", np.ones((2, 3), int)),
    ]  # fmt: skip
    return network(**({"populations": parts, "connections": links} | changes))


def broken(net, **changes):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        replace(net, **changes)
    return str(caught.value)


def test_ids_and_groups():
    net = small()
    assert first_ids(net) == {"in": 0, "a": 0, "b": 2, "out": 0}
    assert [group(net, c) for c in net.connections] == ["input", "recurrent", "readout"]
    shifted = [replace(c, exponent=i) for i, c in enumerate(net.connections)]
    net = replace(net, connections=tuple(shifted))
    assert [shift(net, g) for g in ("input", "recurrent", "readout")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("threshold", -1, "threshold is not in 0 to 32767"), ("threshold", 32768, "threshold"),
     ("bias", -32769, "bias is not in -32768 to 32767"), ("dash_mem", 16, "dash_mem is not in 0"),
     ("dash_syn", -1, "dash_syn is not in"), ("dash_syn2", 16, "dash_syn2 is not in 0 to 15"),
     ("alias", 5, "alias is not in -1 to 4"), ("alias", -2, "alias")],
)  # fmt: skip
def test_numbers_beyond_their_bits(field, value, said):
    net = small()
    wrong = hidden("a", 2, **{field: [0, value]})
    assert f"a: {said}" in broken(net, populations=(wrong, *net.populations[1:]))


def test_a_chip_of_one_current_has_no_second():
    net = small(numbers=IMU.numbers)
    wrong = hidden("a", 2, dash_syn2=1)
    assert "dash_syn2 is not in 0 to 0" in broken(net, populations=(wrong, *net.populations[1:]))
    links = (*net.connections, replace(net.connections[0], part="isyn2"))
    assert "ends in 'isyn2', the neurons have isyn" in broken(net, connections=links)


def test_everything_that_the_chip_does_not_hold_is_named_at_once():
    net = small()
    image = Connection("in", "a", Conv(np.ones((2, 3, 1, 1), int), (3, 1, 1)), 3, part="isyn")
    twice = Sparse(np.array([1, 1]), np.array([0, 0]), np.array([0, 2, 2]), 3)
    said = broken(
        net,
        inputs=(InputPort("in", (3,), 16, -1), InputPort("more", (2,))),
        connections=(
            *net.connections, image, dense("in", "out", np.ones((2, 3), int)),
            dense("out", "b", np.ones((3, 2), int), delay=1),
            dense("a", "a", [[128, 0], [0, 0]], delay=1, exponent=8),
            dense("more", "b", np.ones((3, 2), int), part="real"),
            Connection("in", "a", twice, part="isyn2"),
        ),
    )  # fmt: skip
    for part in (
        "it has 2 inputs (in, more), not one",
        "in sends -1 to 16 spikes a step, an input channel 0 to 15",
        "connection in -> a is a convolution",
        "connection in -> out leaves out the hidden neurons",
        "connection out -> b begins at the readout, which nobody hears",
        "connection a -> a has weights of more than 8 bits",
        "connection more -> b ends in 'real', the neurons have isyn and isyn2",
        "in -> a has two weights for one pair of neurons",
        "input weights are shifted by 0 and 3, the chip shifts all alike",
        "recurrent weights are shifted by 0 and 8, the chip shifts all alike",
    ):
        assert part in said


def test_one_shift_beyond_the_chips():
    net = small()
    links = (replace(net.connections[0], exponent=8), *net.connections[1:])
    assert "input weights are shifted by 8, the chip 0 to 7" in broken(net, connections=links)
    links = (replace(net.connections[0], exponent=-1), *net.connections[1:])
    assert "input weights are shifted by -1" in broken(net, connections=links)
    # What is compiled for the chip holds the largest there are.
    edge = dense("in", "a", [[127, -128, 0], [0, 0, 0]], exponent=7)
    assert replace(net, connections=(edge, *net.connections[1:])).connections[0] is edge


def test_duplicates_in_a_sparse_map():
    net = small()
    twice = Sparse(np.array([1, 1]), np.array([0, 0]), np.array([0, 2, 2]), 3)
    links = (Connection("in", "a", twice, part="isyn"), *net.connections[1:])
    assert "in -> a has two weights for one pair" in broken(net, connections=links)


def test_outputs_are_readouts_which_come_last():
    net = small()
    assert "output o is of a, which is no readout" in broken(net, outputs={"o": "a"})
    parts = (readout("a", 2), *net.populations[1:])
    assert "a is a readout among the hidden neurons" in broken(net, populations=parts)
    more = (*net.populations, readout("last", 2))
    assert "last is a readout, but no output's" in broken(net, populations=more)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [({"weight_bits": 9}, "weight_bits is 9"), ({"synapses": 3}, "synapses is 3"),
     ({"state_bits": 12}, "a weight shifted by 7 does not fit 12 bits")],
)  # fmt: skip
def test_numbers_that_no_simulator_counts(numbers, said):
    with pytest.raises(ValueError, match=said):
        Numbers(**numbers)


def test_arrays_match_the_population():
    with pytest.raises(ValueError, match=r"h: bias \(3,\) for 2 neurons"):
        hidden("h", 2).__class__("h", (2,), *(np.zeros(n, int) for n in (2, 3, 2, 2, 2, 2)))
    assert described(hidden("h", 2)) == {"neuron": "Hidden"}


def test_phases_of_a_chain_and_of_loops():
    links = [("in", "a", 0), ("a", "a", 1), ("a", "b", 0), ("b", "a", 2), ("b", "out", 0)]
    found = phases(links, ["in"], ["a", "b", "out"])
    assert found == {"in": 0, "a": 0, "b": 1, "out": 2}
    assert untimely(links, ["in"], found) == []


def test_branches_of_unequal_length_are_named_all_at_once():
    parts = [hidden("a", 2), hidden("b", 2), hidden("c", 2), readout("out", 1)]
    links = [
        dense("in", "a", np.eye(2, dtype=int)), dense("a", "b", np.eye(2, dtype=int)),
        dense("b", "c", np.eye(2, dtype=int)), dense("c", "out", np.ones((1, 2), int)),
        dense("a", "out", np.ones((1, 2), int)), dense("in", "b", np.eye(2, dtype=int)),
        dense("c", "a", np.eye(2, dtype=int), delay=1),
    ]  # fmt: skip
    net = network(parts, links, 2)
    with pytest.raises(UnsupportedError) as caught:
        program_of(net)
    for said in ("a -> out arrives 2 steps too early", "in -> b arrives 1 step too early",
                 "c -> a arrives 2 steps too late", "on SynSense Xylo Audio 2"):  # fmt: skip
        assert said in str(caught.value)


def test_a_layer_that_hears_nobody_starts_before_those_that_hear_it():
    links = [("in", "a", 0), ("a", "b", 0), ("free", "b", 0), ("b", "out", 0), ("x", "y", 0)]
    found = phases(links, ["in"], ["free", "x", "a", "b", "y", "out"])
    assert (found["free"], found["b"]) == (0, 1)
    assert (found["x"], found["y"]) == (0, 1)
    early = [("in", "a", 0), ("free", "a", 0), ("a", "out", 0)]
    found = phases(early, ["in"], ["free", "a", "out"])
    assert untimely(early, ["in"], found) == ["free would have to start 1 step before the sample"]


def test_aliases_between_layers_of_different_steps():
    net = small(populations=[hidden("a", 2, alias=[3, -1]), hidden("b", 3), readout("out", 2)])
    with pytest.raises(UnsupportedError, match=r"a has aliases in b, .* 1 chip step later"):
        program_of(net)


def test_placement_on_one_core():
    program = random_program(2)
    placement = program.placement
    assert (placement.cores, placement.chips) == (1, 1)
    assert {s.layer for s in placement.slices} == {p.name for p in program.network.populations}
    hidden_neurons = sum(s.uses.get("hidden_neurons", 0) for s in placement.slices)
    assert hidden_neurons == sum(p.size for p in numbers.hidden(program.network))
    outer = [s.uses["readout_neurons"] for s in placement.slices if "readout_neurons" in s.uses]
    assert outer == [p.size for p in numbers.readouts(program.network)]
    assert len(outer) == 2


def test_two_synapses_of_a_pair_share_an_entry():
    parts = [hidden("a", 2), readout("out", 1)]
    links = [
        dense("in", "a", [[1], [1]]), dense("a", "a", [[1, 0], [1, 1]], delay=1),
        dense("a", "a", [[0, 1], [-1, 0]], delay=1, part="isyn2"), dense("a", "out", [[1, 1]]),
    ]  # fmt: skip
    placement = map_network(network(parts, links, 1), AUDIO2)
    assert dict(placement.of("a")[0].uses) == {"hidden_neurons": 2, "synapses": 4}


def crowd(sizes, outputs, channels, chip, density=1.0):
    r, names = np.random.default_rng(0), [f"h{i}" for i in range(len(sizes))]
    ends = list(zip(["in", *names], [*names, "out"], strict=True))
    many = [channels, *sizes, outputs]
    parts = [*(hidden(k, n) for k, n in zip(names, sizes, strict=True)), readout("out", outputs)]
    links = [
        dense(a, b, (r.random((many[i + 1], many[i])) < density).astype(int))
        for i, (a, b) in enumerate(ends)
    ]
    return network(parts, links, channels, numbers=chip.numbers)


def misfit(*of_network):
    with pytest.raises(DoesNotFitError) as caught:
        map_network(crowd(*of_network), of_network[3])
    return str(caught.value)


def test_all_that_is_too_much_is_named_at_once():
    said = misfit((600, 401), 9, 17, AUDIO2, 0.2)
    for part in (
        "it has 17 inputs, the chip 16", "it has 1,001 hidden neurons (h0 600, h1 401), the chip 1",
        "it has 9 output neurons, the chip 8", "the chip's to 63 at most",
        "synapses between hidden neurons, the chip 32,000", "SynSense Xylo Audio 2 cannot hold",
    ):  # fmt: skip
        assert part in said


def test_the_largest_that_fits_does():
    assert map_network(crowd((63,) * 15, 8, 16, AUDIO2, 0.5), AUDIO2).cores == 1
    assert "h0: a neuron sends to 64 hidden neurons, the chip's to 63 at most (too many for 64 of" \
        in misfit((64, 64), 8, 16, AUDIO2)  # fmt: skip


def test_ends_of_the_ids():
    assert map_network(crowd((128, 240, 128), 16, 16, IMU, 0.3), IMU).cores == 1
    said = misfit((129, 240, 127), 16, 16, IMU, 0.3)
    assert "in -> h0 ends in hidden neuron 129, the chip's inputs reach the first 128" in said
    assert "readout hears" not in said
    said = misfit((127, 200, 129), 16, 16, AUDIO3, 0.1)
    assert "h2 -> out begins 129 hidden neurons from the last, the chip's readout hears the last" \
        in said  # fmt: skip
    assert "inputs reach" not in said


def test_limits_of_shared_stages():
    assert most_inputs(IMU) == 16 + 496


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_target_files(chip):
    assert of(chip).schema.limits.keys() == chip.limits.keys()
    assert chip.numbers.synapses == (1 if chip is IMU else 2)
    assert (
        chip.limit("hidden_neurons")
        == {"xylo-audio2": 1000, "xylo-imu": 496, "xylo-audio3": 992}[chip.name]
    )


def test_a_target_file_whose_numbers_contradict(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(AUDIO2.text.replace("state_bits = 16", "state_bits = 8"))
    with pytest.raises(InputError, match="a weight shifted by 7 does not fit 8 bits"):
        target.load(str(path))


def test_integers_for_other_chips():
    net = nets.random_program(0).network
    with pytest.raises(UnsupportedError, match="another kind of chip than SynSense Xylo IMU"):
        compile_network(net, IMU)


def test_integers_for_a_chip_of_more_currents():
    net = small(numbers=AUDIO3.numbers)
    assert map_network(net, IMU).cores == 1
    both = replace(net, connections=(*net.connections, replace(net.connections[0], part="isyn2")))
    with pytest.raises(UnsupportedError, match=r"Xylo IMU cannot hold these .* 'isyn2'"):
        compile_network(both, IMU)
