"""Against nengo-loihi's emulator of Loihi 1: every spike, u and v of programs for that chip."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from nets import (
    DT,
    LOIHI1,
    LOIHI2,
    assert_same_answers,
    images,
    lif,
    placed,
    pressed,
    random_program,
    residual,
    tiny,
)
from shared import DATA, needs_data

import snn2hw
from snn2hw import nir_io
from snn2hw.errors import RuntimeMissingError, UnsupportedError
from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine, nengo_loihi, netx
from snn2hw.families.loihi import populations as chip
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv2d, Flatten, Input, Output
from snn2hw.ir.synapses import Conv, Dense
from snn2hw.nir_io import Choice
from snn2hw.pipeline import builds
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.samples import Samples
from snn2hw.simulate import compare
from snn2hw.store import program as program_file

pytestmark = [pytest.mark.nengo_loihi, pytest.mark.usefixtures("nengo_loihi_python")]


def emulated(program, x, folder):
    path = folder / "program.h5"
    program_file.write(path, program)
    return nengo_loihi.run(program, x, program_file=path)


def assert_equal(program, x, done):
    """Compare with both of ours; return how many values that were."""
    ours = engine.run(program, x, states=True)
    found = compare.traces(ours, done.trace)
    assert found.mismatches == 0, found.first
    assert_same_answers(ours, done.trace)
    again = compare.traces(reference.run(program, x), done.trace)
    assert again.mismatches == 0, again.first
    return found.compared


def drawn(seed):
    """A random program: chains and branches, loops and delays, states in and out of range."""
    if seed % 5 == 4:
        return pressed(seed)
    kind = {"extreme": seed % 2 == 0, "loops": seed % 3 == 0}
    return random_program(1000 + seed, target=LOIHI1, formats=True, **kind)


@pytest.mark.parametrize("seed", range(10))
def test_random_programs(tmp_path, seed):
    program = drawn(seed)
    x = images(program.network, samples=2, seed=seed)
    assert assert_equal(program, x, emulated(program, x, tmp_path)) > 0


@pytest.mark.slow
def test_a_hundred_random_programs(tmp_path):
    """pytest -m slow tests/emulator."""
    compared, kinds = 0, set()
    for seed in range(10, 110):
        program = drawn(seed)
        x = images(program.network, samples=3, seed=seed)
        done = emulated(program, x, tmp_path)
        compared += assert_equal(program, x, done)
        kinds |= {k for k, n in done.processes.items() if n}
    assert compared > 200_000
    assert {f"connections of {n} bits" for n in (1, 2, 3, 4, 5, 6, 8)} <= kinds
    assert "relays" in kinds


def test_branches_meet_and_kernels_are_what_they_are(tmp_path):
    program = compile_network(residual(max_value=1), LOIHI1)
    assert max(program.delays) == 2
    x = images(program.network, samples=3)
    done = emulated(program, x, tmp_path)
    assert done.processes["relays"] == 1
    assert done.trace.layers["lif2"].spikes.any()
    assert_equal(program, x, done)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 0), (1, 1), 2), ((1, 2), (2, 1), (2, 1), 1)],
)
def test_convolutions(tmp_path, stride, padding, dilation, groups):
    r = np.random.default_rng(0)
    kernel = Conv(
        r.normal(0, 0.5, (4, 2 // groups, 3, 2)), (2, 6, 7), stride, padding, dilation, groups
    )
    size = int(np.prod(kernel.output_shape))
    nodes = {
        "in": Input((2, 6, 7)), "conv": Conv2d(kernel, r.normal(0.1, 0.1, 4)),
        "lif": lif(kernel.output_shape, 0.75), "flat": Flatten(kernel.output_shape),
        "fc": Affine(r.normal(0, 0.5, (3, size)), np.zeros(3)), "last": lif((3,)),
        "out": Output((3,)),
    }  # fmt: skip
    net = Network(nodes, tuple(itertools.pairwise(nodes)), DT, 5)
    program = compile_network(net, LOIHI1)
    x = images(net, samples=2)
    done = emulated(program, x, tmp_path)
    assert done.trace.layers["lif"].spikes.any()
    assert_equal(program, x, done)


def test_currents_and_drives_that_wrap(tmp_path):
    """With nothing lost, a current of 16384 weights a step is at the end of its range in 8."""
    weight = np.array([[128, 0], [0, -128]])
    neuron = chip.Lif("p", (2,), -1, 4096, 131071, np.zeros(2))
    net = IntNetwork(
        (InputPort("in", (2,)),), (neuron,), (Connection("in", "p", Dense(weight), 7),),
        {"out": "p"}, DT, 9, LOIHI1.numbers, {},
    )  # fmt: skip
    program = placed(net, LOIHI1)
    x = {"in": np.ones((1, 9, 2), int)}
    done = emulated(program, x, tmp_path)
    assert done.trace.layers["p"]["u"][0, 7].tolist() == [-(1 << 23), -(1 << 23)]
    assert_equal(program, x, done)


def test_numbers_that_the_host_writes_into_biases(tmp_path):
    neurons = (
        chip.Lif("first", (3,), 4095, 0, 300, np.array([1, 0, -5]), driven_by="in"),
        chip.Lif("second", (2,), 2047, 128, 100, np.array([7, 9])),
    )
    c = Connection("first", "second", Dense(np.array([[90, -80, 60], [-40, 20, 254]])))
    net = IntNetwork(
        (InputPort("in", (3,), 255),), neurons, (c,), {"out": "second"}, DT, 12, LOIHI1.numbers, {}
    )
    program = placed(net, LOIHI1)
    x = images(net, samples=3)
    done = emulated(program, x, tmp_path)
    assert done.trace.spikes.any()
    assert_equal(program, x, done)


def recorded(name, steps):
    """A network that lava-dl made for Loihi 2, in Loihi 1's integers, and its own recording."""
    folder = DATA / "models" / "lava-dl"
    net = netx.read(folder / f"{name}.net", time_steps=steps)
    if name == "tiny":
        image = np.load(folder / "tiny_gts.npz")["input_bias"].transpose(2, 1, 0)
        return net, np.broadcast_to(image, (1, steps, *image.shape))
    events = np.load(folder / "oxford_input.npy")
    x = np.zeros((1, 2000, 200), int)
    x[0, np.rint(events[:, 2]).astype(int), events[:, 0].astype(int)] = 1
    return net, x[:, :steps]


