"""Loihi 1 beside Loihi 2: numbers, what it refuses, what its cores hold, and who simulates it."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import h5py
import netx_writing
import numpy as np
import pytest
from nets import DT, LOIHI1, LOIHI2, NUMBERS, classifier, images, lif, placed, random_program, tiny

from snn2hw import families, target
from snn2hw.errors import DoesNotFitError, InputError, UnsupportedError
from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine, words
from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.numbers import LATER, Numbers
from snn2hw.families.loihi.place import map_network, most_inputs
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.synapses import Conv, Dense, from_matrix, sizes
from snn2hw.pipeline.compiler import compile_network, reasons
from snn2hw.simulate import compare
from snn2hw.store import program as program_file


def one(weight, *, du=4095, dv=4096, vth=131071, bias=0, exponent=0, bias_exp=6, steps=1):
    """A program of one layer that an input spikes at in every step."""
    weight = np.atleast_2d(weight)
    p = chip.Lif("p", (len(weight),), du, dv, vth, np.full(len(weight), bias), bias_exp)
    into = Connection("in", "p", Dense(weight), exponent)
    port = InputPort("in", (weight.shape[1],))
    net = IntNetwork((port,), (p,), (into,), {"out": "p"}, DT, steps, LOIHI1.numbers, {})
    return placed(net, LOIHI1)


def states(program):
    """``u`` and ``v`` of the first neuron where every input spikes in every step."""
    net = program.network
    x = {"in": np.ones((1, net.time_steps, *net.inputs[0].shape), int)}
    traces = [engine.run(program, x, states=True), reference.run(program, x)]
    assert compare.traces(*traces).mismatches == 0
    layer = traces[0].layers["p"]
    return layer["u"][0, :, 0].tolist(), layer["v"][0, :, 0].tolist()


def test_sums_wrap_at_21_bits_and_a_sign():
    most = np.full(257, 255)  # 257 * 255 << 7 << 6 is beyond, in what one sign of weights reaches
    total = 257 * 255 * 2**13
    assert states(one(most, exponent=7))[0] == [(total + 2**21) % 2**22 - 2**21]
    assert states(one([254, -254, 254, -256], exponent=0))[0] == [-2 * 64]


def test_currents_wrap_to_the_lowest_of_24_bits():
    u, _ = states(one([128, 128, -2], du=-1, exponent=6, steps=130))
    step = 254 * 2**12
    assert u == [((k + 1) * step + 2**23) % 2**24 - 2**23 for k in range(130)]
    u, _ = states(one([128, -2, 2], du=-1, exponent=7, steps=8))
    assert u[-1] == -(2**23)  # Lava's would be 2**23


def test_the_drive_of_a_membrane_wraps_too():
    full = 2**13 * 254  # of u in a step; after 4 steps it is within the bias of the end
    u, v = states(one([254, -2, 2], du=-1, exponent=7, bias=4095, bias_exp=7, steps=5))
    assert u[:4] == [full, 2 * full, 3 * full, 4 * full]
    drive = 4 * full + (4095 << 7)
    assert drive >= 2**23
    assert v[3] == max(drive - 2**24, 1 - 2**23)


def test_a_negative_exponent_cuts_each_weight():
    """7 >> 1 is 3, -7 >> 1 is -4; their sum is cut in Lava, each of them here."""
    assert states(one([7, 7], exponent=-1))[0] == [2 * 3 * 64]
    assert states(one([-7, -7], exponent=-1))[0] == [-2 * 4 * 64]


def test_quantized_weights_lose_nothing_to_an_exponent():
    for mixed, least in ((True, -1), (False, 0)):
        assert LOIHI1.numbers.least_exponent(mixed) == least
        assert LOIHI2.numbers.least_exponent(mixed) == -8
    program = compile_network(tiny(), LOIHI1)
    assert all(c.exponent >= -1 for c in program.network.connections)


def test_files_from_before_are_read_and_stay_as_they_were(tmp_path):
    """What came later is not in a program, a digest or a target that counts as before."""
    program = compile_network(tiny(), LOIHI2)
    path = tmp_path / "program.h5"
    program_file.write(path, program)
    with h5py.File(path) as file:
        assert not [k for k in LATER if f"numbers.{k}" in file.attrs]
    assert not [k for k in LATER if k in repr(NUMBERS)]
    other = compile_network(tiny(), LOIHI1)
    program_file.write(path, other)
    with h5py.File(path) as file:
        assert [k for k in LATER if f"numbers.{k}" in file.attrs] == list(LATER)
    assert program_file.read(path, other.placement, LOIHI1).digest() == other.digest()
    digests = {replace(program.network, numbers=n).digest() for n in (NUMBERS, LOIHI1.numbers)}
    assert len(digests) == 2


def own(tmp_path, *changes):
    text = (target.directory() / "loihi2.toml").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (tmp_path / "mine.toml").write_text(text)
    return target.load(str(tmp_path / "mine.toml"))


def test_a_shift_that_no_bias_has_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"numbers\.state_shift is 8, not a whole number from 0 "):
        own(tmp_path, ("state_shift = 6", "state_shift = 8"))


@pytest.mark.parametrize("shift", [0, 3, 7])
def test_any_other_shift_computes_the_same_network(tmp_path, shift):
    mine = own(tmp_path, ("state_shift = 6", f"state_shift = {shift}"))
    program, usual = compile_network(tiny(), mine), compile_network(tiny(), LOIHI2)
    x = images(tiny(), samples=6)
    ours, theirs = (engine.run(p, x, states=True) for p in (program, usual))
    assert compare.traces(ours, reference.run(program, x)).mismatches == 0
    assert (ours.spikes == theirs.spikes).all()
    for name, layer in ours.layers.items():
        found, wanted = layer["u"].astype(float), theirs.layers[name]["u"].astype(float)
        assert (found * 2.0 ** (6 - shift) == wanted).all()
    assert families.simulators(mine) == {}
    why = netx_writing.why_not(program)
    assert why is not None
    assert f"state_shift is {shift} instead of 6" in why


def integers(**more):
    """A network as a vendor's file gives it, with all that fewer bits have no room for."""
    p = chip.Lif("p", (2,), 4095, 4096, 300, np.array([90, -70]))
    q = chip.Resonator("q", (2,), 4000, 100, 5, resets=False)
    both = Dense(np.array([[254, -2], [2, -8]]))
    into = (
        Connection("in", "p", both),
        Connection("p", "q", both, part="real"),
        Connection("p", "q", both, part="imag"),
    )
    port = InputPort("in", (2,), 7)
    return replace(
        IntNetwork((port,), (p, q), into, {"out": "q"}, DT, 9, NUMBERS, {}), **more
    )  # fmt: skip


