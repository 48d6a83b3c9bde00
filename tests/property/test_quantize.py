"""Quantization: half a step at most, one scale a population, and never an overflow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from nets import DT, LOIHI2, NUMBERS, classifier, images, lif, placed, residual, seeds, tiny

from snn2hw.errors import NetworkError, UnsupportedError
from snn2hw.families.loihi import engine
from snn2hw.families.loihi import populations as chip
from snn2hw.families.loihi.quantize import network, quantize, scale
from snn2hw.families.loihi.quantize.drive import Drive, Driving, Sends, drive_of, forgets
from snn2hw.ir.discrete import Coefficients
from snn2hw.ir.graph import Source, wiring
from snn2hw.ir.network import Network, Rules
from snn2hw.ir.nodes import Affine, Conv2d, Input, Leaky, Output
from snn2hw.ir.synapses import Conv, Dense, from_matrix, matrix
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import floating


def single(weight, bias, threshold=1.0, beta=0.5, max_value=1, **more) -> Network:
    nodes = {
        "in": Input((weight.shape[1],), max_value),
        "fc": Affine(weight, bias),
        "lif": lif((weight.shape[0],), beta, threshold, **more),
        "out": Output((weight.shape[0],)),
    }
    return Network(nodes, (("in", "fc"), ("fc", "lif"), ("lif", "out")), DT, 3)


networks = st.tuples(seeds, st.floats(1e-3, 30), st.floats(0.05, 20), st.sampled_from([1, 16, 255]))


@settings(max_examples=60)
@given(seeds, st.lists(st.integers(0, 9), min_size=1, max_size=6), st.floats(0.1, 5.0))
def test_sums_are_rounded_and_whole_numbers_stay(seed, sizes, spread):
    r = np.random.default_rng(seed)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    parts = r.normal(0, spread, owners.size)
    parts[r.random(owners.size) < 0.3] = r.integers(-2, 3)
    whole = np.rint(parts)
    found = whole + scale._owed(parts, whole, owners)
    assert (np.abs(found - parts) <= 1.0).all()
    assert (found == parts)[whole == parts].all()
    for owner in range(len(sizes)):
        mine = owners == owner
        off = found[mine].sum() - parts[mine].sum()
        assert abs(off) <= 0.5 + 1e-9
        changed = (found != whole)[mine]
        error = np.abs(parts - whole)[mine]
        same_side = np.sign(parts - whole)[mine] == np.sign((parts - whole)[mine].sum())
        if changed.any():
            assert error[changed].min() >= error[~changed & same_side].max(initial=0.0)


def test_every_kind_of_synapse_keeps_its_sums():
    r = np.random.default_rng(3)
    kernel = Conv(r.normal(size=(4, 2, 3, 3)), (2, 6, 6))
    dense = Dense(r.normal(size=(5, 30)))
    for synapses in (kernel, dense, from_matrix(matrix(dense))):
        parts = synapses.weight * 3.0
        whole = np.rint(parts)
        owners = scale._owners(synapses)
        assert np.bincount(owners).tolist() == [18] * 4 or np.bincount(owners).tolist() == [30] * 5
        off = (whole + scale._owed(parts, whole, owners) - parts).reshape(-1)
        assert np.abs(np.bincount(owners, off)).max() <= 0.5


@settings(max_examples=60)
@given(networks)
def test_rounding_is_within_half_a_step(drawn):
    seed, spread, threshold, largest = drawn
    r = np.random.default_rng(seed)
    net = single(r.normal(0, spread, (5, 7)), r.normal(0, spread, 5), threshold, max_value=largest)
    try:
        ints = quantize(net, LOIHI2)
    except UnsupportedError:
        assert spread / threshold > 20  # nothing milder may be refused
        return
    (c,), (p,) = ints.connections, ints.populations
    unit = ints.rounding["lif"].scale
    step = 2 * 2.0**c.exponent if c.mixed else 2.0**c.exponent
    back = c.synapses.weight * 2.0**c.exponent
    want = net.nodes["fc"].weight / threshold * unit
    inside = (want <= NUMBERS.weight_range(c.mixed)[1] * 2.0**c.exponent + 1e-6) & (
        want >= NUMBERS.weight_range(c.mixed)[0] * 2.0**c.exponent
    )
    assert inside.all() or c.exponent == NUMBERS.exponent_min
    whole = largest == 1  # of other inputs the sum is rounded, and a weight to a neighbour
    assert np.abs(back - want)[inside].max() <= (step / 2 if whole else step) + 1e-9
    if not whole:
        sums = (back - want).sum(1)[inside.all(1)]
        assert np.abs(sums).max(initial=0.0) <= step / 2 + 1e-9
    assert abs(p.vth - unit) <= 0.5
    assert np.abs(p.bias - net.nodes["fc"].bias / threshold * unit).max() <= 0.5 + 1e-9


@settings(max_examples=60)
@given(networks)
def test_no_input_can_wrap_the_current(drawn):
    seed, spread, threshold, largest = drawn
    r = np.random.default_rng(seed)
    more = {"tau_synapse": np.array(4 * DT), "w_in": np.array(1.0)} if seed % 2 else {}
    net = single(
        r.normal(spread, spread, (3, 9)), np.zeros(3), threshold, max_value=largest, **more
    )
    try:
        program = compile_network(net, LOIHI2, time_steps=40)
    except UnsupportedError:
        reject()
    (c,) = program.network.connections
    for row in range(3):  # the input that pushes this neuron hardest, up and down
        for sign in (1, -1):
            x = np.where(sign * c.synapses.weight[row] > 0, largest, 0)
            trace = engine.run(program, {"in": np.tile(x, (1, 40, 1))}, states=True)
            u = trace.layers["lif"]["u"][0, :, row]
            assert (np.diff(sign * u) >= -64).all(), "an overflow would turn the current around"


def test_branches_share_a_scale_and_use_exponents():
    net = residual()
    ints = quantize(net, LOIHI2)
    into = {c.pre: c for c in ints.connections if c.post == "lif3"}
    scale = ints.rounding["lif3"].scale
    assert into["lif1"].exponent > into["lif2"].exponent == 0
    assert into["lif1"].synapses.weight[0] << into["lif1"].exponent == pytest.approx(
        scale, rel=0.01
    )
    kernel = net.nodes["conv3"].kernel.weight
    assert np.abs(into["lif2"].synapses.weight - kernel * scale).max() <= 1


def test_lone_convolutions_have_no_exponent_so_that_netx_can_hold_them():
    r = np.random.default_rng(0)
    kernel = Conv(np.abs(r.normal(0.5, 0.1, (2, 1, 5, 5))), (1, 9, 9))
    nodes = {
        "in": Input((1, 9, 9), 255), "conv": Conv2d(kernel, np.zeros(2)),
        "lif": lif((2, 5, 5), threshold=300.0), "out": Output((2, 5, 5)),
    }  # fmt: skip
    net = Network(nodes, (("in", "conv"), ("conv", "lif"), ("lif", "out")), DT, 2)
    ints = quantize(net, LOIHI2)
    assert ints.connections[0].exponent == 0
    assert ints.rounding["lif"].limited_by in ("current", "threshold")


def test_time_constants_become_decays():
    net = single(np.eye(2), np.zeros(2), beta=0.75)
    (p,) = quantize(net, LOIHI2).populations
    assert (p.du, p.dv) == (4095, 1024)
    cuba = single(np.eye(2), np.zeros(2), beta=1, tau_synapse=np.array(8 * DT), w_in=np.array(1.0))
    (p,) = quantize(cuba, LOIHI2).populations
    assert (p.du, p.dv) == (511, 0)


def test_every_refusal_is_listed():
    net = single(
        np.eye(20), np.zeros(20), reset="subtract", tau=DT * np.arange(1, 21), r=np.ones(20)
    )
    with pytest.raises(UnsupportedError) as caught:
        quantize(net, LOIHI2)
    assert "lif: a spike takes the threshold" in str(caught.value)
    assert "lif has 20 time constants, the chip one a population" in str(caught.value)


def test_time_steps_must_be_known():
    net = Network(tiny().nodes, tiny().edges, DT)
    with pytest.raises(NetworkError, match="Give --time-steps"):
        quantize(net, LOIHI2)
    assert quantize(net, LOIHI2, time_steps=7).time_steps == 7


def test_a_current_that_would_never_decay_is_refused():
    net = single(np.eye(2), np.zeros(2), tau_synapse=np.array(1e5 * DT), w_in=np.array(1.0))
    with pytest.raises(UnsupportedError, match="lif has a synapse time constant too long"):
        quantize(net, LOIHI2)


def read(weight, bias, max_value=1, tau=DT, r=1.0, v_leak=0.0, steps=3, **more) -> Network:
    """A dense layer read by an integrator."""
    leaky = Leaky((len(weight),), np.array(tau), np.array(r), np.array(v_leak), **more)
    nodes = {
        "in": Input((weight.shape[1],), max_value), "fc": Affine(weight, bias), "read": leaky,
        "out": Output(leaky.shape),
    }  # fmt: skip
    return Network(nodes, (("in", "fc"), ("fc", "read"), ("read", "out")), DT, steps)


def heard(weight, bias=0.0, tau=DT, largest=1) -> Network:
    """An integrator that neurons hear."""
    net = read(weight, np.full(len(weight), bias), largest, tau)
    edges = tuple(e for e in net.edges if e[1] != "out")
    nodes = {**net.nodes, "lif": lif((len(weight),))}
    return Network(nodes, (*edges, ("read", "lif"), ("lif", "out")), DT, 3)


@settings(max_examples=80)
@given(networks, st.booleans(), st.sampled_from([0.0, 0.01, 1.0, 1000.0]))
def test_sums_read_out_are_the_float_ones_but_for_the_weights_rounding(drawn, forgets, bias):
    seed, spread, r, largest = drawn
    rng = np.random.default_rng(seed)
    weight, biases = rng.normal(0, spread, (4, 7)), rng.normal(0, bias * spread, 4)
    how = {"v_leak": float(rng.normal()) if bias else 0.0} if forgets else {"tau": np.inf}
    net = read(weight, biases, largest, r=r if forgets else r / DT, **how)
    program = compile_network(net, LOIHI2)
    last = program.network.populations[-1]
    assert isinstance(last, chip.Graded if forgets else chip.Sigma)
    scale = program.network.rounding["read"].scale
    x = images(net, samples=4, seed=seed)
    ours = engine.run(program, x).spikes / scale
    # Half a step of each weight, a whole unit where a negative exponent cuts a sum.
    each = [(2 if c.mixed else 1) * 2.0**c.exponent / 2 for c in program.network.connections]
    allowed = each[0] * x["in"].sum(axis=2) + sum(each[1:]) + 2
    if not forgets:
        allowed = allowed.cumsum(axis=1)
    error = np.abs(ours - floating.run(net, x).answer)
    assert (error <= allowed[..., None] / scale + 1e-9).all()
    assert np.abs(ours * scale).max() < 1 << (NUMBERS.message_bits - 1)


@settings(max_examples=40)
@given(seeds, st.sampled_from([DT, np.inf]), st.sampled_from([1, 40, 3000]))
def test_no_input_makes_a_message_too_long(seed, tau, steps):
    r = np.random.default_rng(seed)
    net = read(r.normal(1, 0.5, (3, 700)), r.normal(0, 3, 3), 255, tau, 1 / DT, steps=steps)
    program = compile_network(net, LOIHI2)
    assert program.network.rounding["read"].limited_by == "message"
    weight = program.network.connections[0].synapses.weight
    pushes = [np.where(sign * row > 0, 255, 0) for row in weight for sign in (1, -1)]
    x = np.broadcast_to(np.array(pushes)[:, None], (len(pushes), steps, 700))
    largest = np.abs(engine.run(program, {"in": x}).spikes.astype(np.int64)).max()
    assert 0.9 * 2 ** (NUMBERS.message_bits - 1) < largest < 2 ** (NUMBERS.message_bits - 1)


@pytest.mark.parametrize("tau", [DT, np.inf])
def test_classifiers_decide_as_in_float(tau):
    same = []
    for seed in range(12):
        net = classifier(seed, tau, bias=seed % 2 == 0)
        program = compile_network(net, LOIHI2)
        x = images(net, samples=60, seed=seed)
        wanted = floating.run(net, x).prediction
        same.append((engine.run(program, x).prediction == wanted).mean())
    assert np.mean(same) > 0.95
    assert np.min(same) > 0.85


def test_weights_of_a_readout_use_all_their_bits_whatever_their_size():
    for size in (1e-6, 1.0, 1e6):
        net = quantize(read(size * np.array([[0.3, -1.0], [0.2, 0.5]]), np.zeros(2)), LOIHI2)
        assert net.connections[0].synapses.weight.tolist() == [[76, -254], [50, 128]]
        assert net.rounding["read"].limited_by == "weights"


def test_time_constants_within_the_chips_fraction_of_all_or_nothing_are_taken():
    tau_synapse, w_in = np.array(DT), np.array(2.0)
    for net, kind in (
        (read(np.eye(2), np.zeros(2), tau=1e4 * DT), chip.Sigma),
        (read(np.eye(2), np.zeros(2), tau=DT * (1 + 1e-4)), chip.Graded),
        (read(np.eye(2), np.zeros(2), tau=np.float32(DT)), chip.Graded),
        (read(np.eye(2), np.zeros(2), tau=1e5 * DT), chip.Sigma),
        (read(np.eye(2), np.zeros(2), tau_synapse=tau_synapse, w_in=w_in), chip.Graded),
    ):
        assert isinstance(quantize(net, LOIHI2).populations[0], kind)


@pytest.mark.parametrize(
    ("current", "membrane", "wanted"),
    [(0.0, 0.0, True), (0.0, 1.0, False), (0.0, 0.5, None), (0.5, 0.0, None), (1.0, 1.0, None),
     (1e-4, 1e-4, True), (0.0, 1 - 1e-4, False), (0.0, 2e-4, None), (0.0, 1 - 2e-4, None)],
)  # fmt: skip
def test_an_integrator_forgets_all_or_nothing_within_half_of_the_chips_fraction(
    current, membrane, wanted
):
    one = np.ones(())
    step = Coefficients(np.array(current), one, np.array(membrane), one, 0 * one)
    assert forgets(step, NUMBERS) is wanted


def test_an_integrator_that_is_no_readout_is_refused_with_what_works():
    leaky = read(np.eye(2), np.zeros(2), tau=2 * DT)
    cuba = read(np.eye(2), np.zeros(2), tau_synapse=np.array(2 * DT), w_in=np.array(1.0))
    several = read(np.eye(2), np.zeros(2), tau=np.array([DT, np.inf]), r=np.ones(2))
    for net in (leaky, cuba, several):
        with pytest.raises(UnsupportedError, match=r"read keeps a part of .* tau = dt with euler"):
            quantize(net, LOIHI2)
    with pytest.raises(UnsupportedError, match="membrane potential and never spikes"):
        quantize(leaky, replace(LOIHI2, abilities={**LOIHI2.abilities, "graded_output": False}))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (heard(np.eye(2), tau=2 * DT), "read gives its membrane potential to other cells, the"),
        (heard(np.array([[1.0, -1.0], [0.0, 1.0]])), "sends sums with negative weights or a bias"),
        (heard(np.eye(2), bias=1.0), "sends sums with negative weights or a bias"),
        (heard(np.array([[0.61803, 0.0], [0.0, 1.0]])), "weights are not multiples of one number"),
        (heard(np.eye(2), largest=1 << 23), "more than a message holds"),
    ],
)
def test_an_integrator_that_others_hear_sends_sums_that_are_whole(net, said):
    with pytest.raises(UnsupportedError, match=said):
        quantize(net, LOIHI2)


def test_a_bias_before_a_readout_is_a_neuron_with_a_name_of_its_own():
    net = classifier()
    clash = Network(
        {**net.nodes, "bias": lif((2,)), "more": Affine(np.ones((5, 2)), np.zeros(5)),
         "in2": Input((2,))},
        (*net.edges, ("in2", "bias"), ("bias", "more"), ("more", "read")), DT, 4,
    )  # fmt: skip
    ints = quantize(clash, LOIHI2)
    assert {p.name for p in ints.populations} == {"lif", "bias", "bias_", "read"}
    program = compile_network(net, LOIHI2)
    trace = engine.run(program, images(net, samples=2), states=True)
    assert trace.layers["bias"].spikes.all()
    assert (program.phase["bias"], program.phase["read"]) == (1, 2)


@settings(max_examples=60)
@given(seeds, st.sampled_from([2.0, 1.25]), st.sampled_from([0.0, 0.1]))
def test_a_bias_of_a_current_builds_up_as_the_current_does(seed, tau, leak):
    """Membranes that never spike are those in float but for rounding."""
    r = np.random.default_rng(seed)
    weight, bias = r.normal(0, 1, (4, 5)), r.normal(0, 1, 4)
    cuba = {"tau_synapse": np.array(tau * DT), "w_in": np.array(tau), "v_leak": np.array(leak)}
    net = replace(single(weight, bias, threshold=100.0, **cuba), time_steps=12)
    ints = quantize(net, LOIHI2)
    assert [p.name for p in ints.populations] == ["bias", "lif"]
    # What the membrane leaks to is a bias of the membrane still.
    assert ints.population("lif").bias.any() == (leak > 0)
    x = images(net, samples=3, seed=seed)
    program = placed(ints, LOIHI2)
    found = engine.run(program, x, states=True).layers["lif"]["v"] / 2**NUMBERS.state_shift
    scale = ints.rounding["lif"].scale / 100.0
    wanted = floating.run(net, x, record=["lif"]).membranes["lif"]
    halves = [c.synapses.weight[0].size * 2.0**c.exponent for c in ints.connections]
    # A step's error is kept as the current, and then the membrane, keeps what comes in.
    allowed = (sum(halves) + 3) * tau / (tau - 1) * 2
    assert (np.abs(found - wanted * scale) <= allowed).all()
    plain = replace(net, nodes={**net.nodes, "fc": replace(net.nodes["fc"], bias=np.zeros(4))})
    without = floating.run(plain, x, record=["lif"]).membranes["lif"]
    assert np.abs(without - wanted).max() * scale > allowed


def test_a_readout_that_hears_more_than_a_message_holds_is_refused():
    net = read(np.ones((2, 3)), np.zeros(2), 1 << 23, tau=np.inf, r=1 / DT, steps=1 << 18)
    with pytest.raises(UnsupportedError, match=r"times its largest weight .* 24 bits"):
        quantize(net, LOIHI2)


def neurons(r, shape, silent):
    """Neurons that take their input with gains of their own, and reach no threshold of ``silent``.

    Their thresholds differ: by neuron, by channel of an image, or not at all.
    """
    sizes = [(), shape, (shape[0], *[1] * (len(shape) - 1))]
    each = np.array(np.broadcast_to(r.uniform(1, 3, sizes[int(r.integers(0, 3))]), shape))
    if r.random() < 0.3:
        each[-1] = 2.0  # one channel alike, others perhaps not
    gains = {
        "r": np.array(r.uniform(0.3, 3)),
        "v_leak": np.array(float(r.choice([0.0, 0.4, -0.7]))),
    }
    keep = float(r.choice([0.0, 0.5, 0.8, 1.0]))
    gains["tau"] = np.array(np.inf if keep == 1 else DT / (1 - keep))
    if keep == 1:
        gains |= {"r": gains["r"] / DT, "v_leak": np.zeros(())}
    if r.random() < 0.6:
        gains["tau_synapse"] = np.array(DT * float(r.choice([1.0, 1.25, 3.0])))
        gains["w_in"] = np.array(r.uniform(0.3, 3)) if r.random() < 0.7 else None
    return lif(shape, v_threshold=silent * each, **gains)


@settings(max_examples=60)
@given(seeds)
def test_membranes_are_the_float_ones_whatever_the_gains(seed):
    """Of a dense layer or a convolution, in units of each neuron's threshold, within 3 %."""
    r = np.random.default_rng(seed)
    image = (1, 4, 4)
    side = 2 * int(r.integers(1, 3))
    kernel = Conv(r.normal(0, 1, (2, 1, side, side)), image, (1, 2), (1, 0))
    weight = Affine(r.normal(0, 1, (5, 16)), r.normal(0, 1, 5))
    nodes = {"in": Input(image if seed % 2 else (16,), int(r.choice([1, 16])))}
    nodes["map"] = Conv2d(kernel, r.normal(0, 1, 2)) if seed % 2 else weight
    shape = kernel.output_shape if seed % 2 else (5,)
    rules = Rules(integration=str(r.choice(["euler", "exponential"])))
    edges = (("in", "map"), ("map", "lif"), ("lif", "out"))

    def made(silent):
        cell = neurons(np.random.default_rng(seed), shape, silent)
        return Network({**nodes, "lif": cell, "out": Output(shape)}, edges, DT, 10, rules)

    x = images(made(1.0), samples=2, seed=seed)
    most = np.abs(floating.run(made(1e9), x, record=["lif"]).membranes["lif"]).max()
    net = made(1.2 * most)
    wanted = floating.run(net, x, record=["lif"]).membranes["lif"] / net.nodes["lif"].v_threshold
    ints = quantize(net, LOIHI2)
    found = engine.run(placed(ints, LOIHI2), x, states=True)
    unit = ints.rounding["lif"].scale
    membranes = found.layers["lif"]["v"] / (unit * 2**NUMBERS.state_shift)
    assert np.abs(membranes - wanted).max() <= 0.03 * np.abs(wanted).max() + 10 / unit