@needs_data
@pytest.mark.parametrize(("name", "steps"), [("tiny", 17), ("oxford", 150)])
def test_recordings_of_networks_for_loihi_2(tmp_path, name, steps):
    """Nothing in them wraps, and their exponents are 0, so both chips give the same spikes."""
    net, x = recorded(name, steps)
    program = compile_network(net, LOIHI1)
    done = emulated(program, {"input": x}, tmp_path)
    assert done.trace.spikes.any()
    assert_equal(program, {"input": x}, done)
    other = engine.run(compile_network(net, LOIHI2), {"input": x}, states=True)
    assert compare.traces(other, done.trace).mismatches == 0


@needs_data
def test_a_trace_that_lava_recorded(tmp_path):
    """One neuron for 1,000 steps: the spikes of Lava's fixed-point model.

    Its membrane is in the units of whoever recorded it, which the file does not tell, and is left.
    """
    folder = DATA / "nir"
    rows = np.loadtxt(folder / "lif_traces" / "lif_lava_cpu_fixed.csv", delimiter=",")
    net, _ = nir_io.read(folder / "lif_norse.nir", Choice(dt=1e-4, time_steps=1000))
    program = compile_network(net, LOIHI1)
    x = {"input": rows[:, 0].astype(int).reshape(1, -1, 1)}
    done = emulated(program, x, tmp_path)
    assert_equal(program, x, done)
    spikes = done.trace.on_chip_time(done.trace.spikes, program.depth).ravel()
    assert np.flatnonzero(spikes).tolist() == np.flatnonzero(rows[:, 2]).tolist()


def test_verify_asks_the_emulator_and_not_another_chips_simulator(tmp_path):
    model = Model("tiny", tiny(), {})
    build = export(model, LOIHI1, tmp_path)
    samples = Samples(images(tiny()), None, "random")
    found = builds.verify(build, samples)
    assert (found["against"], found["mismatches"]) == ("nengo-loihi 1.1.0", 0)
    assert found["compared"] > 0
    assert builds.simulate(build, samples, "nengo-loihi").spikes.shape[0] == 4
    with pytest.raises(UnsupportedError, match="which lava does not simulate: sum_bits is 22"):
        builds.simulate(build, samples, "lava")
    other = export(model, LOIHI2, tmp_path)
    with pytest.raises(UnsupportedError, match="which nengo-loihi does not simulate"):
        builds.simulate(other, samples, "nengo-loihi")


def test_the_python_interface_verifies(tmp_path):
    built = snn2hw.build(tiny(), "loihi1")
    found = built.verify(images(tiny())["input"])
    assert (found["against"], found["mismatches"]) == ("nengo-loihi 1.1.0", 0)
    assert [p["through"] for p in found["paths"]] == ["program.h5"]


def test_a_difference_is_found_and_named(tmp_path):
    program = compile_network(tiny(), LOIHI1)
    x = {"input": np.ones((2, 4, 4), int)}
    done = emulated(program, x, tmp_path)
    net = program.network
    wrong = replace(net, connections=(replace(net.connections[0], exponent=1), net.connections[1]))
    found = compare.traces(engine.run(replace(program, network=wrong), x, states=True), done.trace)
    assert found.first is not None
    assert (found.first.layer, found.first.what, found.first.step) == ("lif1", "u", 1)


def test_failure_of_the_runner_is_one_sentence(tmp_path):
    program = compile_network(tiny(), LOIHI1)
    (tmp_path / "program.h5").write_bytes(b"not a program")
    with pytest.raises(RuntimeMissingError, match=r"nengo-loihi 1\.1\.0 stopped with exit code"):
        nengo_loihi.run(program, images(tiny()), program_file=tmp_path / "program.h5")
