"""``model.net``, loaded by lava-dl with the arguments that a build tells, and without them."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import netx_writing
import numpy as np
import pytest
from nets import DT, LOIHI2, images, lif, recurrent_chain

from snn2hw.families.loihi import engine, lava, netx
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.pipeline.compiler import compile_network

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_python")]
RUNNER = Path(__file__).parent / "loading_runner.py"


def three_layers(steps: int, largest: int = 1) -> Network:
    """Three dense layers, whose biases alone make the later ones spike."""
    r, sizes = np.random.default_rng(0), (6, 12, 10, 8)
    nodes = {"input": Input((6,), largest)}
    for i, (pre, post) in enumerate(itertools.pairwise(sizes)):
        scale = 1 / largest if i == 0 else 1
        nodes[f"fc{i}"] = Affine(scale * r.normal(0, 0.5, (post, pre)), r.uniform(0, 0.6, post))
        nodes[f"lif{i}"] = lif((post,))
    nodes["output"] = Output((8,))
    return Network(nodes, tuple(itertools.pairwise(nodes)), DT, steps)


def loaded(folder, program, arguments, x):
    """Return what the output sends at every step, ``[steps, size]``, for inputs of that form."""
    netx_writing.write(folder / "model.net", program)
    np.savez(folder / "x.npz", x=x.T)
    job = {"net": "model.net", "inputs": "x.npz", "output": "y.npz"}
    job = {k: str(folder / v) for k, v in job.items()}
    job |= {"arguments": arguments, "helper": str(lava.RUNNER)}
    (folder / "job.json").write_text(json.dumps(job))
    lava.ENVIRONMENT.run(RUNNER, [str(folder / "job.json")], folder)
    with np.load(folder / "y.npz") as stored:
        return stored["spikes"].T


@pytest.mark.parametrize(("steps", "largest"), [(8, 1), (3, 16)])
def test_with_the_arguments_of_the_build_each_sample_starts_afresh(tmp_path, steps, largest):
    program = compile_network(three_layers(steps, largest), LOIHI2)
    told = netx.loading(program)
    interval = max(steps, 5)
    assert told.arguments == {
        "reset_interval": interval, "reset_offset": 1,
        **({"input_message_bits": 5} if largest > 1 else {}),
    }  # fmt: skip
    x = images(program.network, samples=6)["input"]
    fed = np.zeros((6, interval, 6), int)
    fed[:, :steps] = x
    fed = np.concatenate([*fed, np.zeros((program.depth, 6), int)])

    def spikes(arguments):
        sent = loaded(tmp_path, program, arguments, fed)
        begin = program.depth + interval * np.arange(6)
        return sent[begin[:, None] + np.arange(steps)]

    ours = engine.run(program, {"input": x}).spikes
    assert ours.any()
    assert (spikes(told.arguments) == ours).all()
    bits = {k: v for k, v in told.arguments.items() if not k.startswith("reset")}
    assert (spikes(bits) != ours).any()
    assert (spikes({**told.arguments, "reset_offset": 0}) != ours).any()


def test_what_netx_cannot_reset_is_loaded_anew_for_each_sample(tmp_path):
    program = recurrent_chain(25)
    told = netx.loading(program)
    assert told.arguments == {}
    x = images(program.network, samples=2)["input"]
    ours = engine.run(program, {"input": x}).spikes
    assert ours.any()
    for sample, wanted in zip(x, ours, strict=True):
        fed = np.concatenate([sample, np.zeros((program.depth, sample.shape[1]), int)])
        assert (loaded(tmp_path, program, told.arguments, fed)[program.depth :] == wanted).all()


@pytest.mark.parametrize("steps", [8, 3])
def test_what_is_said_is_the_call(steps):
    program = compile_network(three_layers(steps, 16), LOIHI2)
    told = netx.loading(program)
    call = re.search(r'netx\.hdf5\.Network\("model\.net"(.*?)\)', told.use)
    assert call is not None
    assert call[1] == "".join(f", {k}={v}" for k, v in told.arguments.items())
    assert ("then 2 without input" in told.use) == (steps == 3)
    assert "anew for each sample" in netx.loading(recurrent_chain(25)).use
