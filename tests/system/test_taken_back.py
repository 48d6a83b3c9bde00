"""What a run was made of and trained on is taken back: modules, arrays, series."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import snntorch
from system_calls import call_here, document
from torch import nn

import snn2hw
from snn2hw.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 5


def images(samples=60, seed=0):
    """Four classes: the row that is brightest."""
    x = np.random.default_rng(seed).integers(0, 256, (samples, 1, 4, 4)).astype(np.uint8)
    return x, x.sum((1, 3)).argmax(1)


ARRAYS = (*images(), *images(seed=1))


def module():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 4),
        snntorch.Leaky(0.5, reset_mechanism="zero", init_hidden=True),
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs of arrays: ``mine`` of a named student, ``taught`` by a module, ``own`` of a module."""
    folder = tmp_path_factory.mktemp("arrays")
    short = {"epochs": 2, "progress": False, "time_steps": STEPS}
    with contextlib.chdir(folder):
        snn2hw.distill(None, "mlp", ARRAYS, name="mine", **short)
        teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        snn2hw.distill(teacher, "mlp", ARRAYS, name="taught", **short)
        snn2hw.distill(None, module(), ARRAYS, name="own", **short)
        np.savez(
            "again.npz",
            **dict(zip(("x_train", "y_train", "x_test", "y_test"), ARRAYS, strict=True)),
        )
    for run in ("mine", "own"):
        document(folder, "export", run)
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def refused(folder, *arguments):
    done = call_here(folder, *arguments, "--json", "-q")
    assert done.returncode == 1
    return " ".join(json.loads(done.stdout)["error"][k] for k in ("message", "hint"))


def test_data_that_only_python_had_are_asked_for(place):
    for command in (
        ("simulate", "mine"), ("verify", "own"), ("energy", "report", "mine"),
        ("simulate", "own", "--on", "float"),
    ):  # fmt: skip
        said = refused(place, *command)
        assert "was trained on 'arrays', data of a Python program that are not kept" in said
        assert "--data NAME, or --input FILE.npz" in said
    found = document(place, "simulate", "mine", "--data", "npz:again.npz")
    assert found["samples"] == 60
    assert "prune(run, data)" in refused(place, "prune", "mine")


