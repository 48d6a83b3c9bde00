"""A student that saw encoded images or recordings is run, compiled and priced on the same."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from nets import DT, lif
from onnx_files import linear_digits
from packed import packed_recordings
from system_calls import call_here

from snn2hw import datasets, nir_io, train
from snn2hw.encoders import Encoder
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Flatten, Input, Output
from snn2hw.pipeline.finishing import synops

STEPS = 6


def made_run(folder, weights, bias, shape, max_value, **metrics):
    """A finished run with one layer of neurons that add up what they are shown."""
    nodes = {
        "input": Input(shape, max_value),
        "flat": Flatten(shape),
        "fc": Affine(weights, bias),
        "lif": lif((len(bias),), beta=0.875),
        "output": Output((len(bias),)),
    }
    net = Network(nodes, tuple(itertools.pairwise(nodes)), DT, STEPS)
    run = folder / "runs" / "made"
    run.mkdir(parents=True)
    nir_io.write(run / "student.nir", net)
    rest = dict.fromkeys(("accuracy", "spikes_per_sample", "synops_per_sample", "seconds"), 0.5)
    rest |= {"parameters": 1, "connections": 1, "method": "none", "seed": 0, "data": "digits"}
    rest |= {"teacher_accuracy": None, "time_steps": STEPS}
    (run / "metrics.json").write_text(json.dumps(rest | metrics))
    (folder / "runs" / "latest").write_text("made\n")
    return net


def document(folder, *arguments):
    done = call_here(folder, *arguments, "--json", "-q")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def digits_run(folder, encoder):
    data = datasets.load("digits")
    weights, bias = linear_digits(data)
    told = {} if encoder is None else {"encoder": encoder.to_json()}
    top = 16 if encoder is None else encoder.max_value(16)
    scale = 0.5 * 16 / top / data.max_value
    return data, made_run(
        folder, scale * weights.T, 0.02 * bias, (1, 8, 8), top, data="digits", **told
    )


ENCODED = [
    Encoder("rate", STEPS, seed=3),
    Encoder("latency", STEPS),
    Encoder("latency-log", STEPS, constants={"threshold": 0.2, "clip": 0}),
]


@pytest.mark.parametrize("encoder", ENCODED, ids=lambda e: e.name)
def test_encoder_of_a_run_reaches_every_command(tmp_path, encoder):
    data, net = digits_run(tmp_path, encoder)
    shown = encoder.encode(data.x_test[:40], 16)
    np.savez(tmp_path / "in.npz", x=shown, y=data.y_test[:40])
    document(tmp_path, "export")
    info = json.loads((tmp_path / "builds/made-loihi2/build.json").read_text())
    assert Encoder.from_json(info["encoder"]) == encoder
    keys = ("samples", "steps", "accuracy", "spikes_per_sample", "synops_per_sample")
    for on in ("exact", "float"):
        given = ["made"] if on == "float" else []
        ours = document(tmp_path, "simulate", *given, "--on", on, "--samples", "40")
        file = document(tmp_path, "simulate", *given, "--on", on, "--input", "in.npz")
        assert [ours[k] for k in keys] == [file[k] for k in keys]
        assert ours["accuracy"] > 0.2  # twice chance: the spikes say something
    priced = document(tmp_path, "energy", "report", "--samples", "40")
    stored = document(tmp_path, "energy", "report", "--input", "in.npz")
    assert priced["layers"] == stored["layers"]
    # What the run would count as synaptic operations, input included.
    whole = document(tmp_path, "simulate", "made", "--on", "float")
    assert synops(net, {}, data, encoder) == pytest.approx(whole["synops_per_sample"])


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_encoded_samples_in_lava(tmp_path):
    digits_run(tmp_path, ENCODED[0])
    document(tmp_path, "export")
    found = document(tmp_path, "verify", "--samples", "3")
    assert (found["samples"], found["mismatches"]) == (3, 0)


def test_without_an_encoder_images_are_shown_as_they_are(tmp_path):
    data, net = digits_run(tmp_path, None)
    document(tmp_path, "export")
    np.savez(tmp_path / "in.npz", x=np.repeat(data.x_test[:40, None], STEPS, 1))
    ours = document(tmp_path, "simulate", "--samples", "40")
    file = document(tmp_path, "simulate", "--input", "in.npz")
    assert ours["spikes_per_sample"] == file["spikes_per_sample"] > 0
    whole = document(tmp_path, "simulate", "made", "--on", "float")
    assert synops(net, {}, data) == pytest.approx(whole["synops_per_sample"])


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"name": "rates", "time_steps": 6}, "no encoder 'rates'"),
        ("rate", "is 'rate', not an object"),
        ({"name": "delta", "time_steps": 6}, "samples of shape [2, 8, 8] through encoder 'delta'"),
    ],
)
def test_encoders_that_cannot_be(tmp_path, encoder, said):
    digits_run(tmp_path, None)
    path = tmp_path / "runs/made/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"encoder": encoder}))
    document(tmp_path, "export")
    for arguments in (["simulate"], ["simulate", "made", "--on", "float"]):
        done = call_here(tmp_path, *arguments)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert said in done.stderr


def test_recordings_are_cut_as_the_build_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN2HW_DATA", str(tmp_path))
    packed_recordings(tmp_path / "nmnist_subset.npz")
    data = datasets.load("nmnist", time_steps=STEPS)
    # Class 8 is on the left and 9 on the right.
    weights = np.full((10, 2, 34, 34), -1.0)
    weights[8, ..., :17] = weights[9, ..., 17:] = 1.0
    made_run(
        tmp_path, 0.25 * weights.reshape(10, -1), np.zeros(10), (2, 34, 34), data.max_value,
        data="nmnist", data_note=data.note,
    )  # fmt: skip
    document(tmp_path, "export")
    found = document(tmp_path, "simulate")
    assert (found["samples"], found["steps"], found["accuracy"]) == (50, STEPS, 1.0)
    for arguments in (["simulate"], ["simulate", "made", "--on", "float"], ["energy", "report"]):
        said = call_here(tmp_path, *arguments).stderr
        assert f"note: {data.note}" in said
    info = json.loads((tmp_path / "builds/made-loihi2/build.json").read_text())
    assert info["run"]["data_note"] == data.note


def test_distill_on_recordings(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN2HW_DATA", str(tmp_path))
    packed_recordings(tmp_path / "nmnist_subset.npz")
    order = ["distill", "--data", "nmnist", "--method", "none", "--epochs", "1", "--student", "cnn"]
    metrics = document(tmp_path, *order, "--time-steps", "3")
    assert metrics["time_steps"] == 3
    assert "a subset of N-MNIST: 28 training and 50 test" in metrics["data_note"]
    document(tmp_path, "export")
    found = document(tmp_path, "simulate")
    assert (found["samples"], found["steps"]) == (50, 3)
    assert "a subset of N-MNIST" in call_here(tmp_path, *order, "--time-steps", "3").stdout
    assert train.defaults("cnn", "nmnist").time_steps == 10
    assert train.defaults("cnn", "nmnist", time_steps=7).time_steps == 7


def test_recordings_in_cells_on_a_chip_of_few_inputs(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN2HW_DATA", str(tmp_path))
    packed_recordings(tmp_path / "nmnist_subset.npz")
    order = ["distill", "--data", "nmnist", "--method", "none", "--epochs", "1", "--student"]
    order += ["rnn-16", "--target", "xylo-audio3", "--time-steps", "3", "--encoder"]
    refused = call_here(tmp_path, *order, "grid:rows=4,columns=2,most=16")
    assert "takes at most 15 spikes a step" in refused.stderr
    assert "recordings in cells, grid:most=15" in refused.stderr
    large = call_here(tmp_path, *order, "grid:rows=8,columns=1,margin=20")
    assert "8 x 1 cells and a margin of 20 do not fit into frames of 34 x 34" in large.stderr
    many = call_here(tmp_path, *order, "grid:rows=4,columns=4")
    assert "has 32 values, the chip 16 inputs" in many.stderr
    document(tmp_path, *order, "grid:rows=4,columns=2,margin=5")
    document(tmp_path, "export", "--target", "xylo-audio3")
    found = document(tmp_path, "simulate")
    assert (found["samples"], found["steps"]) == (50, 3)
    data = datasets.load("nmnist", time_steps=3)
    constants = {"rows": 4, "columns": 2, "margin": 5}
    shown = Encoder("grid", 3, constants=constants).encode(data.x_test, data.max_value)
    np.savez(tmp_path / "in.npz", x=shown, y=data.y_test)
    file = document(tmp_path, "simulate", "--input", "in.npz")
    keys = ("accuracy", "spikes_per_sample", "synops_per_sample")
    assert [found[k] for k in keys] == [file[k] for k in keys]
    assert found["synops_per_sample"] > 0