@settings(max_examples=60)
@given(seeds, st.floats(0.0, 4.0), st.booleans())
def test_branches_of_very_different_size_are_rounded_as_finely_as_the_chip_can(seed, apart, signs):
    """No weight is clipped, and each branch has the least exponent that holds its largest."""
    r = np.random.default_rng(seed)
    values = [r.normal(0, 1, (4, 6)) * 10.0 ** (apart * i) for i in range(2)]
    values = [v if signs else np.maximum(v, 0) for v in values]
    nodes = {
        "a": Input((6,)), "b": Input((6,)), "fa": Affine(values[0], np.zeros(4)),
        "fb": Affine(values[1], np.zeros(4)), "lif": lif((4,), threshold=5.0), "out": Output((4,)),
    }  # fmt: skip
    edges = (("a", "fa"), ("b", "fb"), ("fa", "lif"), ("fb", "lif"), ("lif", "out"))
    ints = quantize(Network(nodes, edges, DT, 3), LOIHI2)
    unit = ints.rounding["lif"].scale
    squares = [0.0, 0.0]
    for c, value in zip(ints.connections, values, strict=True):
        wanted, back = value / 5.0 * unit, c.synapses.weight * 2.0**c.exponent
        both = value.min() < 0 < value.max()
        step, top = (2, 254) if both else (1, 255)
        assert np.abs(back - wanted).max() <= step / 2 * 2.0**c.exponent + 1e-6
        peak = np.abs(wanted).max()
        assert c.exponent == -8 or peak > top * 2.0 ** (c.exponent - 1) - 1e-6
        squares = [squares[0] + ((back / unit - value / 5.0) ** 2).sum(),
                   squares[1] + ((value / 5.0) ** 2).sum()]  # fmt: skip
        assert c.mixed == both or not np.any(back < 0) or not np.any(back > 0)
    zeroed = sum(
        ((v != 0) & (c.synapses.weight == 0)).sum()
        for c, v in zip(ints.connections, values, strict=True)
    )
    told = ints.rounding["lif"]
    assert told.relative_error == pytest.approx(np.sqrt(squares[0] / squares[1]))
    assert told.zeroed == zeroed


