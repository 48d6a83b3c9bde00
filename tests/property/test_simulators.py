"""The fast engine and the definition agree bit for bit, and both with the plain T-step network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from float_nets import random_network
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nets import (
    DT,
    LOIHI1,
    LOIHI2,
    NUMBERS,
    assert_same_answers,
    images,
    lif,
    placed,
    pressed,
    random_program,
    read_out,
    reader,
    residual,
    seeds,
    tiny,
)

from snn2hw.errors import InputError, UnsupportedError
from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine
from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.quantize import quantize
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Delay, Input, Output
from snn2hw.ir.synapses import Dense
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import compare, floating


def assert_same(ours, theirs):
    found = compare.traces(ours, theirs)
    assert found.mismatches == 0, found.first
    assert_same_answers(ours, theirs)
    assert {k: e.tolist() for k, e in ours.events.items()} == {
        k: e.tolist() for k, e in theirs.events.items()
    }
    return found.compared


@settings(max_examples=60)
@given(seeds)
def test_engine_is_the_definition(seed):
    program = random_program(seed)
    x = images(program.network, samples=3, seed=seed)
    assert assert_same(engine.run(program, x, states=True), reference.run(program, x)) > 0


@settings(max_examples=20)
@given(seeds, st.integers(1, 20))
def test_samples_follow_each_other_in_streams_of_any_length(seed, samples):
    program = random_program(seed)
    x = images(program.network, samples=samples, seed=seed)
    assert_same(engine.run(program, x, states=True), reference.run(program, x))


@settings(max_examples=60)
@given(seeds)
@example(0)
def test_engine_is_the_definition_where_states_overflow(seed):
    program = random_program(seed, extreme=True)
    x = images(program.network, samples=2, seed=seed)
    assert_same(engine.run(program, x, states=True), reference.run(program, x))


@settings(max_examples=60)
@given(seeds, st.booleans())
def test_engine_is_the_definition_with_loops_and_delays(seed, extreme):
    program = random_program(seed, extreme=extreme, loops=True)
    x = images(program.network, samples=3, seed=seed)
    assert_same(engine.run(program, x, states=True), reference.run(program, x))


@settings(max_examples=80)
@given(seeds, st.booleans(), st.booleans())
def test_engine_is_the_definition_of_loihi_1(seed, extreme, loops):
    program = random_program(seed, extreme=extreme, loops=loops, target=LOIHI1, formats=True)
    x = images(program.network, samples=3, seed=seed)
    assert_same(engine.run(program, x, states=True), reference.run(program, x))


ONE_RULE = (
    "sum_bits", "drive_bits", "keeps_top", "shifts_weights",
)  # fmt: skip


def counting(program, **numbers):
    net = program.network
    return replace(program, network=replace(net, numbers=replace(net.numbers, **numbers)))


@settings(max_examples=40)
@given(seeds)
def test_engine_is_the_definition_where_drives_of_loihi_1_wrap(seed):
    program = pressed(seed)
    x = images(program.network, samples=2, seed=seed)
    assert_same(engine.run(program, x, states=True), reference.run(program, x))


@pytest.mark.parametrize("rule", ONE_RULE)
def test_every_rule_of_loihi_1_shows_in_both_simulators(rule):
    """Random networks reach what it changes, and both change alike."""
    usual, changed = {rule: getattr(NUMBERS, rule)}, 0
    for seed in range(40):
        program = pressed(seed) if seed % 2 else random_program(seed, extreme=True, target=LOIHI1)
        x = images(program.network, seed=seed)
        with_it = engine.run(program, x, states=True)
        without = engine.run(counting(program, **usual), x, states=True)
        assert_same(without, reference.run(counting(program, **usual), x))
        changed += compare.traces(with_it, without).mismatches > 0
    assert changed > 0


@settings(max_examples=40)
@given(seeds)
def test_nothing_that_is_quantized_for_loihi_1_wraps(seed):
    """Where sums and drives have more bits, a network computes the same."""
    net = random_network(seed, chip=True)
    nodes = {
        k: replace(n, max_value=1) if isinstance(n, Input) else n for k, n in net.nodes.items()
    }
    try:
        program = compile_network(replace(net, nodes=nodes), LOIHI1)
    except UnsupportedError as error:
        said = ("loop", "times too much", "gives its membrane potential")
        assert any(part in str(error) for part in said)  # noqa: PT017
        return
    x = images(program.network, samples=3, seed=seed)
    ours = engine.run(program, x, states=True)
    assert_same(ours, reference.run(program, x))
    wide = counting(program, sum_bits=32, drive_bits=32, state_bits=30, shifts_weights=0)
    found = compare.traces(ours, engine.run(wide, x, states=True))
    saturated = any((np.abs(layer["v"]) >= (1 << 23) - 1).any() for layer in ours.layers.values())
    assert saturated or found.mismatches == 0, found.first


@settings(max_examples=60)
@given(seeds, st.booleans(), st.booleans())
def test_engine_is_the_definition_where_sums_are_read_out(seed, extreme, loops):
    program = read_out(random_program(seed, layers=2, extreme=extreme, loops=loops), seed)
    x = images(program.network, samples=3, seed=seed)
    ours = engine.run(program, x, states=True)
    assert_same(ours, reference.run(program, x))
    answer = ours.answer("out")
    totals = answer.spikes.sum(axis=1, dtype=np.int64)  # by hand: the largest, of equals the first
    assert answer.prediction.tolist() == [row.index(max(row)) for row in totals.tolist()]


def test_what_is_read_out_is_the_signed_sum_of_the_step_or_so_far():
    r = np.random.default_rng(0)
    weight, x = 2 * r.integers(-100, 100, (3, 5)), r.integers(0, 8, (4, 6, 5))
    sums = np.einsum("ij,ntj->nti", weight, x)
    assert (sums < 0).any()
    for kind, wanted in ((chip.Graded, sums), (chip.Sigma, sums.cumsum(axis=1))):
        program = reader(kind, weight, 7, steps=6)
        for simulator in (engine, reference):
            assert (simulator.run(program, {"in": x}).spikes == wanted).all()
    assert reader(chip.Graded, weight, 7).streams  # it remembers nothing, so needs no gap
    assert not reader(chip.Sigma, weight, 7).streams


@pytest.mark.parametrize("kind", [chip.Graded, chip.Sigma])
def test_sums_read_out_wrap_at_32_bits_as_lavas_do(kind):
    program = reader(kind, np.full((1, 2), -128), 1 << 17, steps=3, exponent=7)
    x = np.array([[[1 << 17, 1], [1 << 17, 0], [1 << 16, 0]]])
    ours = engine.run(program, {"in": x}, states=True)
    assert_same(ours, reference.run(program, {"in": x}))
    low = -(1 << 31)
    first, half = low + (1 << 32) - (1 << 14), low >> 1
    wanted = {  # GradedVec takes the size of -2**31 for negative, and sends nothing
        chip.Graded: [first, 0, half], chip.Sigma: [first, -(1 << 14), half - (1 << 14)]
    }  # fmt: skip
    assert ours.spikes.reshape(-1).tolist() == wanted[kind]


def resonating(neuron, weights, largest, steps):
    """A program of one population that hears an input in both parts of its state."""
    parts = zip(("real", "imag"), weights, strict=True)
    into = tuple(Connection("in", neuron.name, Dense(w), part=part) for part, w in parts)
    port = InputPort("in", (weights[0].shape[1],), largest, -largest)
    net = IntNetwork((port,), (neuron,), into, {"out": neuron.name}, DT, steps, NUMBERS, {})
    return placed(net, LOIHI2)


def resonance(neuron, real, imag):
    """Whole numbers of one neuron, one step after another: the text of ``Resonator``, in Python."""

    def cut(product):
        return product // 4096 if product >= 0 else -(-product // 4096)

    def held(value):
        return max(1 - 2**23, min(2**23 - 1, value))

    x, y, threshold, found = 0, 0, neuron.vth * 64, []
    for a, b in zip(real, imag, strict=True):
        before = y
        x, y = (
            held(cut(neuron.cos * x) - cut(neuron.sin * y) + 64 * a),
            held(cut(neuron.sin * x) + cut(neuron.cos * y) + 64 * b),
        )
        spikes = y >= threshold if neuron.resets else x >= threshold and before < 0 <= y
        if spikes and neuron.resets:
            x, y = 0, threshold - 1
        found.append((int(spikes), x, y))
    return found


@settings(max_examples=60)
@given(seeds, st.booleans(), st.booleans())
def test_resonators_turn_shrink_and_spike_at_the_threshold(seed, resets, plain):
    """A plain one keeps or forgets all, so that its state meets the threshold exactly."""
    r = np.random.default_rng(seed)
    cos, sin = (4096 * r.integers(-1, 2, 2) if plain else r.integers(-4096, 4097, 2)).tolist()
    vth = int(r.integers(1, 6)) if plain else int(r.choice([3, 300, 100000]))
    neuron = chip.Resonator("rf", (3,), cos, sin, vth, resets)
    limit = 3 if plain else int(r.choice([4, 120]))
    both = np.array([[2, -2]] * 3)  # weights of both signs, which are even
    weights = [np.hstack([2 * r.integers(-limit, limit + 1, (3, 2)), both]) for _ in range(2)]
    program = resonating(neuron, weights, 900 if limit == 120 else 1, steps=12)
    x = images(program.network, samples=2, seed=seed)
    ours = engine.run(program, x, states=True)
    assert_same(ours, reference.run(program, x))
    arriving = [np.einsum("ij,ntj->nti", w, x["in"]).tolist() for w in weights]
    layer = ours.layers["rf"]
    for sample, i in itertools.product(range(2), range(3)):
        real, imag = ([step[i] for step in a[sample]] for a in arriving)
        states = [layer[k] for k in ("spikes", "u", "v")]
        found = list(zip(*(a[sample, :, i].tolist() for a in states), strict=True))
        assert found == resonance(neuron, real, imag)


@pytest.mark.parametrize("simulator", [engine, reference])
@pytest.mark.parametrize(("short", "spikes"), [(1, 0), (0, 1), (-1, 1)])
@pytest.mark.parametrize("resets", [False, True])
def test_a_resonator_spikes_at_the_threshold_not_just_above(simulator, short, spikes, resets):
    neuron = chip.Resonator("rf", (1,), 4096, 0, 50 + short, resets)
    program = resonating(neuron, [np.array([[2, 0]]), np.array([[0, 2]])], 50, steps=2)
    # The imaginary part reaches 50; or the real part does, and the imaginary one comes up to 0.
    x = np.array([[[0, 0], [0, 25]] if resets else [[0, -1], [25, 1]]])
    assert simulator.run(program, {"in": x}).spikes.reshape(-1).tolist() == [0, spikes]


def one_layer(numbers, neurons, weight, largest=1):
    """A program of one layer that an input reaches; ``neurons`` are what its LIF is made of."""
    port, size = InputPort("in", (weight.shape[1],), largest), len(weight)
    usual = chip.Lif("lif", (size,), 4095, 0, 1, np.zeros(size))
    into = Connection("in", "lif", Dense(weight))
    program = placed(
        IntNetwork((port,), (usual,), (into,), {"out": "lif"}, DT, 8, NUMBERS, {}), LOIHI2
    )
    layer = chip.Lif("lif", (size,), **neurons)
    counting_so = replace(NUMBERS, **numbers)
    return replace(
        program, network=replace(program.network, populations=(layer,), numbers=counting_so)
    )


@st.composite
def ways_to_count(draw):
    """Numbers whose states are short, so that their ends are met, or the longest there are."""
    bits = draw(st.sampled_from((4, 5, 6, 8, 31)))
    return {
        "state_bits": bits,
        "state_shift": draw(st.integers(0, min(7, bits - 2))),
        "threshold_bits": draw(st.sampled_from((8, 31))),
        "keeps_top": draw(st.integers(0, 1)),
        "sum_bits": draw(st.sampled_from((9, 10, 32))),
        "drive_bits": draw(st.sampled_from((9, 10, 32))),
    }


@settings(max_examples=150)
@given(ways_to_count(), seeds)
def test_engine_is_the_definition_however_a_chip_counts(numbers, seed):
    r = np.random.default_rng(seed)
    neurons = {
        "du": int(r.choice([-1, 0, 2047, 4095])),
        "dv": int(r.choice([0, 1, 2048, 4096])),
        "vth": int(r.integers(1, (1 << numbers["threshold_bits"]) - 1, dtype=np.int64)),
        "bias": r.integers(-3, 4, 3),
        "bias_exp": int(r.integers(0, 8)),
    }
    neurons["vth"] = int(r.choice([1, 2, 4, neurons["vth"]]))
    weight = 2 * r.integers(-3, 4, (3, 2))
    program = one_layer(numbers, neurons, weight)
    x = images(program.network, samples=2, seed=seed)
    assert_same(engine.run(program, x, states=True), reference.run(program, x))


@pytest.mark.parametrize(("vth", "spikes"), [((1 << 23) - 1, 1), (1 << 23, 0), ((1 << 31) - 1, 0)])
def test_a_threshold_beyond_the_longest_state_is_never_reached(vth, spikes):
    numbers = {"state_bits": 31, "state_shift": 7, "threshold_bits": 31}
    neurons = {"du": 4095, "dv": 0, "vth": vth, "bias": np.zeros(1)}
    program = one_layer(numbers, neurons, np.array([[128]]), 1 << 14)  # 2**28 a step
    x = {"in": np.full((1, 8, 1), 1 << 14)}
    ours = engine.run(program, x, states=True)
    assert_same(ours, reference.run(program, x))
    # It saturates at 2**30 - 1 in the fourth step.
    assert ours.spikes[0, :, 0].tolist() == [0, 0, 0, spikes, 0, 0, 0, spikes]


@pytest.mark.parametrize("simulator", [engine, reference])
@pytest.mark.parametrize(
    ("keeps_top", "weight", "u"),
    [
        (1, 128, 128), (1, 129, -127), (1, -127, -127), (1, -128, 128),
        (0, 127, 127), (0, 128, -128), (0, -128, -128), (0, -129, 127),
    ],
)  # fmt: skip
def test_a_current_wraps_at_the_ends_of_its_bits(simulator, keeps_top, weight, u):
    numbers = {"state_bits": 8, "state_shift": 0, "keeps_top": keeps_top}
    neurons = {"du": -1, "dv": 4096, "vth": 1000, "bias": np.zeros(1)}
    program = one_layer(numbers, neurons, np.array([[weight]]))
    trace = simulator.run(program, {"in": np.eye(8, dtype=int)[:1, :, None]}, **_STATES[simulator])
    assert (trace.layers["lif"]["u"] == u).all()


_STATES = {engine: {"states": True}, reference: {}}


@settings(max_examples=30)
@given(seeds)
def test_what_the_host_writes_is_added_to_the_bias(seed):
    r = np.random.default_rng(seed)
    port, exponent = InputPort("in", (4,), 9, -9), int(r.integers(0, 8))
    bias, vth = r.integers(-9, 10, 4), int(r.integers(1, 60))
    layer = chip.Lif("lif", (4,), 4095, 0, vth, bias, exponent, driven_by="in")
    program = placed(IntNetwork((port,), (layer,), (), {"out": "lif"}, DT, 6, NUMBERS, {}), LOIHI2)
    x = images(program.network, samples=3, seed=seed)
    ours = engine.run(program, x, states=True)
    assert_same(ours, reference.run(program, x))
    v = np.zeros((3, 4), np.int64)
    for t in range(6):
        v += (x["in"][:, t] + bias) << exponent
        spikes = v > vth << 6
        v[spikes] = 0
        assert (ours.spikes[:, t] == spikes).all()
        assert (ours.layers["lif"]["v"][:, t] == v).all()


@settings(max_examples=20)
@given(seeds, st.integers(2, 7), st.booleans())
def test_events_of_an_image_that_stands_still_are_counted_in_every_step(seed, samples, alone):
    """Such an image is held once, and its events are those of every step and sample."""
    program = random_program(seed)
    first = images(program.network, samples=samples, seed=seed)
    still = {k: np.broadcast_to(x[:, :1], x.shape) for k, x in first.items()}
    found = engine.run(program, still, memory=1 if alone else engine.CACHE)
    for name, x in still.items():
        counts = np.count_nonzero(x, axis=0).reshape(x.shape[1], -1)
        assert found.events[name].tolist() == counts.tolist()


def test_extreme_networks_do_wrap_and_saturate():
    wrapped = saturated = 0
    for seed in range(30):
        program = random_program(seed, extreme=True)
        trace = engine.run(program, images(program.network, seed=seed), states=True)
        for layer in trace.layers.values():
            saturated += int((np.abs(layer["v"]) == (1 << 23) - 1).sum())
            wrapped += int((np.abs(layer["u"]) > (1 << 22)).sum())
    assert wrapped > 0
    assert saturated > 0


@settings(max_examples=20)
@given(seeds)
def test_batches_do_not_matter(seed):
    program = random_program(seed)
    x = images(program.network, samples=5, seed=seed)
    whole = engine.run(program, x, states=True)
    pieces = engine.run(program, x, states=True, memory=1)
    assert_same(whole, pieces)


@settings(max_examples=25)
@given(seeds)
def test_chip_computes_what_the_float_network_computes_shifted_by_its_depth(seed):
    """Weights on the chip's grid and membranes without fractions leave nothing to round."""
    r = np.random.default_rng(seed)
    sizes = [int(n) for n in r.integers(2, 9, 4)]
    nodes = {"input": Input((sizes[0],))}
    edges, before = [], "input"
    for i, (m, n) in enumerate(itertools.pairwise(sizes)):
        w = np.rint(r.normal(0, 60, (n, m))) * 2
        w.flat[0], w.flat[1] = 254, -254  # pins the scale to exactly 1
        # Integers and a threshold of 300, so that the float network does not round either.
        nodes[f"fc{i}"] = Affine(np.clip(w, -254, 254), r.integers(-90, 90, n))
        nodes[f"lif{i}"] = lif((n,), beta=float(r.choice([0.0, 1.0])), threshold=300.0)
        edges += [(before, f"fc{i}"), (f"fc{i}", f"lif{i}")]
        before = f"lif{i}"
    skip = np.rint(r.normal(0, 60, (sizes[3], sizes[1]))) * 2
    skip.flat[0], skip.flat[1] = 254, -254
    nodes["skip"] = Affine(np.clip(skip, -254, 254), np.zeros(sizes[3]))
    back = np.rint(r.normal(0, 60, (sizes[2], sizes[2]))) * 2
    back.flat[0], back.flat[1] = 254, -254
    nodes["back"] = Affine(np.clip(back, -254, 254), np.zeros(sizes[2]))
    nodes["wait"] = Delay(np.full(sizes[1], r.integers(0, 3) * DT))
    nodes["output"] = Output((sizes[3],))
    edges += [("lif0", "wait"), ("wait", "skip"), ("skip", "lif2"), (before, "output")]
    edges += [("lif1", "back"), ("back", "lif1")]
    net = Network(nodes, tuple(edges), DT, 5)
    ints = quantize(net, LOIHI2)  # and all neurons kept
    program = placed(ints, LOIHI2)
    assert {p.vth for p in program.network.populations} == {300}
    x = images(net, samples=4, seed=seed)
    plain = floating.run(net, x, record=net.neurons()).recorded
    found = reference.run(program, x)
    for name, layer in found.layers.items():
        assert (layer.spikes == plain[name]).all()
    on_chip = found.on_chip_time(found.spikes, program.depth)
    assert on_chip.shape[1] == 5 + 3
    assert (on_chip[:, 3:] == plain["lif2"]).all()
    assert not on_chip[:, :3].any()


