"""Rockpool takes ``spec.json`` and its XyloSim gives every spike and state that ours gives.

In an environment of its own in the user cache (Python 3.11, a C++ compiler, about 65 MB):

    python -m pytest tests/xylo/test_rockpool.py -m rockpool
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from xylo_nets import (
    CHIPS,
    chain,
    dense,
    hidden,
    network,
    program_of,
    random_program,
    readout,
    spikes,
)

from snn2hw.environments import Environment
from snn2hw.errors import RuntimeMissingError
from snn2hw.families.xylo import engine, spec
from snn2hw.families.xylo.numbers import first_ids, populations
from snn2hw.families.xylo.populations import Hidden

pytestmark = [pytest.mark.slow, pytest.mark.rockpool]

HERE = Path(__file__).parent
ROCKPOOL = Environment(
    name="rockpool",
    title="Rockpool 3.1.0",
    about="with xylosim 0.1.3, on Python 3.11",
    python=(3, 11),
    requirements=HERE / "rockpool-requirements.txt",
    bare=("--no-build-isolation", "xylosim==0.1.3", "rockpool==3.1.0"),
    proof="import rockpool, xylosim.v2",
    size="about 65 MB",
)
DEVICES = {"audio2": "syns61201", "imu": "syns63300", "audio3": "syns65302"}
STATES = {"spikes": "Spikes", "vmem": "Vmem", "isyn": "Isyn", "isyn2": "Isyn2"}


@pytest.fixture(scope="module")
def rockpool():
    """Install Rockpool if need be; where that fails, CI fails and others skip."""
    try:
        ROCKPOOL.install()
    except RuntimeMissingError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"ROCKPOOL IS NOT TESTED HERE: {error}")
    return ROCKPOOL


def written(folder, program, inputs, chip):
    """Write what the runner reads: a sample's steps, and those after it that layers need."""
    folder.mkdir()
    ((_, x),) = inputs.items()
    padding = ((0, 0), (0, program.tail), (0, 0))
    np.save(folder / "x.npy", np.pad(x.reshape(*x.shape[:2], -1), padding))
    (folder / "chip.txt").write_text(DEVICES[chip])
    spec.plan(program)(folder / "spec.json")


def difference(program, inputs, folder):
    """Compare every layer; return how many values there were, and the names of those that differ.

    XyloSim records each pool of neurons from the chip's first step on; that of XyloIMU, which
    XyloAudio 3 shares, leaves out the second current.
    """
    trace, compared, off = engine.run(program, inputs, states=True), 0, []
    first = first_ids(program.network)
    inner = {p.name for p in populations(program.network) if isinstance(p, Hidden)}
    with np.load(folder / "out.npz") as theirs:
        for name, layer in trace.layers.items():
            begin, phase = first[name], program.phase[name]
            for what in layer.names:
                own = layer[what].reshape(trace.samples, trace.steps, -1)
                record = STATES[what] + ("" if name in inner else "_out")
                if record == "Isyn2" and record not in theirs:
                    continue
                pool = theirs[record]
                part = pool[:, phase : phase + trace.steps, begin : begin + own.shape[2]]
                compared += own.size
                off += [f"{folder.name} {name}.{what}"] * (not np.array_equal(own, part))
    return compared, off


def test_random_networks(tmp_path, rockpool):
    made = {}
    for i in range(300):
        chip = list(CHIPS)[i % 3]
        program = random_program(5000 + i, CHIPS[chip], extreme=i % 2 == 1)
        inputs = spikes(program, 2, i)
        made[tmp_path / f"{i:03}-{chip}"] = program, inputs
        written(tmp_path / f"{i:03}-{chip}", program, inputs, chip)
    rockpool.run(HERE / "rockpool_runner.py", [str(tmp_path)])
    found = [difference(program, inputs, folder) for folder, (program, inputs) in made.items()]
    assert [name for _, off in found for name in off] == []
    assert min(compared for compared, _ in found) > 0
    for folder in made:
        told = json.loads((folder / "spec.json").read_text())
        with np.load(folder / "out.npz") as theirs:
            known = [k for k in theirs["arguments"].tolist() if k not in ("args", "kwargs")]
            assert known == [*told, "verify_config", "output_mode"]
            for k in ("in", "rec", "out"):
                weight = np.array(told[f"weights_{k}"])
                one = weight if k == "out" else weight[:, :, 0]
                assert np.array_equal(theirs[f"config.{k}"], one)
                if k != "out" and weight.shape[2] > 1:
                    assert np.array_equal(theirs[f"config.{k}2"], weight[:, :, 1])


@pytest.mark.parametrize("chip", CHIPS)
def test_more_neurons_than_inputs_and_readout_reach(tmp_path, rockpool, chip):
    """On two of the chips those are 128; what is beyond is left out, and Rockpool does not warn."""
    r = np.random.default_rng(7)

    def few(post, pre):
        return np.where(r.random((post, pre)) < 0.05, r.integers(-20, 90, (post, pre)), 0)

    parts = [*(hidden(k, n, dash_mem=3) for k, n in (("a", 100), ("b", 200), ("c", 100)))]
    links = [
        dense("in", "a", r.integers(-20, 60, (100, 8))), dense("a", "b", few(200, 100)),
        dense("b", "c", few(100, 200)), dense("c", "out", r.integers(-20, 60, (4, 100))),
    ]  # fmt: skip
    numbers = CHIPS[chip].numbers
    net = network([*parts, readout("out", 4)], links, 8, 12, numbers)
    program = program_of(net, CHIPS[chip])
    inputs = spikes(program, 2)
    written(tmp_path / "one", program, inputs, chip)
    rockpool.run(HERE / "rockpool_runner.py", [str(tmp_path)])
    compared, off = difference(program, inputs, tmp_path / "one")
    assert compared > 2 * 12 * 404
    assert off == []
    assert engine.run(program, inputs).spikes.any()


@pytest.mark.parametrize("chip", CHIPS)
def test_the_quantizers_leave_what_fills_the_weights_as_it_is(tmp_path, rockpool, chip):
    numbers = {"threshold": [300, 70], "bias": [5, -9]}
    program = chain([[127], [-127]], [[127, 5]], CHIPS[chip], numbers)
    written(tmp_path / "one", program, spikes(program), chip)
    rockpool.run(HERE / "rockpool_runner.py", [str(tmp_path)])
    told = json.loads((tmp_path / "one" / "spec.json").read_text())
    with np.load(tmp_path / "one" / "out.npz") as theirs:
        for k in theirs.files:
            quantizer, _, name = k.partition(".")
            if quantizer in ("global", "channel"):
                assert theirs[k].tolist() == told[name], k