def test_integers_of_a_file_are_checked_against_the_target(tmp_path):
    mine = own(
        tmp_path, ("weight_bits = 8", "weight_bits = 4"),
        ("threshold_bits = 17", "threshold_bits = 8"), ("bias_bits = 13", "bias_bits = 7"),
        ("decay_bits = 12", "decay_bits = 10"),
        ("state_shift = 6", "state_shift = 5"),
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as caught:
        compile_network(integers(), mine)
    for part in (
        "its integers are made for a state_shift of 6, which is 5 here",
        "its integers are made for a decay_bits of 12, which is 10 here",
        "connection in -> p has weights outside the chip's grid (-16 to 14 in steps of 2)",
        "connection p -> q has weights", "p: threshold or bias does not fit its bits",
        "p: decay 4096 does not fit 10 bits", "q: its decays do not fit 10 bits",
    ):  # fmt: skip
        assert part in str(caught.value)
    assert len(why := reasons(integers(), mine)) == 8, why
    assert compile_network(integers(), LOIHI2).network.numbers == NUMBERS


def test_a_threshold_that_membranes_reach_needs_its_bits(tmp_path):
    mine = own(tmp_path, ("threshold_bits = 17", "threshold_bits = 8"))
    one_layer = integers().populations[0]
    c = integers().connections[0]
    for vth, fits in ((255, True), (256, False)):
        net = integers(
            populations=(replace(one_layer, vth=vth),), connections=(c,), outputs={"out": "p"}
        )  # fmt: skip
        assert (reasons(net, mine) == []) == fits


def test_loihi_1_names_all_of_a_file_that_it_has_not(tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        compile_network(integers(), LOIHI1)
    assert "in sends numbers up to 7 by spikes, the chip's are plain" in str(caught.value)
    assert "q is of Resonator neurons, the chip's are LIF" in str(caught.value)
    assert "p" not in {m for m in re.findall(r"(\w+) is of", str(caught.value))}


def test_integers_count_by_the_target_they_are_built_for():
    net = random_program(3, target=LOIHI1).network
    there = compile_network(replace(net, numbers=NUMBERS), LOIHI1)
    assert there.network.numbers == LOIHI1.numbers


def test_potentials_are_refused_by_name():
    with pytest.raises(UnsupportedError, match="read gives its membrane potential and never spike"):
        compile_network(classifier(tau=DT), LOIHI1)


def test_each_target_has_its_own_simulator():
    assert list(families.simulators(LOIHI2)) == ["lava"]
    assert list(families.simulators(LOIHI1)) == ["nengo-loihi"]
    why = netx_writing.why_not(compile_network(tiny(), LOIHI1))
    assert why is not None
    assert why.startswith(
        "Lava, which loads it, does not count like Intel Loihi 1: sum_bits is 22 inst"
    )


def test_a_target_holds_one_layout_of_memory(tmp_path):
    text = (target.directory() / "loihi1.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("[limits.axons_in_per_core]", "[limits.memory_per_core]"))
    with pytest.raises(InputError) as caught:
        target.load(str(path))
    assert "limits.axons_in_per_core is missing" in str(caught.value)
    assert "limits.memory_per_core is unknown" in str(caught.value)


def test_numbers_of_one_bit_messages_are_none():
    with pytest.raises(ValueError, match="message_bits is 1"):
        Numbers(message_bits=1)


@pytest.mark.parametrize(
    ("weight", "bits"),
    [
        ([255, 3], 8), ([252, 4], 6), ([248, 8], 5), ([128, 0], 1), ([0, 0], 1), ([-192, -64], 2),
        ([254, -2], 8), ([252, -4], 8), ([248, -8], 6), ([128, -128], 2), ([-256, 128], 2),
    ],
)  # fmt: skip
def test_synapses_take_the_fewest_bits_that_hold_their_weights(weight, bits):
    assert words.format_bits(np.array(weight)) == bits


def chain(*layers, size):
    made, into, before = [], [], "in"
    for i, synapses in enumerate(layers):
        out = synapses.output_shape if isinstance(synapses, Conv) else sizes(synapses)[:1]
        made.append(chip.Lif(f"p{i}", out, 4095, 2048, 100, np.zeros(int(np.prod(out)))))
        into.append(Connection(before, f"p{i}", synapses))
        before = f"p{i}"
    return IntNetwork(
        (InputPort("in", size),),
        tuple(made),
        tuple(into),
        {"out": before},
        DT,
        4,
        LOIHI1.numbers,
        {},
    )


def test_a_dense_layer_counts_axons_and_words():
    """100 weights of 8 bits: a block of 64, 522 bits in 9 words, and one of 36, 298 bits in 5."""
    net = chain(Dense(np.full((100, 30), 255)), size=(30,))
    (only,) = map_network(net, LOIHI1).slices
    assert dict(only.uses) == {
        "neurons": 100, "axons_in": 30, "axons_out": 0, "synapse_words": 30 * 14,
        "synapse_formats": 1,
    }  # fmt: skip


def test_a_sparse_layer_pays_for_indices_and_stores_no_zeros():
    """Two weights of 1 bit with an index of 7: 26 bits are a word."""
    weight = np.zeros((100, 30), int)
    weight[:2] = 128
    (only,) = map_network(chain(from_matrix(weight), size=(30,)), LOIHI1).slices
    assert (only.uses["axons_in"], only.uses["synapse_words"]) == (30, 30)


def test_a_convolution_is_stored_once_for_each_part_of_a_kernel():
    """3 x 3 inside 5 x 5: columns meet 1, 2, 3, 2 or 1 taps in 5 ways, so do rows."""
    kernel = Conv(np.full((2, 3, 3, 3), 255), (3, 5, 5))
    (only,) = map_network(chain(kernel, size=(3, 5, 5)), LOIHI1).slices
    taps = [a * b * 2 for a, b in itertools.product((1, 2, 3, 2, 1), repeat=2)]
    each = 8 + 6
    assert only.uses["axons_in"] == 25
    assert only.uses["synapse_words"] == 3 * sum(-(-(n * each + 10) // 64) for n in taps)


def test_parts_of_a_grouped_convolution_hear_their_own_channels():
    stored = words.Stored(
        Connection("in", "p0", Conv(np.full((4, 1, 1, 1), 2), (2, 3, 3), groups=2)),
        sparse=False, waits=False,
    )  # fmt: skip
    assert stored.sources(0, 18).tolist() == [True] * 9 + [False] * 9
    assert stored.sources(20, 21).nonzero()[0].tolist() == [11]


def test_a_neuron_takes_an_axon_for_each_core_that_hears_it():
    """The more cores the layer behind is on, the fewer neurons fit before it."""
    first = from_matrix(np.eye(900, dtype=int) * 2)
    second = Dense(np.full((5000, 900), 255))
    placement = map_network(chain(first, second, size=(900,)), LOIHI1)
    behind = len(placement.of("p1"))
    assert behind * 900 > 4096
    assert all(s.uses["axons_out"] == (s.stop - s.start) * behind for s in placement.of("p0"))
    assert len(placement.of("p0")) > 1


def test_what_no_core_holds_is_named():
    wide = chain(Dense(np.full((1, 5000), 255)), size=(5000,))
    with pytest.raises(DoesNotFitError, match=r"p0: one neuron needs 5000 axons in on its core"):
        map_network(wide, LOIHI1)
    assert most_inputs(LOIHI1) == 4096
    map_network(chain(Dense(np.full((1, 4096), 255)), size=(4096,)), LOIHI1)
    ports = tuple(InputPort(f"in{i}", (2,)) for i in range(9))
    into = tuple(
        Connection(p.name, "p0", Dense(np.full((1, 2), 2)), i) for i, p in enumerate(ports)
    )
    into = tuple(replace(c, exponent=0) for c in into)
    neuron = chip.Lif("p0", (1,), 4095, 4096, 9, np.zeros(1))
    many = IntNetwork(ports, (neuron,), into, {"out": "p0"}, DT, 4, LOIHI1.numbers, {})
    with pytest.raises(DoesNotFitError, match=r"needs 9 synapse formats on its core") as caught:
        map_network(many, LOIHI1)
    assert "--input-max" in caught.value.hint


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_are_placed_within_every_limit(seed):
    program = random_program(seed, target=LOIHI1, formats=True, loops=seed % 2 == 0)
    placement = program.placement
    assert placement.cores == len(placement.slices)
    assert set(placement.limits) == {
        "neurons", "axons_in", "axons_out", "synapse_words", "synapse_formats"
    }  # fmt: skip


@pytest.mark.parametrize(("weight", "limited_by"), [(150.0, "current"), (1.0, "bias")])
def test_a_current_and_a_bias_share_the_range_they_wrap_in(weight, limited_by):
    """A current that loses 4 of 4,096 parts a step grows to 1,024 times what comes in a step."""
    net = tiny()
    weak = replace(net.nodes["fc1"], weight=np.full((3, 4), weight), bias=np.zeros(3))
    leaking = lif((3,), tau_synapse=np.array(1.0), w_in=np.array(1.0), v_leak=np.array(20.0))
    found = compile_network(
        replace(net, nodes={**net.nodes, "fc1": weak, "lif1": leaking}), LOIHI1
    ).network
    p, rounding = found.population("lif1"), found.rounding["lif1"]
    assert (p.du, rounding.limited_by) == (3, limited_by)
    assert p.bias.tolist() == [pytest.approx(10 * rounding.scale, abs=0.5)] * 3
    grown = 4 * weight * 1e-3 * 4096 / 4
    both = LOIHI1.numbers.current_max / (grown + 10.0)
    most = min(both, LOIHI1.numbers.bias_max / 10.0)
    assert 0.95 * most < rounding.scale <= most * (1 + 1e-9)


def test_a_current_leaves_room_for_the_bias():
    """Where both wrap together, a strong bias takes from the scale."""
    net = tiny()
    strong = replace(
        net.nodes["fc1"], weight=np.full((3, 4), 100.0), bias=np.array([30.0, 20.0, 10.0])
    )
    slow = lif((3,), tau_synapse=np.array(1.0), w_in=np.array(1.0))
    nodes = {**net.nodes, "fc1": strong, "lif1": slow}
    program = compile_network(replace(net, nodes=nodes), LOIHI1)
    x = {"input": np.ones((1, 4, 4), int)}
    net = program.network
    wide = replace(net, numbers=replace(net.numbers, sum_bits=32, drive_bits=32))
    ours = engine.run(program, x, states=True)
    assert (
        compare.traces(ours, engine.run(replace(program, network=wide), x, states=True)).first
        is None
    )
