"""Against real Lava: every spike, u and v of programs and netx files, in Lava's own processes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import netx_writing
import numpy as np
import pytest
from float_nets import random_network
from nets import (
    DT,
    LOIHI2,
    assert_same_answers,
    classifier,
    heads,
    images,
    lif,
    placed,
    random_program,
    read_out,
    reader,
    residual,
    tiny,
)
from shared import DATA, needs_data

from snn2hw import nir_io
from snn2hw.errors import RuntimeMissingError
from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine, lava
from snn2hw.families.loihi.populations import Graded, Sigma
from snn2hw.ir.integer import Connection
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Conv1d, Conv2d, Delay, Flatten, Input, Leaky, Output, Threshold
from snn2hw.ir.synapses import Conv, Dense
from snn2hw.nir_io import Choice
from snn2hw.pipeline.compiler import compile_network
from snn2hw.rewrites import rewrite
from snn2hw.simulate import compare
from snn2hw.store import program as program_file

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_python")]


def in_lava(program, x, folder, **how):
    path = folder / "program.h5"
    program_file.write(path, program)
    return lava.run(program, x, program_file=path, **how)


def assert_equal(program, x, done):
    ours = engine.run(program, x, states=True)
    found = compare.traces(ours, done.trace)
    assert found.compared > 0
    assert found.mismatches == 0, found.first
    assert_same_answers(ours, done.trace)
    again = compare.traces(reference.run(program, x), done.trace)
    assert again.mismatches == 0, again.first


@pytest.mark.parametrize("conv", ["conv", "sparse"])
def test_residual_network_with_delays(tmp_path, conv):
    program = compile_network(residual(), LOIHI2)
    x = images(program.network, samples=3)
    done = in_lava(program, x, tmp_path, conv=conv)
    assert done.processes["DelaySparse"] == 1
    assert ("Conv" in done.processes) == (conv == "conv")
    assert done.trace.layers["lif4"].spikes.any()
    assert_equal(program, x, done)


def test_network_deeper_than_its_samples_are_long(tmp_path):
    program = compile_network(residual(steps=1), LOIHI2)
    x = images(program.network, samples=7)
    assert_equal(program, x, in_lava(program, x, tmp_path))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("extreme", [False, True])
def test_random_programs(tmp_path, seed, extreme):
    # From 100 on: seeds of their own, so that they are not those of the other tests.
    program = random_program(100 + seed, extreme=extreme)
    x = images(program.network, samples=3, seed=seed)
    assert_equal(program, x, in_lava(program, x, tmp_path))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("extreme", [False, True])
def test_random_loops_and_delays(tmp_path, seed, extreme):
    program = random_program(200 + seed, extreme=extreme, loops=True)
    assert not program.streams
    x = images(program.network, samples=3, seed=seed)
    done = in_lava(program, x, tmp_path)
    assert done.chip_steps == 3 * program.period(program.network.time_steps)
    assert_equal(program, x, done)


@pytest.mark.parametrize("tau", [DT, np.inf])
def test_networks_read_out_by_sums(tmp_path, tau):
    """GradedVec streams through, Sigma waits between samples; the bias comes from a neuron."""
    program = compile_network(classifier(tau=tau), LOIHI2)
    x = images(program.network, samples=4)
    done = in_lava(program, x, tmp_path)
    assert program.streams == (tau == DT)
    assert done.processes == {"Conv": 1, "Dense": 2}
    assert (done.trace.spikes < 0).any()
    assert (done.trace.prediction == engine.run(program, x).prediction).all()
    assert_equal(program, x, done)


def test_several_outputs_at_different_depths(tmp_path):
    program = compile_network(heads(), LOIHI2)
    x = images(program.network, samples=3)
    done = in_lava(program, x, tmp_path)
    assert len({answer.phase for answer in done.trace.outputs.values()}) == 3
    assert all(answer.spikes.any() for answer in done.trace.outputs.values())
    assert_equal(program, x, done)


@pytest.mark.parametrize("streams", [True, False])
def test_parts_that_nothing_connects(tmp_path, streams):
    """Lava runs what is connected with a process; here that is a part of the network."""
    parts = [heads(), replace(residual(steps=7), dt=DT)]
    nodes = {f"{i}.{k}": n for i, net in enumerate(parts) for k, n in net.nodes.items()}
    edges = [(f"{i}.{a}", f"{i}.{b}") for i, net in enumerate(parts) for a, b in net.edges]
    if not streams:
        nodes["wait"] = Delay(np.full(5, DT))
        edges += [("1.lif4", "wait"), ("wait", "1.lif4")]
    program = compile_network(Network(nodes, tuple(edges), DT, 7), LOIHI2)
    assert program.streams == streams
    x = images(program.network, samples=3)
    done = in_lava(program, x, tmp_path)
    assert all(answer.spikes.any() for answer in done.trace.outputs.values())
    assert_equal(program, x, done)


@pytest.mark.parametrize("kind", [Graded, Sigma])
def test_sums_that_wrap_at_32_bits(tmp_path, kind):
    program = reader(kind, np.full((1, 2), -128), 1 << 17, steps=3, exponent=7)
    x = {"in": np.array([[[1 << 17, 1], [1 << 17, 0], [1 << 16, 0]]])}
    assert_equal(program, x, in_lava(program, x, tmp_path))


@pytest.mark.parametrize("conv", ["conv", "sparse"])
def test_a_convolution_read_out_by_sums(tmp_path, conv):
    r = np.random.default_rng(1)
    kernel = Conv(r.normal(0, 1, (3, 2, 3, 3)), (2, 5, 5))
    nodes = {
        "in": Input((2, 5, 5), 255), "conv": Conv2d(kernel, r.normal(0, 90, 3)),
        "read": Leaky((3, 3, 3), np.array(DT), np.array(0.5), np.zeros(())),
        "out": Output((3, 3, 3)),
    }  # fmt: skip
    program = compile_network(Network(nodes, tuple(itertools.pairwise(nodes)), DT, 3), LOIHI2)
    x = images(program.network, samples=3)
    done = in_lava(program, x, tmp_path, conv=conv)
    assert ("Conv" in done.processes) == (conv == "conv")
    assert_equal(program, x, done)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loops", [False, True])
def test_random_programs_read_out_by_sums(tmp_path, seed, loops):
    program = read_out(random_program(300 + seed, layers=2, loops=loops), seed)
    x = images(program.network, samples=3, seed=seed)
    assert_equal(program, x, in_lava(program, x, tmp_path))


def _chain(side=8) -> Network:
    r = np.random.default_rng(3)
    first = Conv(r.normal(0, 0.03, (4, 1, 3, 3)), (1, side, side), (2, 1), (1, 0))
    second = Conv(r.normal(0, 0.4, (6, 2, 3, 2)), first.output_shape, groups=2)
    size = int(np.prod(second.output_shape))
    nodes = {
        "input": Input((1, side, side), 16),
        "conv1": Conv2d(first, r.normal(0.2, 0.1, 4)),
        "lif1": lif(first.output_shape),
        "conv2": Conv2d(second, r.normal(0, 0.1, 6)),
        "lif2": lif(second.output_shape, 0.75),
        "flatten": Flatten(second.output_shape),
        "fc": Affine(r.normal(0, 0.3, (5, size)), r.normal(0, 0.1, 5)),
        "lif3": lif((5,)),
        "output": Output((5,)),
    }
    names = list(nodes)
    return Network(nodes, tuple(itertools.pairwise(names)), DT, 4)


def test_convolutions_with_a_recurrent_layer_and_feedback(tmp_path):
    """Lava's Conv holds spikes in flight, too; every bias must wait for its layer's phase."""
    net = compile_network(_chain(), LOIHI2).network
    r, (middle, last) = np.random.default_rng(5), net.populations[1:]
    back = [
        Connection(a.name, middle.name, Dense(2 * r.integers(-60, 60, (middle.size, a.size))), 0, d)
        for a, d in ((middle, 1), (last, 2))
    ]
    net = replace(net, connections=(*net.connections, *back), time_steps=8)
    program = placed(net, LOIHI2)
    assert all(p.bias.any() for p in net.populations)
    x = images(net, samples=3)
    done = in_lava(program, x, tmp_path)
    assert done.processes == {"Conv": 2, "Dense": 3}
    assert_equal(program, x, done)
    plain = compile_network(_chain(), LOIHI2)
    without = engine.run(plain, x, states=True).layers[middle.name].spikes
    assert (done.trace.layers[middle.name].spikes != without).any()


@needs_data
@pytest.mark.parametrize("rewritten", [[], ["settled-bias"]])
def test_the_recurrent_network_of_the_nir_paper(tmp_path, rewritten):
    """38 current-based neurons that feed themselves, 256 steps: from a NIR file to Lava."""
    choice = Choice(dt=1e-4, time_steps=256, reset="zero")
    net, _ = nir_io.read(DATA / "nir/braille_noDelay_bias_zero.nir", choice)
    program = compile_network(rewrite(net, LOIHI2, rewritten)[0], LOIHI2)
    assert ("bias" in {p.name for p in program.network.populations}) == (not rewritten)
    assert not program.streams
    r = np.random.default_rng(0)
    x = {p.name: (r.random((2, 256, *p.shape)) < 0.3).astype(int) for p in program.network.inputs}
    done = in_lava(program, x, tmp_path)
    assert all(layer.spikes.any() for layer in done.trace.layers.values())
    assert_equal(program, x, done)


def test_netx_file_through_lava_dls_own_loader(tmp_path):
    program = compile_network(_chain(), LOIHI2)
    assert netx_writing.why_not(program) is None
    net_file = tmp_path / "model.net"
    netx_writing.write(net_file, program)
    x = images(program.network, samples=3)
    done = in_lava(program, x, tmp_path, vendor_file=net_file)
    assert done.processes == {"netx": 3}
    assert done.trace.layers["lif3"].spikes.any()
    assert_equal(program, x, done)


def test_netx_file_with_samples_shorter_than_its_depth(tmp_path):
    """netx never resets a layer whose offset reaches the interval, so samples get a gap."""
    program = compile_network(_chain(), LOIHI2, time_steps=2)
    net_file = tmp_path / "model.net"
    netx_writing.write(net_file, program)
    x = {"input": images(_chain(), samples=4)["input"][:, :2]}
    assert_equal(program, x, in_lava(program, x, tmp_path, vendor_file=net_file))


def test_inputs_of_any_name(tmp_path):
    """What ``numpy.savez`` takes for an argument of its own, and what a trace is saved under."""
    names = ("file", "allow_pickle", "spikes", "prediction")
    nodes = {name: Input((4,)) for name in names}
    nodes |= {f"{n}.fc": Affine(np.eye(3, 4), np.zeros(3)) for n in names}
    nodes |= {"file.spikes": lif((3,)), "output": Output((3,))}
    edges = [(n, f"{n}.fc") for n in names] + [(f"{n}.fc", "file.spikes") for n in names]
    net = Network(nodes, (*edges, ("file.spikes", "output")), DT, 4)
    program = compile_network(net, LOIHI2)
    x = images(program.network)
    assert_equal(program, x, in_lava(program, x, tmp_path))


def test_a_difference_is_found_and_named(tmp_path):
    program = compile_network(tiny(), LOIHI2)
    x = {"input": np.ones((2, 4, 4), int)}
    done = in_lava(program, x, tmp_path)
    other = compile_network(tiny(), LOIHI2, time_steps=4)
    wrong = engine.run(other, {"input": x["input"] * np.array([1, 1, 0, 1])}, states=True)
    found = compare.traces(wrong, done.trace)
    assert found.mismatches > 0
    assert found.first is not None
    assert (found.first.layer, found.first.what, found.first.step) == ("lif1", "u", 1)


def test_failure_of_the_runner_is_one_sentence(tmp_path):
    program = compile_network(tiny(), LOIHI2)
    (tmp_path / "program.h5").write_bytes(b"not a program")
    with pytest.raises(RuntimeMissingError, match=r"lava 0\.10\.0 stopped with exit code"):
        lava.run(program, images(program.network), program_file=tmp_path / "program.h5")


@pytest.mark.parametrize("conv", ["conv", "sparse"])
def test_one_dimensional_convolutions_and_thresholds(tmp_path, conv):
    r = np.random.default_rng(0)
    first = Conv(r.normal(0.3, 0.5, (3, 2, 1, 3)), (2, 1, 8), padding=(0, 1))
    second = Conv(r.normal(0.3, 0.5, (4, 3, 1, 3)), (3, 1, 8), stride=(1, 2))
    nodes = {
        "in": Input((2, 8)), "c1": Conv1d(first, r.normal(0, 0.1, 3)), "l1": lif((3, 8)),
        "c2": Conv1d(second, r.normal(0, 0.1, 4)), "l2": lif((4, 3)),
        "threshold": Threshold(np.full((4, 3), 0.5)), "flat": Flatten((4, 3)),
        "fc": Affine(r.normal(0, 0.6, (3, 12)), np.zeros(3)), "l3": lif((3,)), "out": Output((3,)),
    }  # fmt: skip
    net = Network(nodes, tuple(itertools.pairwise(nodes)), DT, 6)
    program = compile_network(net, LOIHI2)
    x = images(program.network, samples=3)
    assert_equal(program, x, in_lava(program, x, tmp_path, conv=conv))


# With biases of one to three currents, from the first step or a later one; and of a readout.
@pytest.mark.parametrize("seed", [1, 2, 9, 15, 17])
def test_random_float_networks_for_the_chip(tmp_path, seed):
    program = compile_network(random_network(seed, chip=True), LOIHI2)
    x = images(program.network, samples=2, seed=seed)
    assert_equal(program, x, in_lava(program, x, tmp_path))