@settings(max_examples=40)
@given(st.floats(0.3, 4.0), st.sampled_from([16, 255]))
def test_what_pushes_harder_than_the_state_holds_beside_a_unit_is_refused(units, largest):
    """The largest input of a step leaves the threshold that many units."""
    most = (1 << 17) - 1
    net = single(np.full((1, 200), most / units / 200 / largest), np.zeros(1), max_value=largest)
    try:
        ints = quantize(net, LOIHI2)
    except UnsupportedError as error:
        assert units < 1.01
        times = float(str(error).partition("can receive ")[2].partition(" times")[0])
        assert times == pytest.approx(1 / units, rel=0.02)
        assert "limited by current" in str(error)  # noqa: PT017
        return
    assert 1 <= ints.rounding["lif"].scale <= units * (1 + 1e-9)
    assert ints.rounding["lif"].scale > 0.95 * units
    assert ints.populations[0].vth == round(ints.rounding["lif"].scale)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("tau", [DT, np.inf])
def test_a_message_is_one_unit_below_what_would_be_too_long(tau, sign):
    """2**16 times 128 would need a bit more; 127.5 is a weight of 255, halved."""
    net = read(np.array([[sign * 0.5]]), np.zeros(1), 1 << 16, tau, 1 / DT, steps=1)
    program = compile_network(net, LOIHI2)
    assert program.network.rounding["read"].limited_by == "message"
    x = np.full((1, 1, 1), 1 << 16)
    assert engine.run(program, {"in": x}).spikes.reshape(-1).tolist() == [sign * 255 << 15]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_longest_message_is_used(sign):
    """2**23 - 1 is 47 times 178,481, the sum of 713 weights of 250 and one of 231."""
    weight = sign * np.array([[250.0] * 713 + [231.0]])
    program = compile_network(read(weight / 500, np.zeros(1), 47, DT, 1.0, steps=1), LOIHI2)
    assert program.network.rounding["read"].limited_by == "message"
    (found,) = engine.run(program, {"in": np.full((1, 1, 714), 47)}).spikes.reshape(-1)
    assert found == sign * (2**23 - 1)


