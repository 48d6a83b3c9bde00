"""Against the vendor's own simulator: every spike and every state of random networks."""

from __future__ import annotations

import numpy as np
import pytest
from nets import assert_same_answers
from shared import DATA, needs_data
from xylo_nets import (
    AUDIO2,
    CHIPS,
    chain,
    dense,
    float_chain,
    hidden,
    network,
    program_of,
    random_program,
    readout,
    spikes,
)

from snn2hw import target
from snn2hw.families.xylo import definition, engine, spec, xylosim
from snn2hw.pipeline import builds
from snn2hw.pipeline.compiler import compile_network
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model, load_model
from snn2hw.pipeline.samples import Samples, samples_for
from snn2hw.report import text
from snn2hw.simulate import compare
from snn2hw.store import program as program_file

pytestmark = [pytest.mark.xylosim, pytest.mark.usefixtures("xylosim_python")]


def vendors(program, x, folder):
    """Run a program through each of the two files, with the other one out of reach."""
    path, spec_path = folder / "program.h5", folder / "spec.json"
    program_file.write(path, program)
    yield xylosim.run(program, x, program_file=path)
    spec.plan(program)(spec_path)
    path.unlink()
    yield xylosim.run(program, x, program_file=path, vendor_file=spec_path)


def assert_equal(program, x, folder):
    first, second = vendors(program, x, folder)
    assert (first.through, second.through) == ("program.h5", "spec.json")
    for ours in (engine.run(program, x, states=True), definition.run(program, x)):
        for done in (first, second):
            found = compare.traces(ours, done.trace)
            assert found.compared > 0
            assert found.mismatches == 0, found.first
            assert_same_answers(ours, done.trace)
            assert {k: v.tolist() for k, v in ours.events.items()} == {
                k: v.tolist() for k, v in done.trace.events.items()
            }
    assert (first.chip_steps, first.processes) == (second.chip_steps, second.processes)
    return first


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_random_programs(tmp_path, chip, extreme, seed):
    program = random_program(1000 + seed, chip, extreme=extreme)
    done = assert_equal(program, spikes(program, 3, seed), tmp_path)
    assert done.chip_steps == 3 * program.period(program.network.time_steps)


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
@pytest.mark.parametrize("seed", range(100))
def test_many_random_programs(tmp_path, chip, seed):
    program = random_program(2000 + seed, chip, extreme=seed % 2 == 1)
    assert_equal(program, spikes(program, 2, seed), tmp_path)


def test_a_network_that_fills_the_chip(tmp_path):
    r = np.random.default_rng(0)
    size = AUDIO2.limit("hidden_neurons")
    near = (np.arange(size)[:, None] - np.arange(size)) % size < 32
    recurrent = np.where(near, r.integers(-20, 21, (size, size)), 0)
    links = [
        dense("in", "h", r.integers(-50, 90, (size, 16)), exponent=1),
        dense("h", "h", recurrent, delay=1),
        dense("h", "out", r.integers(-20, 20, (8, size))),
    ]
    numbers = {"threshold": r.integers(200, 2000, size), "bias": r.integers(-5, 9, size)}
    program = program_of(network([hidden("h", size, **numbers), readout("out", 8)], links, 16, 20))
    done = assert_equal(program, spikes(program, 1), tmp_path)
    assert (done.trace.layers["h"].spikes > 1).any()
    assert done.processes["XyloLayer"] == 1


@pytest.mark.parametrize("dash", [0, 1, 15])
def test_states_at_both_ends(tmp_path, dash):
    """Saturation, and the membrane that a decay of 0 does not bring back from its smallest."""
    numbers = {"dash_mem": dash, "dash_syn": 15, "threshold": 32767, "bias": [-32768, 32767]}
    program = chain([[-128], [127]], [[127, 127]], neurons=numbers, shifts=(7, 7), steps=12)
    done = assert_equal(program, {"in": np.full((1, 12, 1), 15)}, tmp_path)
    vmem = done.trace.layers["h"]["vmem"]
    assert vmem.min() == -32768
    assert done.trace.layers["h"]["isyn"].max() == 32766


def test_both_files_of_a_build_are_proved(tmp_path):
    r = np.random.default_rng(2)
    net = float_chain([r.normal(0, 0.3, (20, 16)), r.normal(0, 0.2, (5, 20))])
    build = export(Model("mine", net, {}), AUDIO2, tmp_path)
    inputs = spikes(build.program, 4)
    found = builds.verify(build, Samples(inputs, None, "random"))
    assert [p["through"] for p in found["paths"]] == ["program.h5", "spec.json"]
    assert (found["mismatches"], found["compared"]) == (0, 2 * found["paths"][0]["compared"])
    lines = text.verification(found, "mine")
    steps = next(iter(inputs.values())).shape[1]
    assert lines[0].startswith(f"mine: 4 samples of {steps} steps, against xylosim")
    assert lines[2].startswith("  through spec.json (1 XyloLayer, ")
    assert "values of isyn, isyn2, vmem and spikes compared, 0 differ" in lines[2]


def test_a_quantized_network(tmp_path):
    r = np.random.default_rng(2)
    net = float_chain([r.normal(0, 0.3, (20, 16)), r.normal(0, 0.2, (5, 20))])
    program = compile_network(net, AUDIO2)
    done = assert_equal(program, spikes(program, 4), tmp_path)
    assert done.trace.spikes.any()


@pytest.mark.parametrize(
    ("name", "chip"),
    [("digits-rows", "xylo-imu"), pytest.param("nmnist-grid", "xylo-audio3", marks=needs_data)],
)
def test_the_students_that_come_along(tmp_path, monkeypatch, name, chip):
    monkeypatch.setenv("SNN2HW_DATA", str(DATA))
    build = export(load_model(name, tmp_path), target.load(chip), tmp_path)
    found = builds.verify(build, samples_for(build, limit=20))
    assert found["samples"] == 20
    assert found["compared"] > 0
    assert found["mismatches"] == 0
