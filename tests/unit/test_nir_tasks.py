"""NIR networks of other people at their own tasks, against what their authors recorded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nets import LOIHI2
from nmnist import frames, labels
from shared import DATA, needs_data

from snn2hw import nir_io
from snn2hw.families.loihi.exact import remove_dead
from snn2hw.families.loihi.quantize import quantize
from snn2hw.passes import simplify
from snn2hw.rewrites import rewrite
from snn2hw.simulate import floating

pytestmark = needs_data
FOLDER = DATA / "nir"
FIXTURES = Path(__file__).parents[1] / "fixtures"


def recorded(name):
    for line in (FOLDER / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["file"] == name:
            return entry["expected"]
    raise KeyError(name)


@pytest.mark.parametrize(("which", "count"), [(1, 300), (5, 300), (50, 300), (100, 850)])
def test_sinabs_networks_on_n_mnist(which, count):
    """Accuracy within three standard errors of theirs on 10,000, synops of each layer within five.

    30 frames of event counts each, as they were trained: neurons that may spike several times a
    step, reset by subtraction, membranes not below -1. These recordings hold 3 % fewer events than
    theirs did on average (3.2 standard errors), which every layer shows.
    """
    net, _ = nir_io.read(
        FOLDER / f"nmnist_cnn_sinabs_{which}.nir", nir_io.Choice(dt=1.0, written_by="sinabs")
    )
    expected = recorded(f"nmnist_cnn_sinabs_{which}.nir")
    right, rows = [], []
    for start in range(0, count, 50):
        samples = range(start, start + 50)
        trace = floating.run(net, {"input": frames(samples, bins=30)})
        right += list(trace.prediction == labels(samples))
        rows.append([v / 50 / 30 for v in floating.synops(net, trace.events).values()])
    accuracy = expected["accuracy"]
    assert abs(np.mean(right) - accuracy) < 3 * np.sqrt(accuracy * (1 - accuracy) / count)
    mean, error = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(len(rows))
    assert (np.abs(mean - expected["synops_per_timestep_per_layer"]) <= 5 * error).all()


def test_the_network_of_the_nir_paper_on_n_mnist():
    """1 ms steps, 30 test recordings: every published platform is above 95 % on 10,000."""
    samples = range(800, 830)
    x = frames(samples, milliseconds=300)
    for choice in ({"written_by": "sinabs"}, {"reset": "zero"}, {"reset": "subtract"}):
        net, _ = nir_io.read(FOLDER / "scnn_mnist_2023-10-18.nir", nir_io.Choice(dt=1.0, **choice))
        assert (floating.run(net, {"input": x}).prediction == labels(samples)).sum() >= 28


@pytest.mark.parametrize(
    ("platform", "unit", "late"), [("norse", 1, 0), ("snntorch", 25, 0), ("lava_cpu_fixed", 0, 1)]
)
def test_traces_of_one_neuron(platform, unit, late):
    """Norse and snnTorch (which counts the membrane in r dt / tau) to the last digit.

    Lava in fixed point: the same spikes, one step later, as every connection takes one.
    """
    rows = np.loadtxt(FOLDER / "lif_traces" / f"lif_{platform}.csv", delimiter=",")
    net, _ = nir_io.read(FOLDER / "lif_norse.nir", nir_io.Choice(dt=1e-4))
    trace = floating.run(net, {"input": rows[:, 0].reshape(1, -1, 1)}, record=["1"])
    spikes, membrane = trace.outputs["output"].ravel(), trace.membranes["1"].ravel()
    assert spikes.sum() == 4
    assert (np.flatnonzero(spikes) + late == np.flatnonzero(rows[:, 2])).all()
    if unit:
        assert np.allclose(rows[:, 1], unit * membrane, atol=1e-6 * unit)


@pytest.mark.parametrize("platform", ["norse", "snntorch"])
def test_braille_activity(platform):
    """All 256 x 38 recorded spikes of the recurrent layer, on an input from ``fixtures/``."""
    with np.load(FOLDER / "braille_noDelay_bias_zero_activity.npz") as stored:
        wanted = stored[platform]
    with np.load(FIXTURES / f"braille_{platform}.npz") as stored:
        x = stored["thousandths"] / 1000
    net, _ = nir_io.read(FOLDER / "braille_noDelay_bias_zero.nir", nir_io.Choice(dt=1e-4))
    trace = floating.run(net, {"input": x[None]}, record=["lif1.lif"])
    assert wanted.sum() > 100
    assert (trace.recorded["lif1.lif"][0] == wanted).all()
    wrong, _ = nir_io.read(
        FOLDER / "braille_noDelay_bias_zero.nir", nir_io.Choice(dt=1e-4, reset="subtract")
    )
    other = floating.run(wrong, {"input": x[None]}, record=["lif1.lif"])
    assert (other.recorded["lif1.lif"][0] != wanted).sum() > 20


def test_neurons_that_spiked_on_no_platform_are_the_ones_that_cannot():
    """What ``remove_dead`` derives from the weights, six recordings confirm."""
    net, _ = nir_io.read(
        FOLDER / "braille_noDelay_bias_zero.nir", nir_io.Choice(dt=1e-4, time_steps=256)
    )
    with np.load(FOLDER / "braille_noDelay_bias_zero_activity.npz") as stored:
        spiked = np.any([stored[k].any(axis=0) for k in stored.files if k != "total"], axis=0)
    changed, _ = rewrite(net, LOIHI2, ["settled-bias"])
    kept = remove_dead(quantize(simplify(changed), LOIHI2)).population("lif1.lif")
    assert kept.size == spiked.sum() == 11