@settings(max_examples=20)
@given(seeds, st.sampled_from([1e-5, 1.0, 1e5]), st.sampled_from([DT, np.inf]))
def test_a_readout_of_biases_alone_gives_them(seed, size, tau):
    bias = size * np.random.default_rng(seed).normal(0, 1, 4)
    net = read(np.zeros((4, 2)), bias, 1, tau, 1.0 if tau == DT else 1 / DT, steps=2)
    program = compile_network(net, LOIHI2)
    unit = program.network.rounding["read"].scale
    found = engine.run(program, images(net, samples=1)).spikes[0] / unit
    wanted = np.outer([1, 1] if tau == DT else [1, 2], bias)
    assert np.abs(found - wanted).max() <= 0.01 * np.abs(wanted).max()


def test_nothing_to_round_is_no_error():
    ints = quantize(single(np.zeros((2, 3)), np.zeros(2)), LOIHI2)
    told = ints.rounding["lif"]
    assert (told.relative_error, told.zeroed, told.limited_by) == (0.0, 0, "threshold")
    assert ints.populations[0].vth == NUMBERS.threshold_max
    assert ints.connections[0].exponent == 0
    told = quantize(read(np.zeros((2, 3)), np.zeros(2)), LOIHI2).rounding["read"]
    assert (told.scale, told.limited_by) == (1.0, "nothing")


