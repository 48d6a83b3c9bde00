"""The contract: commands, files, documents, exit codes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from nets import DT, images, lif
from nets import classifier as read_by_sums
from onnx_files import classifier, linear_digits, save
from system_calls import call, call_here, document

from snn2hw import datasets, nir_io, train
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Input, Output
from snn2hw.simulate import floating


def test_run_holds_what_the_contract_names(workshop):
    metrics = json.loads((workshop / "runs/cnn-digits/metrics.json").read_text())
    for key in (
        "accuracy", "teacher_accuracy", "spikes_per_sample", "synops_per_sample", "parameters",
        "connections", "time_steps", "method", "data", "seed", "seconds",
    ):  # fmt: skip
        assert key in metrics
    pruned = json.loads((workshop / "runs/cnn-digits-s75/metrics.json").read_text())
    assert pruned["connections"] < 0.26 * metrics["connections"]
    assert pruned["sparsity"] >= 0.75
    assert (workshop / "runs/latest").read_text() == "cnn-digits-s75\n"
    net, notes = nir_io.read(workshop / "runs/cnn-digits-s75/student.nir")
    assert notes == []
    assert net.time_steps == metrics["time_steps"]
    log = (workshop / "runs/cnn-digits/log.jsonl").read_text().splitlines()
    assert len(log) == 2 + 3


def test_finished_run_is_not_trained_again(workshop):
    before = (workshop / "runs/cnn-digits/metrics.json").stat().st_mtime_ns
    again = document(
        workshop, "distill", "--teacher", "cnn", "--epochs", "3", "--teacher-epochs", "2"
    )
    assert again["run"] == "runs/cnn-digits"
    assert (workshop / "runs/cnn-digits/metrics.json").stat().st_mtime_ns == before


def test_a_run_of_an_earlier_version_is_found_again(workshop, tmp_path):
    path = tmp_path / "runs/cnn-digits"
    shutil.copytree(workshop / "runs/cnn-digits", path)
    command = json.loads((path / "command.json").read_text())
    del command["recipe"]["norm"]  # a constant that came later
    (path / "command.json").write_text(json.dumps(command))
    same = ("distill", "--teacher", "cnn", "--epochs", "3", "--teacher-epochs", "2")
    assert document(tmp_path, *same, "--name", "cnn-digits")["run"] == "runs/cnn-digits"
    refused = call_here(tmp_path, *same, "--name", "cnn-digits", "--set", "lr=0.01")
    assert refused.returncode == 1
    assert "holds a run with other settings: lr 0.003, not 0.01." in refused.stderr
    refused = call_here(tmp_path, "prune", "cnn-digits", "--name", "cnn-digits")
    assert "other settings: command 'distill', not 'prune'." in refused.stderr


def test_pruning_for_a_chip_keeps_inputs_within_a_core(workshop, tmp_path):
    text = (Path(__file__).parents[2] / "targets/loihi2.toml").read_text()
    small = tmp_path / "small.toml"  # 64 bytes for the neuron, 68 for each of 20 inputs
    small.write_text(text.replace("value = 196608", f"value = {64 + 20 * 68}"))
    asked = ("--target", str(small), "--sparsity", "0.3", "--epochs", "1", "--name", "narrow")
    shutil.copytree(workshop / "runs/cnn-digits", tmp_path / "runs/cnn-digits")
    document(tmp_path, "prune", "cnn-digits", *asked)
    student = train.load_student(tmp_path / "runs/narrow")
    dense = [m.weight for m in student.modules() if isinstance(m, torch.nn.Linear)]
    assert dense
    assert all((w != 0).sum(1).max() <= 20 < w.shape[1] for w in dense)
    refused = call_here(tmp_path, "prune", "cnn-digits", "--how", "upr", "--target", "loihi2")
    assert "does not count the inputs of a neuron" in refused.stderr


def test_build_is_the_same_bytes_again(workshop, tmp_path):
    shutil.copytree(workshop / "runs", tmp_path / "runs")
    made = document(tmp_path, "export", run=call)
    ours, theirs = tmp_path / made["build"], workshop / made["build"]
    names = sorted(p.name for p in ours.iterdir())
    assert names == ["build.json", "model.net", "placement.json", "program.h5", "target.toml"]
    for name in names:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    assert {"build", "target", "cores", "chips", "layers"} <= set(made)
    info = json.loads((ours / "build.json").read_text())
    assert info["layers"][0]["quantization"]["relative_error"] > 0


def test_simulate_saves_spikes_on_chip_time(workshop, tmp_path):
    saved = tmp_path / "out.npz"
    found = document(workshop, "simulate", "--samples", "30", "--save", str(saved), "--trace")
    assert {
        "samples",
        "accuracy",
        "seconds",
        "spikes_per_sample",
        "synops_per_sample",
        "on",
    } <= set(found)
    with np.load(saved) as arrays:
        spikes, prediction = arrays["spikes"], arrays["prediction"]
        last = arrays["lif4.spikes"]
        assert arrays["lif1.v"].shape == (30, spikes.shape[1], 16, 8, 8)
    build = json.loads((workshop / "builds/cnn-digits-s75-loihi2/build.json").read_text())
    assert spikes.shape == (30, build["time_steps"] + build["depth"], 10)
    assert not spikes[:, : build["depth"]].any()
    assert (spikes == last).all()
    assert (spikes.sum(axis=1).argmax(axis=1) == prediction).all()


def test_input_file_gives_the_same_as_the_data_set(workshop, tmp_path):
    from snn2hw import datasets

    digits = datasets.load("digits")
    steps = document(workshop, "simulate", "--samples", "1")["steps"]
    x = np.repeat(digits.x_test[:20, None], steps, axis=1)
    np.savez(tmp_path / "in.npz", x=x, y=digits.y_test[:20])
    ours = document(workshop, "simulate", "--input", str(tmp_path / "in.npz"))
    theirs = document(workshop, "simulate", "--samples", "20")
    keys = ("samples", "accuracy", "spikes_per_sample", "synops_per_sample")
    assert [ours[k] for k in keys] == [theirs[k] for k in keys]


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_lava_agrees_on_a_trained_build(workshop, tmp_path):
    found = document(workshop, "verify", "--samples", "5")
    assert found["against"].startswith("lava")
    stored = json.loads((workshop / "builds/cnn-digits-s75-loihi2/verify.json").read_text())
    assert stored == found
    assert [p["through"] for p in found["paths"]] == ["program.h5", "netx, model.net"]
    steps = document(workshop, "simulate", "--samples", "1")["steps"]
    assert found["sample_steps"] == steps
    assert found["compared"] == 2 * 3 * 5 * steps * sum((1024, 512, 128, 10))
    assert (found["mismatches"], found["first"]) == (0, None)
    document(workshop, "simulate", "--samples", "5", "--save", str(tmp_path / "a.npz"))
    lava = document(
        workshop,
        "simulate",
        "--on",
        "lava",
        "--samples",
        "5",
        "--save",
        str(tmp_path / "b.npz"),
    )
    assert lava["on"].startswith("lava")
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert (a["spikes"] == b["spikes"]).all()


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_verify_sees_a_wrong_build(workshop, tmp_path):
    """The vendor's simulator gets other integers than ours: the first difference is named."""
    shutil.copytree(workshop / "builds", tmp_path / "builds")
    path = tmp_path / "builds/cnn-digits-s75-loihi2"
    from snn2hw.pipeline import builds, samples

    build = builds.load_build(str(path), tmp_path)
    taken = samples.samples_for(build, limit=2)
    with h5py.File(path / "program.h5", "r+") as file:
        bias = file["populations/0001/bias"]
        bias[7] = bias[7] + 1
    found = builds.verify(build, taken)
    assert found["mismatches"] > 0
    first = found["first"]
    assert (first["layer"], first["neuron"], first["what"]) == ("lif2", 7, "v")
    assert first["step"] == build.program.phase["lif2"]
    assert abs(first["ours"] - first["theirs"]) == 1 << 6


