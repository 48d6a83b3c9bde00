"""Loihi 1 beside Loihi 2: numbers, what it refuses, what its cores hold, and who simulates it."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import h5py
import netx_writing
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import (
    DT,
    LOIHI1,
    LOIHI2,
    NUMBERS,
    classifier,
    images,
    lif,
    placed,
    random_program,
    seeds,
    tiny,
)

from snn2hw import families, target
from snn2hw.errors import DoesNotFitError, InputError, UnsupportedError
from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine, words
from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.bound import lower_bound
from snn2hw.families.loihi.numbers import LATER, Numbers
from snn2hw.families.loihi.place import map_network, most_inputs, storage
from snn2hw.families.loihi.schedule import timed
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.placement import Span
from snn2hw.ir.synapses import Conv, Dense, from_matrix, matrix, sizes
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
        "neurons": 100, "neuron_groups": 1, "axons_in": 30, "axons_out": 0,
        "synapse_words": 30 * 14, "synapse_formats": 1,
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
    assert stored.heard_by([Span(0, 18)]).tolist() == [1] * 9 + [0] * 9
    assert stored.heard_by([Span(20, 21), Span(2, 3, 4, 9)]).nonzero()[0].tolist() == [2, 11]
    assert stored.heard_by([Span(0, 18), Span(0, 36)]).tolist() == [2] * 9 + [1] * 9


def test_a_neuron_takes_an_axon_for_each_core_that_hears_it():
    """The more cores the layer behind is on, the fewer neurons fit before it."""
    first = from_matrix(np.eye(900, dtype=int) * 2)
    second = Dense(np.full((5000, 900), 255))
    placement = map_network(chain(first, second, size=(900,)), LOIHI1)
    behind = len(placement.of("p1"))
    assert behind * 900 > 4096
    assert all(s.uses["axons_out"] == s.span.size * behind for s in placement.of("p0"))
    assert len(placement.of("p0")) > 1


def test_what_no_core_holds_is_named():
    wide = chain(Dense(np.full((1, 5000), 255)), size=(5000,))
    with pytest.raises(DoesNotFitError, match=r"p0: one neuron needs 5,000 axons in on its core"):
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


def one_by_one(connection, sparse, bits, least_index, neurons):
    """Axons in and words of synapses of these neurons, source by source and tap by tap."""
    synapses = connection.synapses
    wide = max(least_index, (len(neurons) - 1).bit_length())

    def words_of(counts, index):
        each = bits + index
        blocks = [[64] * (n // 64) + ([n % 64] if n % 64 else []) for n in counts]
        return sum(-(-(k * each + 10) // 64) for some in blocks for k in some)

    if not isinstance(synapses, Conv):
        there = matrix(synapses).toarray()[neurons] != 0
        heard = there.any(axis=0)
        counts = there.sum(axis=0)[heard] if sparse else [len(neurons)] * heard.sum()
        return int(heard.sum()), words_of(counts, wide if sparse else 0)
    _, height, width = synapses.output_shape
    out, into = synapses.weight.shape[:2]
    taps = {}
    for n in neurons:
        y, x = n % (height * width) // width, n % width
        for ky, kx in np.ndindex(synapses.weight.shape[2:]):
            at = tuple(
                i * s - p + k * d
                for i, s, p, k, d in zip(
                    (y, x), synapses.stride, synapses.padding, (ky, kx), synapses.dilation,
                    strict=True,
                )
            )  # fmt: skip
            if all(0 <= i < size for i, size in zip(at, synapses.input_shape[1:], strict=True)):
                taps.setdefault(at, set()).add((ky, kx))
    channels = sorted({n // (height * width) for n in neurons})
    counts = []
    for part in {frozenset(t) for t in taps.values()}:
        for group in {c // (out // synapses.groups) for c in channels}:
            mine = [c for c in channels if c // (out // synapses.groups) == group]
            counts += [
                sum(
                    not sparse or synapses.weight[c, i, ky, kx] != 0
                    for c in mine
                    for ky, kx in part
                )
                for i in range(into)
            ]
    return len(taps), words_of([n for n in counts if n], wide)


@settings(max_examples=40)
@given(seeds, st.integers(3, 40), st.integers(10, 60), st.integers(6, 200), st.integers(10, 300))
def test_random_networks_are_placed_within_every_limit(seed, neurons, heard, sent, stored):
    """What each part uses is counted one by one, and so is who hears it."""
    small = {"neurons_per_core": neurons, "axons_in_per_core": heard, "axons_out_per_core": sent,
             "synapse_words_per_core": stored, "chips": 9999}  # fmt: skip
    limits = {**LOIHI1.limits}
    limits |= {k: replace(limits[k], value=float(v)) for k, v in small.items()}
    chips = replace(LOIHI1, limits=limits)
    net = random_program(seed, target=LOIHI1, formats=True, loops=seed % 2 == 0).network
    with suppress(DoesNotFitError):
        assert_within_limits(net, chips, map_network(net, chips))


@settings(max_examples=40)
@given(seeds)
def test_images_are_cut_by_rows_and_channels_within_every_limit(seed):
    """Two convolutions, of which parts begin and end within a row, and hear parts of rows."""
    r = np.random.default_rng(seed)
    shape, layers = (int(r.choice([2, 4])), int(r.integers(7, 11)), int(r.integers(7, 11))), []
    for _ in range(2):
        groups, taps = int(r.choice([1, 2])), r.integers(1, 3, 2)
        weight = 2 * r.integers(-9, 9, (int(r.choice([4, 6])), shape[0] // groups, *taps))
        geometry = (tuple(map(int, r.integers(low, 3, 2))) for low in (1, 0, 1))
        layers.append(Conv(weight, shape, *geometry, groups))
        shape = layers[-1].output_shape
    net = chain(*layers, size=layers[0].input_shape)
    small = {"neurons_per_core": r.integers(12, 60), "axons_in_per_core": 90,
             "axons_out_per_core": r.integers(60, 300), "synapse_words_per_core": 400,
             "chips": 9999}  # fmt: skip
    limits = {**LOIHI1.limits}
    limits |= {k: replace(limits[k], value=float(v)) for k, v in small.items()}
    chips = replace(LOIHI1, limits=limits)
    assert_within_limits(net, chips, map_network(net, chips))


def test_a_part_of_an_image_may_be_some_rows_of_all_channels():
    """24 channels of 32 x 32: cut by channels, each neuron before would be heard by 24 cores."""
    first = Conv(np.full((8, 1, 3, 3), 2), (1, 32, 32), padding=(1, 1))
    second = Conv(np.full((24, 8, 3, 3), 2), (8, 32, 32), padding=(1, 1))
    placement = map_network(chain(first, second, size=(1, 32, 32)), LOIHI1)
    assert len(placement.of("p1")) == 24
    assert len(placement.of("p0")) <= 9
    assert any(s.repeats > 1 for s in placement.of("p1"))


def assert_within_limits(net, chips, placement):
    assert lower_bound(net, chips) <= placement.cores <= len(placement.slices)
    waits = timed(net, chips)[1]
    total = [Counter() for _ in range(placement.cores)]
    for s in placement.slices:
        own = np.arange(s.span.end)[s.span.where].tolist()
        first = next(other for other in placement.slices if other.core == s.core) == s
        least = 6 if first else max(6, (placement.limits["neurons"] - 1).bit_length())
        wanted = Counter({"neurons": len(own), "neuron_groups": 1})
        for c, delay in zip(net.connections, waits, strict=True):
            form = storage(c, chips)
            bits = words.format_bits(c.synapses.weight) + (6 if delay > 1 else 0)
            if c.post == s.layer:
                axons, count = one_by_one(c, form == "sparse", bits, least, own)
                wanted.update(axons_in=axons, synapse_words=count, synapse_formats=int(axons > 0))
            if c.pre == s.layer:
                for other in placement.of(c.post):
                    wanted["axons_out"] += heard_of(c.synapses, other, own)
        assert +Counter(s.uses) == +wanted
        total[s.core].update(s.uses)
    assert all(n <= placement.limits[k] for core in total for k, n in core.items())


def heard_of(synapses, behind, own):
    """How many of some neurons reach a part behind, weights of 0 in a kernel included."""
    if isinstance(synapses, Conv):
        synapses = replace(synapses, weight=np.ones_like(synapses.weight))
    there = matrix(synapses).toarray()[behind.span.where] != 0
    return int(there.any(axis=0)[own].sum())


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
