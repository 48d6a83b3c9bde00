"""lava-dl's ``.net`` files: their authors' ground truths, round trips, and what is refused."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import replace

import h5py
import netx_writing
import numpy as np
import pytest
from hypothesis import assume, given, settings
from nets import LOIHI2, images, random_program, recurrent_chain, seeds
from netx_files import random_file
from shared import DATA, needs_data
from system_calls import call_here, document

from snn2hw.errors import InputError, UnsupportedError
from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine, netx
from snn2hw.families.loihi.netx import weights
from snn2hw.families.loihi.numbers import Numbers
from snn2hw.families.loihi.populations import Delta, Lif, SigmaDelta
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.synapses import Conv, Dense, matrix
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import compare

MODELS = DATA / "models" / "lava-dl"
FILES = ("tiny", "mnist_dense", "oxford", "pilotnet_lif", "pilotnet_sdnn")


def read(name, steps=None):
    """Read a real file and compile it."""
    return compile_network(netx.read(MODELS / f"{name}.net", time_steps=steps), LOIHI2)


def both(program, x):
    """Run the engine and the definition, which must agree."""
    ours = engine.run(program, {"input": x}, states=True)
    found = compare.traces(ours, reference.run(program, {"input": x}))
    assert found.compared > 0
    assert found.mismatches == 0, found.first
    return ours


@needs_data
def test_tiny_gives_the_spikes_that_lava_dl_compares_with():
    """Input written into the bias of LIF neurons; slayer made the truth, a step later by layer."""
    truth = np.load(MODELS / "tiny_gts.npz")
    program = read("tiny", 17)
    image = truth["input_bias"].transpose(2, 1, 0)  # lava-dl counts (W, H, C)
    trace = both(program, np.broadcast_to(image, (1, 17, 3, 16, 16)))
    for k, (layer, name) in enumerate(
        (("layer0", "input"), ("layer1", "layer1"), ("layer2", "output"))
    ):
        theirs = truth[name][0].transpose(3, 0, 1, 2)[1:]
        assert theirs.any(), k
        assert (trace.layers[layer].spikes[0, : len(theirs)] == theirs).all()
    kernel = program.network.connections[0].synapses.weight
    assert (kernel == truth["layer1_kernel"][:, ::-1, ::-1].transpose(0, 3, 2, 1)).all()
    assert (program.network.inputs[0].gain, program.network.inputs[0].offset) == (36, 34)


@needs_data
def test_pilotnet_sdnn_gives_the_output_that_lava_dl_compares_with():
    truth = np.load(MODELS / "pilotnet_sdnn_gts.npz")
    image = truth["input"][..., 0].transpose(2, 1, 0)
    trace = both(read("pilotnet_sdnn", 9), np.broadcast_to(image, (1, 9, 3, 33, 100)))
    assert (trace.spikes.ravel() == truth["output"].ravel()).all()


def _raster(name, steps):
    events = np.load(MODELS / f"oxford_{name}.npy")
    raster = np.zeros((steps, 200), np.int64)
    raster[np.rint(events[:, 2]).astype(int), events[:, 0].astype(int)] = 1
    return raster


@needs_data
def test_oxford_ground_truth_is_slayers_which_fires_at_the_threshold():
    """The truth was recorded in slayer as of 2021: ``v >= vth``, a step later by layer.

    ``oxford_output.npy`` is not an output but the training target. Lava fires where ``v > vth``.
    """
    program = read("oxford", 2000)
    spikes, truth = _raster("input", 2000), _raster("ground_truth", 2002)
    n = program.network.numbers
    for p, c in zip(program.network.populations, program.network.connections, strict=True):
        v, out = np.zeros(p.size, np.int64), np.zeros((2000, p.size), np.int64)
        assert (p.du, p.bias.any()) == (4095, False)
        for t in range(2000):
            kept = reference.toward_zero(v, 4096 - p.dv, n.decay_bits)
            v = kept + (reference.arriving(c, spikes[None, t], n)[0] << n.state_shift)
            out[t] = v >= p.vth << n.state_shift
            v[out[t] > 0] = 0
        spikes = out
    assert spikes.sum() == 10178
    assert (spikes == truth[2:]).all()
    above = engine.run(program, {"input": _raster("input", 2000)[None]}).spikes[0]
    assert above.sum() == 9632


@needs_data
@pytest.mark.parametrize("number", [3, 4])
def test_convolutions_are_lavas(number):
    """Its truth has integer weights and real inputs, and was computed in single precision."""
    truth = np.load(DATA / "models" / "lava" / f"gt_conv_paris_{number}.npz")
    image = truth["input"].transpose(2, 1, 0)
    kernel = truth["weights"][:, ::-1, ::-1].transpose(0, 3, 2, 1)  # from (out, x, y, in), turned
    pairs = (tuple(truth[k][::-1].tolist()) for k in ("stride", "padding", "dilation"))
    conv = Conv(kernel, image.shape, *pairs, int(truth["groups"]))
    expected = truth["out_gt"].transpose(2, 1, 0)
    assert (matrix(conv) @ image.ravel()).reshape(expected.shape) == pytest.approx(
        expected, abs=1e-2
    )
    whole = np.rint(100 * image).astype(np.int64)
    assert (reference.correlate(conv, whole[None]).ravel() == matrix(conv) @ whole.ravel()).all()


@needs_data
@pytest.mark.parametrize("name", FILES)
def test_real_files_come_back(tmp_path, name):
    program = read(name, 16)
    assert netx_writing.why_not(program) is None
    netx_writing.write(tmp_path / "a.net", program)
    back = netx.read(tmp_path / "a.net")
    assert back.digest() == program.network.digest()
    x = images(back, samples=1)["input"][:, :3]
    x = x // 32 if back.inputs[0].min_value else x
    both(compile_network(back, LOIHI2), x)


@settings(max_examples=60)
@given(seeds)
def test_random_files_come_back(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("net") / "a.net"
    random_file(path, seed)
    try:
        net = netx.read(path)
    except InputError as error:
        assume("which lava-dl's loader changes" not in str(error))
        raise
    program = compile_network(net, LOIHI2)
    assert netx_writing.why_not(program) is None
    netx_writing.write(path, program)
    assert netx.read(path).digest() == net.digest()
    x = images(net, samples=2, seed=seed)["input"]
    both(program, x // 16 if net.inputs[0].min_value else x)


@settings(max_examples=60)
@given(seeds)
def test_what_is_written_of_random_programs_means_the_same(tmp_path_factory, seed):
    """Our own chains, loops and exponents: written exactly or refused."""
    path = tmp_path_factory.mktemp("net") / "a.net"
    program = random_program(seed, layers=1 + seed % 2, loops=seed % 3 == 0)
    if netx_writing.why_not(program) is not None:
        return
    netx_writing.write(path, program)
    port = program.network.inputs[0]
    back = compile_network(netx.read(path, input_max=port.max_value), LOIHI2)
    assert back.streams == program.streams
    x = images(program.network, samples=2, seed=seed)[port.name]
    ours = engine.run(program, {port.name: x}, states=True)
    theirs = engine.run(back, {"input": x}, states=True)
    for a, b in zip(ours.layers.values(), theirs.layers.values(), strict=True):
        assert (a["u"].ravel() == b["u"].ravel()).all()
        assert (a["v"].ravel() == b["v"].ravel()).all()


@given(seeds)
def test_recurrent_chains_come_back(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("net") / "a.net"
    program = recurrent_chain(seed)
    assume("which lava-dl's loader changes" not in str(netx_writing.why_not(program)))
    netx_writing.write(path, program)
    assert netx.read(path).digest() == program.network.digest()


@given(seeds)
def test_the_grid_holds_the_same_numbers(seed):
    r = np.random.default_rng(seed)
    low, high = sorted(r.integers(-300, 300, 2).tolist())
    w = r.integers(low, high + 1, (3, 4)) << int(r.integers(0, 2))
    try:
        moved, exponent = weights.on_grid(w, Numbers())
    except ValueError:
        return
    assert (moved * 2.0**exponent == w).all()
    Connection("a", "b", Dense(moved), exponent)
    IntNetwork(
        (InputPort("a", (4,)),), (Lif("b", (3,), 0, 0, 1, np.zeros(3)),),
        (Connection("a", "b", Dense(moved), exponent),), {"out": "b"}, 1e-3, 1, Numbers(), {},
    )  # fmt: skip


def _tiny_program():
    lif = Lif("b", (2,), 4095, 0, 64, np.array([1, 0]))
    c = Connection("a", "b", Dense(np.array([[2, -4], [6, 8]])))
    net = IntNetwork((InputPort("a", (2,)),), (lif,), (c,), {"out": "b"}, 1e-3, 4, Numbers(), {})
    return net, c, lif


def _why(net):
    return str(netx_writing.why_not(compile_network(net, LOIHI2)))


def test_what_netx_cannot_hold_is_refused():
    net, c, lif = _tiny_program()
    assert _why(net) == "None"
    odd = replace(c, synapses=Dense(np.array([[2, -4], [6, 8]])), exponent=-2)
    assert "needs weight exponent -2" in _why(replace(net, connections=(odd,)))
    assert "beyond 8 bits" in _why(replace(net, connections=(replace(c, exponent=6),)))
    only = replace(c, synapses=Dense(np.array([[-2, -4], [-2, -2]])))
    assert "which lava-dl's loader changes" in _why(replace(net, connections=(only,)))
    assert "only zero weights" in _why(
        replace(net, connections=(replace(c, synapses=Dense(np.zeros((2, 2), int))),))
    )
    assert "bias exponent 3" in _why(replace(net, populations=(replace(lif, bias_exp=3),)))
    back = Connection("b", "b", c.synapses, delay=1)
    looped = replace(net, connections=(c, back))
    assert "has a bias that must wait" in _why(looped)
    quiet = replace(looped, populations=(replace(lif, bias=np.zeros(2)),))
    assert _why(quiet) == "None"
    slow = replace(back, delay=3)
    assert "has other delays in its recurrence" in _why(replace(quiet, connections=(c, slow)))


BAD = {
    "lacks weight": lambda f: f.__delitem__("layer/1/weight"),
    "lacks iDecay": lambda f: f.__delitem__("layer/1/neuron/iDecay"),
    "lacks type": lambda f: f.__delitem__("layer/1/type"),
    "lacks stride": lambda f: f.__delitem__("layer/1/stride"),
    "2 values of weight that are NaN": lambda f: _put(f, "layer/1/weight", _spoiled(f)),
    "is of a type that no loader": lambda f: _type(f, "layer/1", "pool"),
    "is of an unknown type": lambda f: _type(f, "layer/1", "magic"),
    "has ALIF neurons": lambda f: _put(f, "layer/1/neuron/type", "ALIF"),
    "says shape \\(24, 7, 6\\)": lambda f: _put(f, "layer/1/shape", np.array([24, 7, 6])),
    "which makes no sense": lambda f: _put(f, "layer/1/shape", np.array([1 << 20, 1 << 20, 4])),
    "has bias \\(23,\\)": lambda f: _put(f, "layer/1/bias", np.zeros(23)),
    "has biases from": lambda f: _put(f, "layer/1/bias", np.full(24, 5000.0)),
    "du 5000": lambda f: _put(f, "layer/1/neuron/iDecay", 5001),
    "vth 0": lambda f: _put(f, "layer/1/neuron/vThMant", 0),
    "sets wgtExp to 2": lambda f: _put(f, "layer/1/neuron/wgtExp", 2),
    "sets gradedSpike to 1": lambda f: _put(f, "layer/1/neuron/gradedSpike", True),
    "on which lava-dl 0.6.0 stops": lambda f: _put(f, "layer/1/neuron/messageBits", 8),
    "24 values of vDecay": lambda f: _put(f, "layer/1/neuron/vDecay", np.zeros(24)),
    "has delays, which netx does not": lambda f: _put(f, "layer/1/delay", np.ones(24)),
    "not on the chip's grid": lambda f: _put(f, "layer/1/weight", f["layer/1/weight"][()] * 100),
    "matches? conv weight|does not match": lambda f: _put(f, "layer/1/groups", 2),
    "takes an image, and gets": lambda f: _put(f, "layer/0/shape", np.array([16, 16])),
}


def _put(file, path, value):
    if path in file:
        del file[path]
    file[path] = value


def _type(file, path, kind):
    del file[path + "/type"]
    file[path].create_dataset("type", (1,), "S10", data=[kind.encode()])


def _spoiled(file):
    weight = file["layer/1/weight"][()]
    weight[0, 0, 0, 0], weight[0, 1, 0, 0] = np.nan, np.inf
    return weight


@needs_data
@pytest.mark.parametrize("problem", BAD)
def test_bad_layers_are_named(tmp_path, problem):
    path = tmp_path / "a.net"
    shutil.copy(MODELS / "tiny.net", path)
    path.chmod(0o644)
    with h5py.File(path, "r+") as file:
        BAD[problem](file)
    with pytest.raises(InputError, match=problem) as caught:
        netx.read(path, time_steps=4)
    assert "layer 1 (" in str(caught.value)


@needs_data
def test_all_bad_layers_are_named_at_once(tmp_path):
    path = tmp_path / "a.net"
    shutil.copy(MODELS / "pilotnet_lif.net", path)
    path.chmod(0o644)
    with h5py.File(path, "r+") as file:
        del file["layer/1/stride"]
        _put(file, "layer/4/neuron/type", "ADRF_PHASE")
        _put(file, "layer/7/weight", np.full((100, 2560), np.nan))
        _put(file, "layer/9/shape", np.array([11, 1, 1]))
    with pytest.raises(InputError) as caught:
        netx.read(path)
    said = str(caught.value)
    assert [f"layer {i} (" in said for i in range(11)] == [
        i in (1, 4, 7, 9, 10) for i in range(11)  # 10 takes what 9 says to give
    ]  # fmt: skip


def test_layers_must_be_numbered(tmp_path):
    random_file(tmp_path / "a.net", 1)
    with h5py.File(tmp_path / "a.net", "r+") as file:
        file.move("layer/0", "layer/first")
    with pytest.raises(InputError, match="numbered from 0, not first"):
        netx.read(tmp_path / "a.net")


def test_sums_of_graded_spikes_beyond_24_bits_are_refused():
    port = InputPort("input", (40,), 2047, -2048)
    made = (Delta("a", (40,), 0, "input"), SigmaDelta("b", (1,), 0, np.zeros(1)))
    c = Connection("a", "b", Dense(np.full((1, 40), 254)))
    net = IntNetwork((port,), made, (c,), {"out": "b"}, 1e-3, 2, Numbers(), {})
    program = compile_network(net, LOIHI2)
    for simulate in (engine.run, reference.run):
        assert simulate(program, {"input": np.full((1, 2, 40), 12)}).spikes.any()
        with pytest.raises(UnsupportedError, match="more than the 24 bits"):
            simulate(program, {"input": np.full((1, 2, 40), 13)})


def _idx(path, offset):
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=offset)


@needs_data
def test_mnist_dense_classifies():
    """Rates as in its tutorial: each pixel drives an integrate-and-fire neuron for 32 steps."""
    folder = DATA / "mnist"
    pixels = _idx(folder / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784)[:1000] / 255
    labels = _idx(folder / "t10k-labels-idx1-ubyte.gz", 8)[:1000]
    v, x = np.zeros(pixels.shape), np.zeros((1000, 32, 784), np.int32)
    for t in range(1, 32):  # its first step shows nothing
        v += pixels
        x[:, t] = v > 1
        v[v > 1] = 0
    trace = engine.run(read("mnist_dense", 32), {"input": x})
    assert (trace.prediction == labels).mean() > 0.9


def test_a_file_without_steps_is_listed(tmp_path):
    """As a NIR file is, with the option that an export asks for."""
    path = tmp_path / "a.net"
    random_file(path, 0, "lif")
    whole = document(tmp_path, "inspect", "a.net")
    with h5py.File(path, "r+") as file:
        del file["simulation/tSample"]
    found = document(tmp_path, "inspect", "a.net")
    (missing,) = found["missing"]
    assert "how many steps a sample lasts: an export asks for it (--time-steps)" in missing
    assert (found["time_steps"], found["layers"]) == (None, whole["layers"])
    assert missing not in found["notes"]
    assert whole["missing"] == []
    said = document(tmp_path, "inspect", "a.net", "--time-steps", "7")
    assert (said["time_steps"], said["missing"]) == (7, [])
    refused = call_here(tmp_path, "export", "a.net")
    assert "does not say how long a sample lasts. Give --time-steps" in refused.stderr
    with h5py.File(path, "r+") as file:
        del file["layer"]
    assert "is not a netx file" in call_here(tmp_path, "inspect", "a.net").stderr
