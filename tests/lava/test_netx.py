"""``.net`` files in real Lava: through ``program.h5``, and through lava-dl's own loader."""

from __future__ import annotations

import netx_writing
import numpy as np
import pytest
from nets import LOIHI2, images, recurrent_chain
from netx_files import random_file
from shared import DATA, needs_data

from snn2hw.families.loihi import engine, lava, netx
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import compare
from snn2hw.store import program as program_file

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_python")]
MODELS = DATA / "models" / "lava-dl"


def compared(program, x, folder, *net_files):
    """Compare with Lava through the program, the given files and the file written again."""
    path, again = folder / "program.h5", folder / "again.net"
    program_file.write(path, program)
    assert program_file.read(path, program.placement, program.target).digest() == program.digest()
    netx_writing.write(again, program)
    ours = engine.run(program, x, states=True)
    for file in (*net_files, again):
        done = lava.run(program, x, program_file=path, vendor_file=file)
        found = compare.traces(ours, done.trace)
        assert found.compared > 0
        assert found.mismatches == 0, (file, found.first)
    return ours


# Neurons with an input of their own, sparse inputs, and what a sample of a few steps can reach.
REAL = {"tiny": (2, 6), "mnist_dense": (2, 12), "oxford": (2, 8), "pilotnet_sdnn": (1, 4)}


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_real_files(tmp_path, name):
    samples, steps = REAL[name]
    file = MODELS / f"{name}.net"
    program = compile_network(netx.read(file, time_steps=steps), LOIHI2)
    x = images(program.network, samples=samples)["input"]
    if program.network.inputs[0].min_value:
        x = x // (64 if name == "pilotnet_sdnn" else 40)
    if name == "oxford":  # about one spike a step, as in its data
        x = x * (np.random.default_rng(0).random(x.shape) < 0.01)
    through = (None, file) if name != "pilotnet_sdnn" else (file,)
    ours = compared(program, {"input": x}, tmp_path, *through)
    assert next(iter(ours.layers.values())).spikes.any()


@needs_data
@pytest.mark.slow
def test_pilotnet_lif(tmp_path):
    file = MODELS / "pilotnet_lif.net"
    program = compile_network(netx.read(file, time_steps=6), LOIHI2)
    x = images(program.network, samples=2)["input"] // 40
    ours = compared(program, {"input": x}, tmp_path, None, file)
    assert ours.layers["layer6"].spikes.any()


def test_recurrent_chain_of_our_own(tmp_path):
    program = recurrent_chain(1)
    ours = compared(program, images(program.network, samples=3), tmp_path, None)
    assert ours.layers["layer0"].spikes.any()


@pytest.mark.parametrize("family", ["lif", "loop", "sdnn", "rf"])
@pytest.mark.parametrize("seed", [0, 3])
def test_random_files(tmp_path, family, seed):
    _random(tmp_path, family, seed)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["lif", "loop", "sdnn", "rf"])
@pytest.mark.parametrize("seed", range(10, 22))
def test_many_random_files(tmp_path, family, seed):
    _random(tmp_path, family, seed)


def _random(tmp_path, family, seed):
    file = tmp_path / "a.net"
    random_file(file, seed, family)
    program = compile_network(netx.read(file), LOIHI2)
    x = images(program.network, samples=2, seed=seed)["input"]
    x = x // 16 if program.network.inputs[0].min_value else x
    compared(program, {"input": x}, tmp_path, None, file)