@settings(max_examples=40)
@given(seeds, st.floats(1e-3, 1e3))
def test_a_bias_fills_its_bits_and_no_more(seed, size):
    """Where it is what limits the unit, the largest is the largest that the chip holds."""
    bias = np.random.default_rng(seed).normal(0, size, 5)
    ints = quantize(single(np.full((5, 2), 1e-3 * size), bias), LOIHI2)
    (p,) = ints.populations
    scale = min(4095 / np.abs(bias).max(), NUMBERS.threshold_max, 255 / (1e-3 * size))
    assert ints.rounding["lif"].scale == pytest.approx(scale)
    assert (p.bias == np.rint(bias * scale)).all()
    assert p.vth == np.rint(scale)


@pytest.mark.parametrize("size", [1.7976931348623157e308, 1e200, 1e-200, 1e-300])
@pytest.mark.parametrize("where", ["weight", "bias", "threshold", "readout", "gain"])
def test_numbers_that_no_integers_stand_for_are_refused(size, where):
    """Else a scale is 0 or infinite."""
    weight = np.full((2, 3), size if where in ("weight", "readout") else 0.5)
    bias = np.full(2, size if where == "bias" else 0.0)
    threshold = size if where == "threshold" else 1.0
    net = single(weight, bias, threshold) if where != "readout" else read(weight, bias)
    if where == "gain":
        nodes = net.nodes | {"lif": replace(net.nodes["lif"], r=np.full(2, size))}
        net = replace(net, nodes=nodes)
    with pytest.raises(UnsupportedError, match=r"(lif|read) is driven by .* times its threshold"):
        quantize(net, LOIHI2)


