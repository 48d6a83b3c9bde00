"""What a build remembers, and how runs and builds are found and kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from system_calls import call_here, document

from snn2hw import nir_io
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