def test_teacher_from_a_file(tmp_path):
    data = datasets.load("digits")
    weights, bias = linear_digits(data)
    save(classifier(weights, data.shape, bias=bias, softmax=True), tmp_path / "t.onnx")
    order = ["distill", "--teacher", "t.onnx", "--student", "cnn", "--epochs", "1"]
    order += ["--time-steps", "2"]
    measured = document(tmp_path, *order, "--teacher-only")
    assert measured["teacher_accuracy"] > 0.85
    assert measured["teacher_input"] == "unit"
    assert measured["samples"] == len(data.x_test)
    assert not (tmp_path / measured["run"] / "metrics.json").exists()
    said = call_here(tmp_path, *order)
    assert said.returncode == 0, said.stderr
    assert "sees pixels" not in said.stderr  # it goes on from there
    metrics = json.loads((tmp_path / measured["run"] / "metrics.json").read_text())
    assert metrics["teacher_accuracy"] == measured["teacher_accuracy"]
    (tmp_path / "t.onnx").unlink()
    pruned = document(tmp_path, "prune", "--epochs", "1")
    assert pruned["teacher_input"] == "unit"
    assert pruned["method"] == "hetero"


def test_inspect_says_what_an_onnx_file_needs(tmp_path):
    save(classifier(np.ones((64, 10)), (1, 8, 8), batch=1, softmax=True), tmp_path / "t.onnx")
    found = document(tmp_path, "inspect", "t.onnx", "--target", "loihi2")
    assert found["inputs"] == ["x float32 [1, 1, 8, 8]"]
    assert found["outputs"] == ["likely float32 [1, 10]"]
    assert found["classes"] == 10
    assert found["parameters"] == 650
    assert [x["kind"] for x in found["layers"]] == ["Reshape", "Gemm", "Softmax", "Identity"]
    assert list(found["targets"]) == ["loihi2"]
    assert "snn2hw distill --teacher t.onnx" in found["targets"]["loihi2"][0]
    text = call_here(tmp_path, "inspect", "t.onnx").stdout
    for part in ("Gemm", "1x10", "its logits are logits", "takes 1 at a time", "--teacher-input"):
        assert part in text


