"""Every method through the command line: distilled, compiled, and run on chip integers."""

from __future__ import annotations

import json

import pytest
from system_calls import call_here

from snn2hw import nir_io
from snn2hw.train.methods import METHODS

SMALL = ["--student", "mlp-32-32", "--time-steps", "4", "--epochs", "6", "--teacher-epochs", "6"]
# Methods that need a teacher of their own kind get it; every other one has the small MLP.
SAME = ["--teacher", "mlp-32-32"]


def made(folder, *arguments):
    done = call_here(folder, *arguments, "--json", "-q")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def spiking(tmp_path_factory):
    """A run whose student teaches others."""
    folder = tmp_path_factory.mktemp("spiking")
    made(folder, "distill", *SMALL, "--method", "none", "--name", "teacher")
    return folder / "runs" / "teacher"


@pytest.mark.parametrize("method", [*METHODS, "hetero+features+logits", "sakd+tandem"])
def test_method_from_command_to_chip(tmp_path, request, method):
    taught = SAME
    if METHODS.get(method) and METHODS[method].teacher == "spiking":
        taught = ["--teacher", str(request.getfixturevalue("spiking"))]
    found = made(tmp_path, "distill", *SMALL, *taught, "--method", method, "--name", "run")
    assert found["method"] == method
    assert (found["teacher_accuracy"] is None) == (not _taught(method))
    assert ("teacher" in found) == _taught(method)
    assert found["accuracy"] > 0.5  # five times chance, after seconds
    assert found["spikes_per_sample"] > 0
    log = [json.loads(x) for x in (tmp_path / "runs/run/log.jsonl").read_text().splitlines()]
    mine = [row for row in log if row["stage"] == "student"]
    assert len(mine) == 6
    if "evolves" in method or method == "reverse":
        assert found["connections"] == pytest.approx(0.2 * (64 * 32 + 32 * 32 + 32 * 10), rel=0.02)
    made(tmp_path, "export", "run")
    chip = made(tmp_path, "simulate")
    assert chip["accuracy"] == pytest.approx(found["accuracy"], abs=0.05)


def _taught(method):
    return any(METHODS[name].teacher for name in method.split("+"))


# Of each method, a constant that nothing but a term of its own looks at, and another value of it.
TERMS = [
    ("none", "smoothing=0.2"),
    ("none", "spike_cost=3"),
    ("kd", "tau_teacher=5"),
    ("hetero", "tau_teacher=5"),
    ("hetero", "tau_student=3"),
    ("features", "feature_weight=0"),
    ("features", "stages=2"),
    ("sakd", "tau_teacher=5"),
    ("sakd", "feature_weight=0"),
    ("reverse", "tau_teacher=2"),
    ("reverse", "density=0.5"),
    ("blurred", "alpha=0"),
    ("blurred", "tau_teacher=5"),
    ("blurred", "feature_weight=0"),
    ("blurred", "blur=0.5"),
    ("steps", "step_weight=0"),
    ("steps", "ensemble_weight=0"),
    ("steps", "tau_steps=1"),
    ("agree", "agree_weight=0"),
    ("agree", "tau_teacher=5"),
    ("logits", "logit_weight=0"),
    ("trains", "tau_teacher=5"),
    ("trains", "train_weight=0"),
    ("trains", "spike_memory=0"),
    ("hetero+features+logits", "feature_weight=0"),
    ("hetero+features+logits", "logit_weight=0"),
]


@pytest.fixture(scope="module")
def student(tmp_path_factory, spiking):
    """Say what a student has become after an epoch, by its method and constants; made once each."""
    folder, known = tmp_path_factory.mktemp("students"), {}

    def made_once(method, *constants, epochs=1):
        short = [*SMALL, "--epochs", str(epochs), "--teacher-epochs", "1"]
        if (method, constants, epochs) not in known:
            name = f"run{len(known)}"
            teacher = ["--teacher", str(spiking)] if method == "trains" else SAME
            sets = [x for c in constants for x in ("--set", c)]
            made(folder, "distill", *short, *teacher, "--method", method, *sets, "--name", name)
            net, _ = nir_io.read(folder / "runs" / name / "student.nir")
            known[method, constants, epochs] = net.digest()
        return known[method, constants, epochs]

    return made_once


@pytest.mark.parametrize(("method", "constant"), TERMS)
def test_each_term_of_a_method_changes_the_student(student, method, constant):
    assert student(method, constant) != student(method)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "none"])
