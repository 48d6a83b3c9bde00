"""Values for a chip with plain spikes: the host sends their binary digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from float_nets import random_network
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import DT, LOIHI1, LOIHI2, lif, residual, seeds

import snn2hw
from snn2hw.errors import InputError, UnsupportedError
from snn2hw.families.loihi import definition, engine
from snn2hw.ir import integer
from snn2hw.ir.integer import DigitPort, InputPort
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.pipeline import builds
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import load_model
from snn2hw.pipeline.samples import samples_for
from snn2hw.report import text
from snn2hw.simulate import compare
from snn2hw.simulate.inputs import sent
from snn2hw.store import program as program_file

PLAIN = replace(LOIHI2, abilities={**LOIHI2.abilities, "graded_input": False})


def values(net, largest, seed=0, samples=3):
    r = np.random.default_rng(seed)
    ports = net.inputs()
    steps = net.time_steps
    return {k: r.integers(0, largest + 1, (samples, steps, *p.shape)) for k, p in ports.items()}


def with_largest(net, largest):
    nodes = {
        k: replace(n, max_value=largest) if isinstance(n, Input) else n
        for k, n in net.nodes.items()
    }
    return replace(net, nodes=nodes)


@settings(max_examples=60)
@given(seeds, st.sampled_from([2, 3, 16, 40]))
def test_digits_compute_what_values_do(seed, largest):
    """Where the connections of an input lose nothing to a negative exponent, to the last bit."""
    net = with_largest(random_network(seed, chip=True), largest)
    try:
        graded, plain = (compile_network(net, t) for t in (LOIHI2, PLAIN))
    except UnsupportedError as error:
        assert "loop" in str(error) or "times too much" in str(error)  # noqa: PT017
        return
    x = values(net, largest, seed)
    ours = engine.run(plain, sent(plain.network, x), states=True)
    again = definition.run(plain, sent(plain.network, x))
    assert compare.traces(ours, again).mismatches == 0
    names = set(net.inputs())
    into = [c for c in graded.network.connections if c.pre in names]
    if all(0 <= c.exponent <= 8 - largest.bit_length() for c in into):
        theirs = engine.run(graded, sent(graded.network, x), states=True)
        found = compare.traces(theirs, ours)
        assert found.compared > 0
        assert found.mismatches == 0, found.first


def test_most_random_networks_are_compared_to_the_last_bit():
    """So that the condition above does not hide the comparison."""
    exact = 0
    for seed in range(30):
        try:
            program = compile_network(with_largest(random_network(seed, chip=True), 16), LOIHI2)
        except UnsupportedError:
            continue
        into = [c for c in program.network.connections if c.pre == "in0"]
        exact += all(0 <= c.exponent <= 3 for c in into)
    assert exact > 10


@pytest.mark.parametrize("largest", [2, 16, 255])
def test_ports_hold_the_digits_of_a_value(largest):
    program = compile_network(residual(max_value=largest), PLAIN)
    x = values(residual(max_value=largest), largest)
    digits = sent(program.network, x)
    assert len(digits) == largest.bit_length()
    assert all(set(np.unique(d)) <= {0, 1} for d in digits.values())
    back = sum(d << program.network.inputs[i].digit for i, d in enumerate(digits.values()))
    assert (back == x["input"]).all()
    (whole,) = integer.given(program.network.inputs).values()
    assert whole == InputPort("input", (1, 6, 6), largest)
    assert sorted(c.exponent for c in program.network.connections if "input" in c.pre) == list(
        range(largest.bit_length())
    )


def beside(weight, other):
    """Neurons that hear an input of 8 digits, and spikes by weights of another size."""
    nodes = {
        "in": Input((2,), 255), "spikes": Input((2,)),
        "fc": Affine(weight * np.array([[1.0, -0.5], [0.3, 0.8]]), np.zeros(2)),
        "other": Affine(other * np.array([[0.9, 0.2], [-0.7, 1.0]]), np.zeros(2)),
        "lif": lif((2,)), "out": Output((2,)),
    }  # fmt: skip
    edges = (("in", "fc"), ("fc", "lif"), ("spikes", "other"), ("other", "lif"), ("lif", "out"))
    return compile_network(Network(nodes, edges, DT, 4), PLAIN).network


def test_the_highest_digits_exponent_is_within_the_chips():
    """Where other weights are far finer, those of the input would want a larger one."""
    net = beside(1.0, 1 / 64)
    exponents = [c.exponent for c in net.connections if c.pre.startswith("in.")]
    assert exponents == list(range(8))
    first = next(c for c in net.connections if c.pre == "in.digit0")
    found = first.synapses.weight / net.population("lif").vth
    assert found == pytest.approx(np.array([[1.0, -0.5], [0.3, 0.8]]), rel=0.02)
    assert net.rounding["lif"].relative_error < 0.01


def test_no_digit_has_a_negative_exponent():
    """It would round the sum of each digit down, instead of the sum of all."""
    net = beside(2.0**-13, 2.0**-13)
    exponents = {c.pre: c.exponent for c in net.connections}
    assert [exponents[f"in.digit{i}"] for i in range(8)] == list(range(8))
    assert exponents["spikes"] < 0


def test_a_chip_with_graded_spikes_gets_values():
    program = compile_network(residual(), LOIHI2)
    assert [type(p) for p in program.network.inputs] == [InputPort]
    x = values(residual(), 16)
    assert sent(program.network, x)["input"] is x["input"]


def test_names_do_not_meet():
    net = residual()
    nodes = {("input.digit0" if k == "lif4" else k): n for k, n in net.nodes.items()}
    edges = tuple(tuple("input.digit0" if k == "lif4" else k for k in edge) for edge in net.edges)
    program = compile_network(replace(net, nodes=nodes, edges=edges), PLAIN)
    assert [p.name for p in program.network.inputs][:2] == ["input.digit0_", "input.digit1"]


def test_values_out_of_range_are_named_as_the_host_knows_them():
    built = snn2hw.build(residual(max_value=16), "loihi1")
    x = np.full((1, 4, 1, 6, 6), 17)
    with pytest.raises(InputError, match="Input input holds values from 17 to 17, the program "):
        built.simulate(x)
    with pytest.raises(InputError, match="takes inputs input, not input"):
        built.simulate({"input.digit0": x})


def test_a_program_keeps_its_digits(tmp_path):
    program = compile_network(residual(), LOIHI1)
    program_file.write(tmp_path / "program.h5", program)
    again = program_file.read(tmp_path / "program.h5", program.placement, program.target)
    assert again.network.inputs == program.network.inputs
    assert all(isinstance(p, DigitPort) for p in again.network.inputs)
    assert again.digest() == program.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"digit": 5}, {"digit": -1}, {"digit": 0}, {"most": 7}, {"most": 1 << 30}, {"most": -7},
        {"max_value": 2}, {"gain": 99}, {"shape": (36,)}, {"of": "lif1"}, {"of": ""},
        {"of": "input.digit0"},
    ],
)  # fmt: skip
def test_digits_that_make_no_sense_are_refused(change):
    net = compile_network(residual(), PLAIN).network
    with pytest.raises(ValueError, match=r"do not make its values|does not match its ends"):
        replace(net, inputs=(net.inputs[0], replace(net.inputs[1], **change), *net.inputs[2:]))
    if "shape" not in change and "digit" not in change:
        with pytest.raises(ValueError, match="do not make its values"):
            replace(net, inputs=tuple(replace(p, **change) for p in net.inputs))


def test_a_digit_that_is_missing_is_refused():
    net = compile_network(residual(), PLAIN).network
    fewer = tuple(c for c in net.connections if c.pre != "input.digit2")
    with pytest.raises(ValueError, match="the digits of input 'input' do not make its values"):
        replace(net, inputs=(*net.inputs[:2], *net.inputs[3:]), connections=fewer)


def test_the_shipped_student_computes_the_same_on_both_chips(tmp_path):
    model = load_model("digits-cnn", tmp_path)
    guesses = {}
    for chip in (LOIHI1, LOIHI2):
        build = export(model, chip, tmp_path)
        guesses[chip.name] = builds.simulate(build, samples_for(build, limit=100))
        lines = "\n".join(text.build(build.info))
        assert ("input.digit0 (conv) + 3 more + input.digit4 (conv, 2^4)" in lines) == (
            chip is LOIHI1
        )
    one, two = guesses.values()
    assert (one.spikes == two.spikes).all()
    assert one.spikes.any()


@pytest.mark.nengo_loihi
@pytest.mark.usefixtures("nengo_loihi_python")
def test_the_emulator_agrees(tmp_path):
    net = residual()
    built = snn2hw.build(net, "loihi1")
    found = built.verify(values(net, 16)["input"])
    assert (found["against"], found["mismatches"]) == ("nengo-loihi 1.1.0", 0)
    assert found["compared"] > 0