def test_energy_report_and_page(workshop, tmp_path):
    page = tmp_path / "page.html"
    found = document(workshop, "energy", "report", "--html", str(page))
    stored = json.loads((workshop / "builds/cnn-digits-s75-loihi2/energy.json").read_text())
    assert found == stored
    for boundary in ("chip", "with_io"):
        for key in ("static_uj", "dynamic_uj", "total_uj"):
            assert set(found[boundary][key]) == {"typical", "low", "high"}
    assert found["with_io"]["total_uj"]["typical"] > found["chip"]["total_uj"]["typical"]
    assert {"spikes", "synops", "counts", "dynamic_uj"} <= set(found["layers"][0])
    assert (found["data"], found["samples"]) == ("digits", 599)
    assert found["accuracy"] == document(workshop, "simulate")["accuracy"]
    assert all(p["source"] and p["kind"] for p in found["prices"])
    text = page.read_text()
    assert "PilotNet" in text
    proved = (workshop / "builds/cnn-digits-s75-loihi2/verify.json").exists()
    assert ("Not proved: nothing was compared" in text) != proved
    assert "http://" not in text.replace("http://www.w3.org", "")
    rows = document(workshop, "energy", "compare", "--targets", "loihi2", "--samples", "20")
    assert rows["targets"][0]["fits"] is True