def test_no_method_is_like_labels_alone(student, method):
    epochs = 3 if method == "tandem" else 1  # in one, all layers spike from the start
    assert student(method, epochs=epochs) != student("none", epochs=epochs)


@pytest.mark.parametrize(
    ("method", "constant"),
    [("kd", "feature_weight=0"), ("features", "tau_teacher=5"), ("agree", "alpha=0.1"),
     ("logits", "step_weight=0"), ("steps", "alpha=0.1")],
)  # fmt: skip
def test_constants_of_other_methods_change_nothing(student, method, constant):
    assert student(method, constant) == student(method)


def test_a_start_and_a_structure_are_more_than_their_losses(student):
    assert student("sakd") != student("kd+features")
    assert student("reverse") != student("kd", "alpha=0.2", "tau_teacher=8")


def test_every_term_is_looked_at():
    seen = {name for method, _ in TERMS for name in method.split("+")}
    assert seen | {"tandem", "dsr"} == set(METHODS)  # which change no term


def test_student_without_batch_norm(tmp_path):
    found = made(tmp_path, "distill", *SMALL, "--method", "none", "--set", "norm=none")
    assert found["accuracy"] > 0.5
    # A bias for each neuron, and nothing else.
    assert found["parameters"] - found["connections"] == 32 + 32 + 10
    made(tmp_path, "export")
    chip = made(tmp_path, "simulate")
    assert chip["accuracy"] == pytest.approx(found["accuracy"], abs=0.05)


@pytest.mark.parametrize("encoder", ["rate", "latency-log:threshold=0.2"])
def test_student_of_encoded_images(tmp_path, encoder):
    options = ["--method", "none", "--encoder", encoder, "--name", "run"]
    found = made(tmp_path, "distill", *SMALL, *options)
    name = encoder.partition(":")[0]
    assert (found["encoder"]["name"], found["encoder"]["time_steps"]) == (name, 4)
    made(tmp_path, "export", "run")
    chip = made(tmp_path, "simulate")
    # The same spikes as in training's test: all that differs is rounding.
    assert chip["accuracy"] == pytest.approx(found["accuracy"], abs=0.05)
    assert found["accuracy"] > 0.2
    whole = made(tmp_path, "simulate", "run", "--on", "float")
    assert whole["accuracy"] == pytest.approx(found["accuracy"], abs=0.004)
    assert whole["synops_per_sample"] == pytest.approx(found["synops_per_sample"], rel=2e-3)
    pruned = made(tmp_path, "prune", "run", "--epochs", "1", "--precision", "bf16-mixed")
    assert pruned["encoder"] == found["encoder"]


def test_an_encoder_that_does_not_take_the_data_is_refused_before_training(tmp_path):
    order = ["distill", *SMALL, "--method", "none", "--encoder", "delta"]
    done = call_here(tmp_path, *order)
    assert done.returncode == 1
    assert "Encoder 'delta' takes frames" in done.stderr
    assert not (tmp_path / "runs/latest").exists()


def test_a_budget_of_synaptic_operations_is_kept(tmp_path):
    free = ["--method", "none", "--set", "spike_cost=0"]
    whole = made(tmp_path, "distill", *SMALL, *free, "--name", "free")["synops_per_sample"]
    given = made(tmp_path, "simulate", "free", "--on", "float")
    inputs = whole - given["spikes_per_sample"] * 32  # no spike reaches more than 32 synapses
    budget = round(inputs + 0.6 * (whole - inputs))
    options = ["--method", "none", "--synops-budget", str(budget), "--name", "kept"]
    found = made(tmp_path, "distill", *SMALL, *options)
    assert found["synops_per_sample"] < 0.5 * (whole + budget)
    assert found["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "none", "--synops-budget", "10"], "the budget is"),
        (["--method", "sakd", "--teacher", "mlp-32"], "only in the student"),
        (["--method", "sakd", *SAME, "--set", "norm=none"], "batch norm in the teacher, none"),
        (["--method", "kdd"], "no method 'kdd'"),
        (["--method", "kd+hetero"], "take a share of the labels"),
        (["--method", "trains", "--teacher", "mlp-32"], "the teacher has none"),
        (["--method", "none", "--encoder", "latency:threshold=2"], "threshold"),
    ],
)
def test_what_cannot_work_is_said_before_any_training(tmp_path, options, said):
    done = call_here(tmp_path, "distill", *SMALL, *options)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(("error: ", "hint: ")), done.stderr
    assert said in done.stderr
    assert not list(tmp_path.glob("runs/*/log.jsonl"))