def test_a_run_of_arrays_is_pruned_on_given_data(here):
    pruned = snn2hw.prune("mine", ARRAYS, epochs=1, sparsity=0.5, progress=False)
    assert pruned.metrics["parent"] == "mine"
    assert pruned.metrics["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert pruned.run.name == "mine-s50"
    again = snn2hw.prune(snn2hw.prune("mine", ARRAYS, epochs=1, sparsity=0.5), ARRAYS, epochs=0)
    assert again.metrics["parent"] == "mine-s50"
    other = (*images(seed=2), *images(seed=1))
    assert snn2hw.prune("mine", other, epochs=1, sparsity=0.5).run.name == "mine-s50-2"
    found = document(here, "prune", "mine", "--data", "npz:again.npz", "--epochs", "1")
    assert found["data"] == "npz:again.npz"
    for data in ("digits", (ARRAYS[0][:, :, :2], ARRAYS[1], ARRAYS[2][:, :, :2], ARRAYS[3])):
        with pytest.raises(InputError, match=r"runs/mine was trained on other data than .*, not "):
            snn2hw.prune("mine", data)
    wide = (ARRAYS[0].astype(np.uint16) * 2, ARRAYS[1], ARRAYS[2], ARRAYS[3])
    with pytest.raises(InputError, match=r"values up to 51\d, not 255"):
        snn2hw.prune("mine", wide)


def test_a_teacher_that_is_gone_is_told(here, capfd):
    pruned = snn2hw.prune("taught", ARRAYS, epochs=1)
    assert pruned.metrics["method"] == "none"
    told = capfd.readouterr().err
    assert "the teacher of taught was a module in Python, which is not kept" in told


def test_what_distill_returns_is_pruned(here):
    """Named or not, a student's own or anyone's module; and it teaches."""
    short = {"epochs": 1, "progress": False}
    kept = snn2hw.distill(None, "mlp", ARRAYS, time_steps=STEPS, name="kept", **short)
    assert snn2hw.prune(kept, ARRAYS, **short).run.name == "kept-s75"
    for student, name in (("mlp", "mlp"), (module(), "Sequential")):
        made = snn2hw.distill(None, student, ARRAYS, time_steps=STEPS, lr=1e-2, **short)
        pruned = snn2hw.prune(made, ARRAYS, sparsity=0.5, **short)
        assert pruned.run is None
        assert pruned.metrics["student"] == made.metrics["student"] == name
        assert pruned.time_steps == STEPS
        kept_weights = pruned.metrics["connections"] / made.metrics["connections"]
        assert kept_weights == pytest.approx(0.5, abs=0.05)
        with pytest.raises(InputError, match="samples of shape"):
            snn2hw.prune(made, "digits")
        taught = snn2hw.distill(made, "mlp", ARRAYS, time_steps=STEPS, **short)
        assert taught.metrics["teacher_accuracy"] == made.accuracy
    with pytest.raises(InputError, match="pruned and fine-tuned on data"):
        snn2hw.prune(made)


def test_only_python_has_the_code_of_a_module(here):
    for said in (
        refused(here, "prune", "own"),
        refused(here, "distill", "--teacher", "runs/own", "--data", "npz:again.npz"),
    ):
        assert "runs/own holds the network of your own module Sequential, but not" in said
    with pytest.raises(InputError, match=r"snn2hw.prune\(module, data"):
        snn2hw.prune("own", ARRAYS)
    with pytest.raises(InputError, match=r"snn2hw.distill\(module, student"):
        snn2hw.distill("runs/own", "mlp", ARRAYS)
    (here / "runs" / "begun").mkdir(exist_ok=True)
    assert "is no finished run" in refused(here, "distill", "--teacher", "runs/begun")


def test_only_runs_are_pruned(here):
    snn2hw.load("mine").save("net.nir")
    for name in ("net.nir", "gone.nir", "nmnist-cnn", "again.npz"):
        said = refused(here, "prune", name)
        assert f"{name} is no run: only runs are pruned, and in Python modules" in said
    assert "There is no run 'mina'. Did you mean 'mine'" in refused(here, "prune", "mina")


def test_time_series_are_taken_back(tmp_path, monkeypatch):
    """``[N, T, features]`` by a named student and by a module, and stills are told how."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    y = chance.integers(0, 3, 80)
    x = (chance.integers(0, 3, (80, 20, 12)) + y[:, None, None]).astype(np.uint8)
    np.savez("ts.npz", x_train=x[:50], y_train=y[:50], x_test=x[50:], y_test=y[50:])
    np.savez("shown.npz", x=x[50:], y=y[50:])
    np.savez("still.npz", x=x[50:, 0])
    short = ("--student", "mlp", "--method", "none", "--epochs", "2", "--name", "ts")
    run = document(tmp_path, "distill", "--data", "npz:ts.npz", *short)
    document(tmp_path, "export", "ts")
    found = document(tmp_path, "simulate", "ts", "--on", "float", "--input", "shown.npz")
    assert (found["steps"], found["accuracy"]) == (20, pytest.approx(run["accuracy"]))
    by_file = document(tmp_path, "simulate", "ts", "--input", "shown.npz")
    by_name = document(tmp_path, "simulate", "ts", "--data", "npz:ts.npz")
    assert by_file["accuracy"] == by_name["accuracy"]
    said = refused(tmp_path, "simulate", "ts", "--input", "still.npz")
    assert "got [30, 12]" in said
    assert "numpy.stack([x] * 20, axis=1)" in said


def test_samples_of_a_module_are_taken_in_both_shapes(tmp_path, monkeypatch):
    """A module of flat samples, trained on what has more axes."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 3, 60)
    series = (chance.integers(0, 3, (60, STEPS, 12)) + labels[:, None, None]).astype(np.uint8)
    for x, y, shape in ((series, labels, (12, 1, 1)), (*images(), (1, 4, 4))):
        size = int(np.prod(shape))
        mine = nn.Sequential(
            nn.Linear(size, 1 + y.max()),
            snntorch.Leaky(0.5, reset_mechanism="zero", init_hidden=True),
        )
        short = {"epochs": 1, "progress": False, "time_steps": STEPS}
        student = snn2hw.distill(None, mine, (x, y, x, y), **short)
        build = snn2hw.build(student)
        shown = x if x.ndim == 3 else np.stack([x] * STEPS, axis=1)
        flat, whole = (shown.reshape(60, STEPS, *s) for s in ((size,), shape))
        assert build.simulate(whole).trace.events["input"].sum() > 0
        assert np.array_equal(build.simulate(flat).spikes, build.simulate(whole).spikes)
        found = [snn2hw.measure(mine, student, given, y) for given in (flat, whole)]
        assert found[0] == found[1]
        assert found[0]["samples"] == 60
        with pytest.raises(InputError, match=r"at every step: .*numpy.stack\(\[x\] \* 5"):
            build.simulate(whole[:, 0])
    bare = snn2hw.build(snn2hw.load(mine, shape=(16,)), time_steps=STEPS)
    with pytest.raises(InputError, match=r"must hold integers, got float64.*input_scale=1/255"):
        bare.simulate(flat / 255)


def test_a_student_that_its_chip_refuses_is_told_before(tmp_path):
    order = ("distill", "--teacher", "cnn", "--method", "none", "--epochs", "1")
    for student, told in (("mlp", 1), ("rnn-16", 0)):
        done = call_here(tmp_path, *order, "--target", "xylo-audio3", "--student", student)
        assert done.returncode == 0
        before = done.stderr.partition("student: 100 %")[0]
        assert before.count("warning: SynSense Xylo Audio 3 refuses an untrained") == told
        assert ("sends to 64 hidden neurons, the chip's to 63 at most" in before) == bool(told)


@pytest.mark.parametrize(
    ("word", "way"),
    [
        ("report", "snn2hw energy report --html FILE"), ("data", "snn2hw datasets"),
        ("Measure", "snn2hw.measure(module, network, x)"), ("build", "snn2hw export"),
    ],
)  # fmt: skip
def test_commands_of_another_name(tmp_path, word, way):
    done = call_here(tmp_path, word, "x")
    assert done.returncode == 2
    assert f"No such command '{word}'" in done.stderr
    assert way in done.stderr
    assert "Did you mean" not in done.stderr