def test_targets_are_compared_for_the_newest_whatever_is_asked(tmp_path):
    few = ("--samples", "3")
    assert call_here(tmp_path, "export", "digits-cnn").returncode == 0
    names = "loihi2,loihi3,./none.toml"
    found = document(tmp_path, "energy", "compare", "--targets", names, *few)
    assert found["model"] == "digits-cnn"
    assert [(r["target"], r["fits"]) for r in found["targets"]] == [
        ("loihi2", True), ("loihi3", False), ("./none.toml", False),
    ]  # fmt: skip
    assert "Did you mean 'loihi2'" in found["targets"][1]["reasons"][0]
    told = call_here(tmp_path, "energy", "compare", "--targets", names, *few).stdout
    assert "loihi3: There is no target" in told
    rows = [line.split() for line in told.splitlines()]
    assert ["loihi3", "unknown"] in rows
    assert ["./none.toml", "unknown"] in rows
    # By the name of the build too, and by its integers where its network is not there any more.
    named = document(tmp_path, "energy", "compare", "digits-cnn-loihi2", *few)
    assert named["model"] == "digits-cnn"
    path = tmp_path / "mine.nir"
    net, _ = nir_io.read(Path(__file__).parents[2] / "models/digits-cnn/network.nir")
    nir_io.write(path, net)
    assert call_here(tmp_path, "export", "mine.nir").returncode == 0
    assert document(tmp_path, "energy", "compare", *few, "--data", "digits")["model"] == "mine"
    nir_io.write(path, replace(net, time_steps=3))
    other = document(tmp_path, "energy", "compare", *few, "--data", "digits")
    assert other["model"] == "mine-loihi2"
    (row,) = (r for r in other["targets"] if r["target"] == "loihi2")
    assert row["time_steps"] == net.time_steps
    assert sorted(p.name for p in (tmp_path / "builds").iterdir()) == [
        "digits-cnn-loihi2", "latest", "mine-loihi2",
    ]  # fmt: skip


def test_a_model_is_built_for_the_chip_that_it_was_trained_for(tmp_path):
    assert document(tmp_path, "export", "digits-rows")["target"] == "xylo-imu"
    assert document(tmp_path, "export", "nmnist-grid")["target"] == "xylo-audio3"
    assert document(tmp_path, "export", "digits-cnn")["target"] == "loihi2"
    refused = call_here(tmp_path, "export", "digits-rows", "--target", "loihi2")
    assert "cannot run this network" in refused.stderr


def test_another_program_never_replaces_a_build_silently(tmp_path):
    path = tmp_path / "builds/digits-cnn-loihi2"
    assert "note" not in call_here(tmp_path, "export", "digits-cnn").stderr
    assert call_here(tmp_path, "energy", "report", "--samples", "2").returncode == 0
    bill = (path / "energy.json").read_bytes()
    assert "note" not in call_here(tmp_path, "export", "digits-cnn").stderr
    assert (path / "energy.json").read_bytes() == bill  # of the same program still
    refused = call_here(tmp_path, "export", "digits-cnn", "--time-steps", "3")
    assert refused.returncode == 1
    assert (
        "builds/digits-cnn-loihi2 is a build with other options: --time-steps is 3 now and was 8. "
        "Give --name OTHER to keep both, or --name digits-cnn-loihi2 to replace it."
    ) in refused.stderr
    assert (path / "energy.json").read_bytes() == bill
    named = ("--name", "digits-cnn-loihi2")
    changed = call_here(tmp_path, "export", "digits-cnn", "--time-steps", "3", *named)
    assert "builds/digits-cnn-loihi2 held another program, which is gone" in changed.stderr
    assert not (path / "energy.json").exists()
    third = call_here(tmp_path, "export", "digits-cnn", "--name", "third")
    assert (third.returncode, "note" in third.stderr) == (0, False)
    assert document(tmp_path, "inspect", "third")["time_steps"] != 3
    bad = call_here(tmp_path, "export", "digits-cnn", "--name", "../x")
    assert "cannot be the name of a build" in bad.stderr