def test_a_sum_that_rounding_takes_over_its_limit_is_scaled_down_by_what_it_is_over():
    """Ten weights of 0.6 round up to 10; at 7 / 10 of the scale they round down to nothing."""
    kernel = Conv(np.full((1, 10, 1, 1), 0.6), (10, 1, 1))
    drive = Drive((Driving(Source("in", kernel)),), np.zeros(1), np.zeros(1), du=4095, dv=0)
    found, (connection,) = scale.fitted(drive, "p", 1.0, 10.0, NUMBERS)
    assert (found, connection.synapses.weight.sum()) == (1.0, 10)
    found, (connection,) = scale.fitted(drive, "p", 1.0, 7.0, NUMBERS)
    assert (found, connection.synapses.weight.sum()) == (0.7, 0)


def test_a_source_sends_at_most_one_spike_a_step_and_an_input_its_largest_value():
    net = residual()
    wires, cells = wiring(net), net.cells()
    sends = {name: Sends(16, 5) for name in net.inputs()}
    sent = {
        source.name: how
        for name in wires.order
        for source, how in drive_of(net, cells[name], wires.into[name], NUMBERS, sends).sources
    }
    assert sent == {name: sends.get(name, Sends()) for name in sent}
    assert set(sends) < set(sent)


@pytest.mark.parametrize(("bias", "held"), [(4.0, 0.0), (0.0, 30.0), (4.0, 30.0), (4.0, 3000.0)])
def test_a_bias_and_synapses_in_its_place_both_fit_their_bits(bias, held):
    drive = Drive((), np.full(1, bias), np.full(1, held), du=0, dv=0)
    found = network._bias_limit(drive, NUMBERS)["bias"]
    most = NUMBERS.weight_range(mixed=True)[1] * 2.0**NUMBERS.exponent_max
    tight = {bias * found: NUMBERS.bias_max, held * found: most}
    assert all(size <= limit * (1 + 1e-12) for size, limit in tight.items())
    assert any(size == pytest.approx(limit) for size, limit in tight.items())