@settings(max_examples=25)
@given(seeds)
def test_any_network_for_the_chip_is_computed_alike(seed):
    """Whatever compiles: loops, delays, thresholds, gains of their own, leaks to a potential."""
    net = random_network(seed, chip=True)
    try:
        program = compile_network(net, LOIHI2)
    except UnsupportedError as error:
        assert "loop" in str(error) or "times too much" in str(error)  # noqa: PT017
        return
    x = images(net, samples=2, seed=seed)
    assert_same(engine.run(program, x, states=True), reference.run(program, x))


def test_most_networks_for_the_chip_compile():
    compiled = 0
    for seed in range(40):
        try:
            compile_network(random_network(seed, chip=True), LOIHI2)
        except UnsupportedError:
            continue
        compiled += 1
    assert compiled > 25


def test_residual_branches_meet():
    program = compile_network(residual(), LOIHI2)
    assert dict(program.phase) == {"input": 0, "lif1": 1, "lif2": 2, "lif3": 3, "lif4": 4}
    waits = {
        (c.pre, c.post): d for c, d in zip(program.network.connections, program.delays, strict=True)
    }
    assert waits["lif1", "lif3"] == 2
    x = images(program.network)
    assert_same(engine.run(program, x, states=True), reference.run(program, x))


def test_more_samples_than_steps_stay_apart():
    """Deep and short: a layer starts on a sample while others work on the two before it."""
    net = residual(steps=1)
    program = compile_network(net, LOIHI2)
    x = images(program.network, samples=6)
    together = reference.run(program, x)
    for i in range(6):
        alone = reference.run(program, {k: v[i : i + 1] for k, v in x.items()})
        assert (alone.spikes[0] == together.spikes[i]).all()


def test_samples_with_loops_stay_apart():
    """What one sample leaves in neurons, loops and delays does not reach the next."""
    for seed in range(20):
        program = random_program(seed, loops=True, extreme=seed % 2 == 0)
        x = images(program.network, samples=3, seed=seed)
        together = reference.run(program, x)
        for i in range(3):
            alone = reference.run(program, {k: v[i : i + 1] for k, v in x.items()})
            for name, layer in alone.layers.items():
                assert (layer["v"][0] == together.layers[name]["v"][i]).all()
                assert (layer.spikes[0] == together.layers[name].spikes[i]).all()


def test_bad_inputs_are_named():
    program = compile_network(tiny(), LOIHI2)
    with pytest.raises(InputError, match="takes 0 to 1"):
        engine.run(program, {"input": np.full((1, 4, 4), 2)})
    with pytest.raises(InputError, match=r"must be \[samples, steps, 4\]"):
        engine.run(program, {"input": np.zeros((1, 4, 5), int)})
    with pytest.raises(InputError, match="integers"):
        engine.run(program, {"input": np.zeros((1, 4, 4))})
    with pytest.raises(InputError, match="takes inputs input"):
        engine.run(program, {"other": np.zeros((1, 4, 4), int)})