def test_inspect_describes_runs_builds_and_files(workshop):
    run = document(workshop, "inspect", "cnn-digits-s75")
    build = document(workshop, "inspect", "builds/cnn-digits-s75-loihi2")
    net = document(
        workshop, "inspect", "builds/cnn-digits-s75-loihi2/model.net", "--input-max", "16"
    )
    nir = document(workshop, "inspect", "runs/cnn-digits-s75/student.nir")
    assert run["targets"]["loihi2"] == build["targets"]["loihi2"] == []
    assert run["neurons"] == build["neurons"] == net["neurons"] == nir["neurons"] == 1674
    assert run["nonzero"] >= build["nonzero"] == net["nonzero"]
    names = [x["name"] for x in nir["layers"]]
    assert names[:3] == ["input", "conv1", "lif1"]
    assert names[-2:] == ["lif4", "output"]


@pytest.mark.parametrize(
    "command",
    [["targets"], ["targets", "loihi2"], ["models"], ["datasets"], ["methods"], ["doctor"],
     ["runtime", "list"], ["datasets", "digits"], ["encoders"], ["encoders", "rate"],
     ["methods", "hetero"]],
)  # fmt: skip
def test_lists_as_text_and_json(tmp_path, command):
    assert json.loads(call_here(tmp_path, *command, "--json", "-q").stdout)
    done = call_here(tmp_path, *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_import_is_lean(tmp_path):
    import subprocess
    import sys

    code = "import sys, snn2hw; print(sorted({'torch','numpy','click','rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_pytorch_what_trains_says_how_to_have_it(tmp_path):
    import subprocess
    import sys

    code = "import sys; sys.modules['torch'] = None; from snn2hw.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "distill"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Training needs torch, which is not installed." in done.stderr
    assert 'pip install "snn2hw[train,data]"' in done.stderr


def test_a_float_network_is_simulated_as_it_is(workshop):
    run = document(workshop, "simulate", "cnn-digits-s75", "--on", "float", "--save", "f.npz")
    metrics = json.loads((workshop / "runs/cnn-digits-s75/metrics.json").read_text())
    assert run["on"] == "float"
    # Training counted in float32, where a membrane at the threshold may spike or not.
    assert run["accuracy"] == pytest.approx(metrics["accuracy"], abs=2 / run["samples"])
    assert run["spikes_per_sample"] == pytest.approx(metrics["spikes_per_sample"], rel=1e-4)
    assert run["synops_per_sample"] == pytest.approx(metrics["synops_per_sample"], rel=1e-4)
    with np.load(workshop / "f.npz") as saved:
        assert saved["spikes"].shape[:2] == (run["samples"], run["steps"])
        assert saved["prediction"].shape == (run["samples"],)


def test_rewrites_are_recorded_and_measured(workshop, tmp_path):
    net, _ = nir_io.read(workshop / "runs/cnn-digits-s75/student.nir")
    soft = {k: replace(n, reset="subtract") for k, n in net.neurons().items()}
    nir_io.write(tmp_path / "soft.nir", replace(net, nodes={**net.nodes, **soft}))
    refused = call_here(tmp_path, "export", "soft.nir", "--json")
    assert refused.returncode == 1
    assert "takes the threshold from the membrane" in json.loads(refused.stdout)["error"]["message"]
    assert "--rewrite" in json.loads(refused.stdout)["error"]["hint"]
    made = document(tmp_path, "export", "soft.nir", "--rewrite", "hard-reset")
    assert list(made["rewrites"]["applied"]) == ["hard-reset"]
    assert 0 <= made["rewrites"]["same_predictions"] <= 1
    kept = json.loads((tmp_path / "builds/soft-loihi2/build.json").read_text())
    assert kept["float"] == {
        "dt": net.dt, "reset": ["zero"], "integration": "euler", "fires": "above",
        "spikes": "one", "v_min": None,
    }  # fmt: skip
    found = document(tmp_path, "inspect", "soft.nir")
    assert found["rewrites"] == {"loihi1": ["hard-reset"], "loihi2": ["hard-reset"]}


def test_several_inputs_come_from_one_file(tmp_path):
    r = np.random.default_rng(0)
    nodes = {"left": Input((3,)), "right": Input((2,)), "lif": lif((4,)), "output": Output((4,))}
    nodes |= {k: Affine(r.normal(0.5, 0.5, (4, n)), np.zeros(4)) for k, n in (("a", 3), ("b", 2))}
    edges = (("left", "a"), ("right", "b"), ("a", "lif"), ("b", "lif"), ("lif", "output"))
    nir_io.write(tmp_path / "two.nir", Network(nodes, edges, DT, 5))
    document(tmp_path, "export", "two.nir")
    left, right = r.integers(0, 2, (6, 5, 3)), r.integers(0, 2, (6, 5, 2))
    np.savez(tmp_path / "two.npz", left=left, right=right)
    for on in ("exact", "float"):
        name = "two-loihi2" if on == "exact" else "two.nir"
        found = document(tmp_path, "simulate", name, "--on", on, "--input", "two.npz")
        assert found["samples"] == 6
        assert found["spikes_per_sample"] > 0
    np.savez(tmp_path / "one.npz", left=left)
    refused = call_here(tmp_path, "simulate", "two-loihi2", "--input", "one.npz", "--json")
    assert "lacks right" in json.loads(refused.stdout)["error"]["message"]


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("tau", [DT, np.inf])
def test_a_file_that_ends_in_an_integrator_goes_all_the_way(tmp_path, tau):
    net = read_by_sums(tau=tau)
    nir_io.write(tmp_path / "li.nir", net)
    x = images(net, samples=30)["input"]
    wanted = floating.run(net, {"input": x}).prediction
    np.savez(tmp_path / "x.npz", x=x, y=wanted)

    def told(*arguments):
        done = call_here(tmp_path, *arguments, "--json", "-q")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = told("export", "li.nir")
    assert [x["neuron"] for x in made["layers"]][-1] == ("Sigma" if np.isinf(tau) else "Graded")
    assert made["vendor_file"]["written"] is False
    given = ("--input", "x.npz")
    assert told("simulate", "li.nir", "--on", "float", *given)["accuracy"] == 1
    ran = told("simulate", *given, "--save", "exact.npz", "--trace")
    assert ran["accuracy"] > 0.85
    lava = told("simulate", "--on", "lava", *given, "--save", "lava.npz")
    assert lava["accuracy"] == ran["accuracy"]
    with np.load(tmp_path / "exact.npz") as ours, np.load(tmp_path / "lava.npz") as theirs:
        assert (ours["spikes"] == theirs["spikes"]).all()
        assert (ours["prediction"] == theirs["prediction"]).all()
        assert (ours["spikes"] < 0).any()
        assert (ours["spikes"].sum(axis=1).argmax(axis=1) == ours["prediction"]).all()
    found = told("verify", *given)
    assert (found["mismatches"], found["first"]) == (0, None)
    assert found["compared"] == 3 * 30 * 4 * sum(x["neurons"] for x in made["layers"])
    layers = {x["name"]: x for x in told("energy", "report", *given)["layers"]}
    assert layers["read"]["counts"]["update"] == 5 * (4 + 2 * np.isinf(tau))
    assert layers["bias"]["spikes"] == 4
    events = layers["lif"]["spikes"] + layers["bias"]["spikes"]
    assert layers["read"]["synops"] == pytest.approx(5 * events, rel=0.02)  # some weights are 0
    listed = call_here(tmp_path, "export", "li.nir").stdout
    assert "its own bias" in listed
    assert made["layers"][-1]["neuron"] in call_here(tmp_path, "inspect", made["build"]).stdout
    assert "loihi2: fits" in call_here(tmp_path, "inspect", "li.nir").stdout
