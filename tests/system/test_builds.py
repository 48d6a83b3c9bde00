"""What a build remembers, and how runs and builds are found and kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from system_calls import call_here, document

import snn2hw
from snn2hw import datasets, nir_io
from snn2hw.nir_io import Choice

NETWORKS = Path(__file__).parents[1] / "fixtures/networks"
GIVEN = ("--written-by", "norse", "--dt", "1e-3", "--time-steps", "25")


@pytest.fixture
def norse(tmp_path):
    """A folder with a file that says neither its step nor how long a sample lasts."""
    shutil.copy(NETWORKS / "norse_dt.nir", tmp_path)
    with np.load(NETWORKS / "norse_dt_in.npz") as stored:
        np.savez(tmp_path / "in.npz", x=stored["x"][:, :25])
    return tmp_path


def options(folder, build):
    return json.loads((folder / "builds" / build / "build.json").read_text())["options"]


def test_every_option_is_recorded_and_taken_again(norse):
    document(norse, "export", "norse_dt.nir", *GIVEN)
    assert options(norse, "norse_dt-loihi2") == {
        "dt": 1e-3, "time_steps": 25, "written_by": "norse"
    }  # fmt: skip
    few = ("--targets", "loihi2", "--input", "in.npz")
    spikes = document(norse, "simulate", "--input", "in.npz")["spikes_per_sample"]
    for name in ((), ("norse_dt-loihi2",), ("norse_dt",), ("builds/norse_dt-loihi2",)):
        found = document(norse, "energy", "compare", *name, *few)
        assert found["model"] == "norse_dt"  # the file again, not the build's integers
        assert found["targets"][0]["spikes"] == spikes
    told = call_here(norse, "energy", "compare", *few).stderr
    assert "taken from builds/norse_dt-loihi2, unless it is given anew: --dt 0.001" in told
    anew = document(norse, "energy", "compare", *few, "--dt", "5e-4")  # goes before
    assert anew["targets"][0]["spikes"] != spikes
    asked = call_here(norse, "energy", "compare", "norse_dt.nir", *few)
    assert "Give a smaller --dt" in asked.stderr or "Give --dt" in asked.stderr


def test_a_build_is_exported_again_with_its_options(norse):
    document(norse, "export", "norse_dt.nir", *GIVEN)
    before = {p.name: p.read_bytes() for p in (norse / "builds/norse_dt-loihi2").iterdir()}
    document(norse, "export", "norse_dt.nir", *GIVEN)
    after = {p.name: p.read_bytes() for p in (norse / "builds/norse_dt-loihi2").iterdir()}
    assert after == before
    made = document(norse, "export", "norse_dt-loihi2", "--name", "again", "--reset", "zero")
    assert made["time_steps"] == 25
    assert options(norse, "again") == {
        "dt": 1e-3, "time_steps": 25, "written_by": "norse", "reset": "zero", "name": "again"
    }  # fmt: skip
    shown = call_here(norse, "inspect", "again").stdout
    assert "--dt 0.001, --time-steps 25, --reset zero, --written-by norse, --name again" in shown
    (norse / "norse_dt.nir").unlink()
    gone = call_here(norse, "export", "again")
    assert "builds/again: There is no file norse_dt.nir." in gone.stderr


def test_a_choice_comes_back_from_its_record():
    said = Choice(dt=1e-3, input_scale=1 / 255, input_mean=(0.1, 0.2), v_min=-1.0, input_max=255)
    record = json.loads(json.dumps(said.given()))
    assert Choice().over({**record, "rewrite": ["all"], "reset": None}) == said
    anew = Choice(dt=1e-4, reset="subtract").over(record)
    assert anew == replace(said, dt=1e-4, reset="subtract")


def test_other_options_ask_for_a_name(norse):
    document(norse, "export", "norse_dt.nir", *GIVEN)
    same = call_here(norse, "export", "norse_dt.nir", *GIVEN, "--reset", "zero")
    assert (same.returncode, "held another program" in same.stderr) == (0, False)
    before = (norse / "builds/norse_dt-loihi2/program.h5").read_bytes()
    other = ("--written-by", "norse", "--dt", "2e-3", "--time-steps", "20")
    refused = call_here(norse, "export", "norse_dt.nir", *other)
    assert refused.returncode == 1
    assert (
        "norse_dt-loihi2 is a build with other options: --dt is 0.002 now and was 0.001; "
        "--time-steps is 20 now and was 25; --reset is not given now and was zero."
    ) in refused.stderr
    assert (norse / "builds/norse_dt-loihi2/program.h5").read_bytes() == before
    document(norse, "export", "norse_dt.nir", *other, "--name", "other")
    taken = call_here(norse, "export", "norse_dt.nir", *other, "--name", "norse_dt-loihi2")
    assert "held another program, which is gone" in taken.stderr
    assert (norse / "builds/norse_dt-loihi2/program.h5").read_bytes() != before


def test_a_network_that_changed_replaces_its_build_with_a_note(tmp_path):
    net, _ = nir_io.read(Path(__file__).parents[2] / "models/digits-cnn/network.nir")
    nir_io.write(tmp_path / "a.nir", net)
    document(tmp_path, "export", "a.nir")
    nir_io.write(tmp_path / "a.nir", replace(net, dt=net.dt / 2))
    changed = call_here(tmp_path, "export", "a.nir")
    assert "builds/a-loihi2 held another program, which is gone" in changed.stderr
    nir_io.write(tmp_path / "a.nir", replace(net, time_steps=3))
    refused = call_here(tmp_path, "export", "a.nir")
    assert f"--time-steps is 3 now and was {net.time_steps}" in refused.stderr


def test_rewrites_of_a_build_are_taken_again(tmp_path):
    net, _ = nir_io.read(Path(__file__).parents[2] / "models/digits-cnn/network.nir")
    soft = {k: replace(n, reset="subtract") for k, n in net.neurons().items()}
    nir_io.write(tmp_path / "soft.nir", replace(net, nodes={**net.nodes, **soft}))
    document(tmp_path, "export", "soft.nir", "--rewrite", "hard-reset")
    few = ("--targets", "loihi2", "--data", "digits", "--samples", "3")
    assert not document(tmp_path, "energy", "compare", "soft.nir", *few)["targets"][0]["fits"]
    (row,) = document(tmp_path, "energy", "compare", "soft-loihi2", *few)["targets"]
    assert list(row["rewrites"]["applied"]) == ["hard-reset"]
    assert "rewrite hard-reset" in call_here(tmp_path, "energy", "compare", *few).stdout


def test_builds_and_runs_are_found_by_each_others_names(workshop):
    few = ("--samples", "2")
    for name in ("cnn-digits-s75", "runs/cnn-digits-s75", "cnn-digits-s75-loihi2"):
        assert document(workshop, "simulate", name, *few)["build"].endswith("s75-loihi2")
    for name in ("builds/cnn-digits-s75-loihi2", "cnn-digits-s75-loihi2"):
        pruned = call_here(workshop, "prune", name, "--sparsity", "2")
        assert "Sparsity 2 is not between" in pruned.stderr
        assert document(workshop, "simulate", name, "--on", "float", *few)["on"] == "float"
    none = call_here(workshop, "simulate", "cnn-digits")
    assert "There is no build 'cnn-digits'." in none.stderr
    assert "run: snn2hw export cnn-digits" in none.stderr
    document(workshop, "export", "cnn-digits-s75", "--time-steps", "3", "--name", "short")
    several = call_here(workshop, "simulate", "cnn-digits-s75", *few)
    assert (
        "There are 2 builds of cnn-digits-s75: cnn-digits-s75-loihi2, short. Name one"
    ) in several.stderr


def test_pruning_a_build_prunes_its_run(workshop):
    again = ("--epochs", "1", "--sparsity", "0.9", "--name", "deeper")
    made = document(workshop, "prune", "cnn-digits-s75-loihi2", *again)
    assert made["parent"] == "cnn-digits-s75"
    document(workshop, "export", "digits-cnn")
    refused = call_here(workshop, "prune", "digits-cnn-loihi2")
    assert "digits-cnn-loihi2 is a build of digits-cnn, which is not a run here" in refused.stderr


def test_the_nearest_is_suggested_in_any_case_of_letters(workshop):
    for command, meant in (
        (("simulate", "CNN-DIGITS-S75-LOIHI"), "cnn-digits-s75-loihi2"),
        (("prune", "CNN-Digits"), "cnn-digits"),
        (("export", "CNN-DIGITS-S75-Loihi"), "cnn-digits-s75-loihi2"),
        (("export", "Digits-RNW"), "digits-rows"),
        (("export", "--target", "XYLO-IMU"), "xylo-imu"),
        (("simulate", "--data", "Digits"), "digits"),
        (("simulate", "--on", "LAVA"), "lava"),
        (("distill", "--teacher", "ResNet-34"), "resnet34"),
        (("methods", "HETERO"), "hetero"),
        (("encoders", "RATE"), "rate"),
    ):
        assert f"Did you mean '{meant}'?" in call_here(workshop, *command).stderr


@pytest.mark.parametrize("kind", ["runs", "builds"])
def test_results_replace_no_pointer_and_no_part(workshop, kind):
    pointer = workshop / kind / "latest"
    before = pointer.read_bytes()
    part = f"{kind}/{before.decode().strip()}"
    part += "/metrics.json" if kind == "runs" else "/program.h5"
    for command in (
        ("simulate", "--samples", "2", "--save"),
        ("simulate", "cnn-digits", "--on", "float", "--samples", "2", "--save"),
        ("energy", "report", "--samples", "2", "--html"),
    ):
        refused = call_here(workshop, *command, f"{kind}/latest")
        assert f"{kind}/latest is where the newest {kind[:-1]} is remembered." in refused.stderr
        assert f"{part} is a part of " in call_here(workshop, *command, part).stderr
    assert pointer.read_bytes() == before
    document(workshop, "simulate", "--samples", "2", "--save", str(Path(part).parent / "a.npz"))


def test_inspect_says_what_an_export_will_ask_for(norse):
    def missing(*more):
        return document(norse, "inspect", "norse_dt.nir", *more)["missing"]

    steps, dt = missing()
    assert steps.endswith("an export asks for it (--time-steps)")
    assert dt.endswith("an export asks for it (--dt)")
    assert missing("--time-steps", "9") == [dt]
    assert missing("--written-by", "norse", "--dt", "1e-3") == [steps]
    _, scale = missing("--dt", "1e-6", "--input-max", "255")
    assert scale.endswith("say --input-scale 1/255")
    assert missing("--dt", "1e-6", "--input-scale", "1/255") == [steps]
    found = document(norse, "inspect", "norse_dt.nir")
    assert not {steps, dt} & set(found["notes"])
    assert f"missing: {steps}\nmissing: {dt}" in call_here(norse, "inspect", "norse_dt.nir").stdout
    assert document(norse, "inspect", "digits-cnn")["missing"] == []


def test_options_that_a_vendors_file_has_no_use_for_are_named(tmp_path):
    net = Path(document(tmp_path, "export", "digits-cnn")["build"]) / "model.net"
    given = ("--input-max", "16", "--dt", "1e-4", "--reset", "zero")
    (note,) = document(tmp_path, "inspect", str(net), *given)["notes"]
    assert note == "not used, as model.net leaves no choice there: --dt 0.0001, --reset zero"
    assert document(tmp_path, "inspect", str(net), *given[:2])["notes"] == []


@pytest.fixture
def late(tmp_path):
    """A folder with a network whose neurons Loihi 2 lacks, and images that are no noise."""
    net, _ = nir_io.read(Path(__file__).parents[2] / "models/digits-cnn/network.nir")
    soft = {k: replace(n, reset="subtract") for k, n in net.neurons().items()}
    nir_io.write(tmp_path / "late.nir", replace(net, nodes={**net.nodes, **soft}))
    nir_io.write(tmp_path / "hard.nir", net)
    data = datasets.load("digits")
    shown = data.x_test[:30, None].repeat(net.time_steps, axis=1)
    np.savez(tmp_path / "in.npz", x=shown, y=data.y_test[:30])
    np.savez(tmp_path / "fed.npz", x=shown / 16)
    return tmp_path


def test_rewrites_are_measured_on_samples_that_are_given(late):
    rewriting = ("export", "late.nir", "--rewrite", "hard-reset")
    blind = call_here(late, *rewriting)
    assert "samples of random inputs" in blind.stdout
    assert "Random inputs say little of real ones" in blind.stdout
    for given, source, samples in (
        (("--input", "in.npz"), "in.npz", 30), (("--data", "digits", "--samples", "7"), "digits", 7)
    ):  # fmt: skip
        found = document(late, *rewriting, *given)["rewrites"]
        assert found["measured_on"] == f"{samples} samples of {source}"
        assert found["spikes_per_sample"][0] != found["spikes_per_sample"][1]
        assert min(found["accuracy"]) > 0.5  # by the labels of these samples
        assert "Random" not in call_here(late, *rewriting, *given).stdout
    told = call_here(
        late, "energy", "report", "late-loihi2", "--input", "in.npz", "--html", "a.html"
    )
    assert "rewrite hard-reset: a spike sets the membrane to 0" in told.stdout
    assert ">Rewrites</h2>" in (late / "a.html").read_text()
    none = call_here(late, "export", "hard.nir", "--input", "in.npz")
    assert "note: samples are not used: there are no rewrites to measure on them" in none.stderr
    idle = call_here(late, "export", "hard.nir", "--rewrite", "soft-reset", "--name", "again")
    assert "note: rewrite soft-reset changed nothing" in idle.stderr


def test_options_that_a_build_has_no_use_for_are_named(late):
    document(late, "export", "hard.nir")
    unused = ("--input-scale", "1/16", "--reset", "subtract", "--time-steps", "2")
    for command in (("simulate", "hard-loihi2", "--input", "in.npz"), ("inspect", "hard-loihi2")):
        told = call_here(late, *command, *unused)
        assert told.returncode == 0
        assert (
            "note: not used, as hard-loihi2 leaves no choice there: --time-steps 2, "
            "--reset subtract, --input-scale 0.0625"
        ) in told.stderr + told.stdout
        assert "not used" not in call_here(late, *command).stderr


def test_a_path_is_no_build_of_its_name(late):
    document(late, "export", "hard.nir")
    for given in ("/somewhere/else/hard", "results/hard-loihi2", "./hard-loihi2"):
        told = call_here(late, "simulate", given, "--input", "in.npz")
        assert f"There is no build '{given}'" in told.stderr
    for given in ("hard", "hard.nir", "./hard.nir", str(late / "hard.nir")):
        found = document(late, "simulate", given, "--input", "in.npz")
        assert found["build"].endswith("hard-loihi2")


def test_a_build_replaces_nothing_else(late):
    (late / "builds/mine").mkdir(parents=True)
    (late / "builds/mine/a.txt").write_text("x")
    told = call_here(late, "export", "hard.nir", "--name", "mine")
    assert "builds/mine is no build, and holds a.txt, which a build would replace" in told.stderr
    document(late, "export", "hard.nir")
    (late / "builds/hard-loihi2/a.txt").write_text("x")
    told = call_here(late, "export", "hard.nir")
    assert "hard-loihi2 holds a.txt beside a build, which a new build would replace" in told.stderr
    assert [p.read_text() for p in sorted(late.glob("builds/*/a.txt"))] == ["x", "x"]
    (late / "builds/hard-loihi2/a.txt").unlink()
    again = ("--name", "hard-loihi2", "--time-steps", "3")
    told = call_here(late, "export", "hard.nir", *again)
    assert told.stderr.count("held another program, which is gone; another --name would have") == 1


def test_a_build_of_a_network_in_memory_says_how_to_go_on(late, monkeypatch):
    monkeypatch.chdir(late)
    snn2hw.build(snn2hw.Network.of(nir_io.read(late / "hard.nir")[0])).save("builds/mine")
    told = call_here(late, "export", "builds/mine", "--target", "loihi1")
    assert "was made of a network in memory, which is gone. Where it was made" in told.stderr
    assert "network.save('x.nir')" in told.stderr
    snn2hw.build(snn2hw.load("hard.nir")).save("builds/mine")
    made = document(late, "export", "builds/mine", "--target", "loihi1")
    assert (made["target"], made["build"]) == ("loihi1", "builds/hard-loihi1")


def test_real_numbers_of_another_scale_are_refused_or_said(late):
    """In a file as in Python."""
    net, _ = nir_io.read(late / "hard.nir")
    (port,) = net.inputs().values()
    fed = replace(port, gain=np.array(16.0))
    nir_io.write(late / "fed.nir", replace(net, nodes={**net.nodes, "input": fed}))
    document(late, "export", "fed.nir")
    with np.load(late / "fed.npz") as stored:
        np.savez(late / "half.npz", x=stored["x"] / 2)
        np.savez(late / "large.npz", x=stored["x"] * 16)
    for of, how in (("fed-loihi2", ()), ("fed.nir", ("--on", "float"))):
        whole = call_here(late, "simulate", of, *how, "--input", "fed.npz")
        assert (whole.returncode, "rounding" in whole.stderr) == (0, False)
        half = call_here(late, "simulate", of, *how, "--input", "half.npz")
        assert "moves them by up to 0.50 of an integer" in half.stderr
        large = call_here(late, "simulate", of, *how, "--input", "large.npz")
        assert "here as the integers from 0 to 256; the chip takes 0 to 16" in large.stderr
        assert large.returncode == (1 if not how else 0)
