"""Bad input ends with exit code 1, one clear sentence, no traceback, nothing half-written."""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import h5py
import numpy as np
import pytest
from nets import tiny
from onnx_files import classifier, save
from system_calls import call, call_here

from snn2hw import nir_io


def refused(done, *parts):
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "bug of snn2hw" not in done.stderr, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for part in parts:
        assert part in last, last
    return last


def contents(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["export"], ["no run", "snn2hw distill"]),
        (["simulate"], ["no build", "snn2hw export"]),
        (["verify", "nothing"], ["no build 'nothing'"]),
        (["energy", "report"], ["no build", "snn2hw export"]),
        (["prune"], ["no run", "snn2hw distill"]),
        (["export", "missing.nir"], ["no file missing.nir"]),
        (["export", "missing.net"], ["no file missing.net"]),
        (["inspect", "model.onnx"], ["no file model.onnx"]),
        (["export", "model.onnx"], ["does not spike", "snn2hw distill --teacher model.onnx"]),
        (["distill", "--teacher", "model.onnx"], ["no file model.onnx"]),
        (["export", "--target", "loihi3"], ["no target 'loihi3'", "Did you mean 'loihi2'"]),
        (["distill", "--method", "heteros"], ["no method 'heteros'", "Did you mean 'hetero'"]),
        (["distill", "--data", "digit"], ["no data set 'digit'", "Did you mean 'digits'"]),
        (["distill", "--teacher", "resnet43"], ["no teacher 'resnet43'", "resnet34"]),
        (["distill", "--student", "resnet21"], ["no student 'resnet21'", "resnet20"]),
        (["distill", "--teacher", "cnn", "--teacher-weights", "no.pt"], ["no.pt"]),
        (["demo", "--data", "mnits"], ["no data set 'mnits'", "Did you mean 'mnist'"]),
        (["runtime", "install", "lavva"], ["no runtime 'lavva'", "Did you mean 'lava'"]),
        (["targets", "loihi"], ["Did you mean 'loihi2'"]),
        (["distill", "--name", "../out", "--teacher", "cnn"], ["cannot be the name"]),
    ],
)
def test_names_that_are_not_there(tmp_path, arguments, parts):
    refused(call_here(tmp_path, *arguments), *parts)
    assert contents(tmp_path) == [] or contents(tmp_path) == ["runs"]


def test_error_document(tmp_path):
    done = call(tmp_path, "export", "--target", "loihi3", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"kind", "message", "hint"}


def test_wrong_usage_is_exit_code_2(tmp_path):
    assert call_here(tmp_path, "export", "--nonsense").returncode == 2
    assert call_here(tmp_path, "nonsense").returncode == 2


@pytest.mark.parametrize("name", ["a.nir", "a.net"])
def test_damaged_model_files(tmp_path, name):
    path = tmp_path / name
    for content in (b"", b"\x89HDF\r\n\x1a\n", np.random.default_rng(0).bytes(3000)):
        path.write_bytes(content)
        refused(call_here(tmp_path, "export", name), name)
        refused(call_here(tmp_path, "inspect", name), name)
    assert contents(tmp_path) == [name]


def test_teachers_that_are_none(tmp_path):
    matrix = np.ones((64, 10))
    for content in (b"", b"no", classifier(matrix, (1, 8, 8)).SerializeToString()[:-40]):
        (tmp_path / "a.onnx").write_bytes(content)
        refused(call_here(tmp_path, "inspect", "a.onnx"), "a.onnx is not a valid ONNX model")
    save(classifier(matrix[:, :9], (1, 8, 8)), tmp_path / "a.onnx")
    refused(call_here(tmp_path, "distill", "--teacher", "a.onnx"), "no outputs of 10 classes")
    np.savez(tmp_path / "w.npz", x=np.zeros(3))
    weights = ["distill", "--teacher", "cnn", "--teacher-weights", "w.npz"]
    refused(call_here(tmp_path, *weights), "w.npz does not hold this network's weights")
    assert contents(tmp_path) == ["a.onnx", "w.npz"]


def test_nan_weights(tmp_path):
    nir_io.write(tmp_path / "a.nir", tiny())
    with h5py.File(tmp_path / "a.nir", "r+") as file:
        file["node/nodes/fc2/weight"][0, 0] = np.nan
    refused(call_here(tmp_path, "export", "a.nir"), "fc2: weight holds 1 values that are NaN")
    assert contents(tmp_path) == ["a.nir"]


def test_layer_that_does_not_fit(tmp_path):
    from nets import DT, lif

    from snn2hw.ir.network import Network
    from snn2hw.ir.nodes import Affine, Input, Output

    nodes = {
        "in": Input((4000,)), "fc": Affine(np.ones((2, 4000)) / 100, np.zeros(2)),
        "lif": lif((2,)), "out": Output((2,)),
    }  # fmt: skip
    net = Network(nodes, (("in", "fc"), ("fc", "lif"), ("lif", "out")), DT, 4)
    nir_io.write(tmp_path / "wide.nir", net)
    refused(
        call_here(tmp_path, "export", "wide.nir"), "lif: one neuron needs", "has 196,608", "prune"
    )
    assert contents(tmp_path) == ["wide.nir"]


def test_damaged_runs_and_builds(workshop, tmp_path):
    shutil.copytree(workshop / "runs", tmp_path / "runs")
    shutil.copytree(workshop / "builds", tmp_path / "builds")
    build, run = tmp_path / "builds/cnn-digits-s75-loihi2", tmp_path / "runs/cnn-digits-s75"
    whole = (build / "program.h5").read_bytes()
    (build / "program.h5").write_bytes(whole[:-100])
    refused(call_here(tmp_path, "simulate"), "program.h5", "hash differs", "Export")
    (build / "program.h5").unlink()
    refused(call_here(tmp_path, "verify"), "program.h5 is missing")
    (build / "build.json").write_text("{")
    refused(call_here(tmp_path, "energy", "report"), "build.json is not JSON")
    (run / "student.nir").write_bytes(b"no")
    refused(call_here(tmp_path, "export"), "student.nir")
    (run / "metrics.json").unlink()
    refused(call_here(tmp_path, "export"), "not finished", "resumes")
    (tmp_path / "runs/latest").write_text("../elsewhere")
    refused(call_here(tmp_path, "export"), "latest", "snn2hw distill")


def test_wrong_samples(workshop, tmp_path):
    def simulated(name):
        return call_here(workshop, "simulate", "--input", str(tmp_path / name))

    np.savez(tmp_path / "wide.npz", x=np.zeros((2, 4, 1, 9, 9), int))
    refused(simulated("wide.npz"), "1, 8, 8")
    np.savez(tmp_path / "bright.npz", x=np.full((2, 4, 1, 8, 8), 17))
    refused(simulated("bright.npz"), "takes 0 to 16")
    np.savez(tmp_path / "none.npz", z=np.zeros(3))
    refused(simulated("none.npz"), "lacks x")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nonsense")
    refused(simulated("bad.npz"), "bad.npz")
    objects = np.empty(1, object)
    np.savez(tmp_path / "pickle.npz", x=objects)
    refused(simulated("pickle.npz"), "pickle.npz")


def test_python_310_not_found(workshop, tmp_path, monkeypatch):
    for name in ("PATH", "PYENV_ROOT", "HOME", "SNN2HW_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.delenv("SNN2HW_PYTHON310", raising=False)
    install = ["runtime", "install", "lava"]
    refused(call_here(tmp_path, *install), "Python 3.10", "uv python install")
    done = call_here(workshop, "verify", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["against"] is None
    assert "runtime install lava" in told["reason"]
    refused(call_here(workshop, "simulate", "--on", "lava"), "runtime install lava")
    monkeypatch.setenv("SNN2HW_PYTHON310", sys.executable)
    refused(call_here(tmp_path, *install), "not a working Python 3.10")


def test_full_disk_leaves_nothing_behind(workshop, tmp_path):
    """A limit on file size stands in for the full disk: writes fail in the middle."""
    shutil.copytree(workshop / "runs", tmp_path / "runs")
    before = contents(tmp_path)

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

    told = call(tmp_path, "export", preexec_fn=little_room)
    refused(told, "larger than a file may be here", "ulimit -f")
    assert [p for p in contents(tmp_path) if p not in before] in ([], ["builds"])


def test_ctrl_c_and_the_same_command_again(tmp_path):
    command = ["distill", "--teacher", "cnn", "--epochs", "12", "--teacher-epochs", "1"]
    log = tmp_path / "runs/cnn-digits/log.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "snn2hw", *command, "--verbose"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        # A test run in the background has Ctrl-C ignored, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:  # fmt: skip
        hung = threading.Timer(1800, running.kill)
        hung.daemon = True
        hung.start()
        ends = (line for line in running.stderr if re.search(r"epoch \d", line))
        assert len(list(itertools.islice(ends, 3))) == 3
        running.send_signal(signal.SIGINT)
        errors = running.stderr.read()
    hung.cancel()
    assert running.returncode == 1
    assert "Traceback" not in errors
    assert "same" in errors.strip().splitlines()[-1]
    done = len(log.read_text().splitlines())
    assert 3 <= done < 13
    refused(call_here(tmp_path, "export"), "no run")
    again = call_here(tmp_path, *command)
    assert again.returncode == 0, again.stderr
    lines = [json.loads(x) for x in log.read_text().splitlines()]
    assert len(lines) == 13
    assert [x["epoch"] for x in lines if x["stage"] == "student"] == list(range(12))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--devices=0", "devices is '0', not auto or 1 to"),
        ("--devices=-1", "devices is '-1'"),
        ("--devices=two", "devices is 'two'"),
        ("--devices=1.5", "devices is '1.5'"),
        ("--devices=0,1", "devices is '0,1'"),
        ("--devices=²", "devices is"),
        ("--devices=99999", "devices is '99999'"),
        (f"--devices={'9' * 40}", "devices is"),
        ("--num-nodes=0", "the number of nodes is 0, not 1 to 4096"),
        ("--accelerator=foo", "There is no accelerator 'foo'"),
        ("--precision=8", "There is no precision '8'"),
    ],
)
def test_where_nobody_can_train(tmp_path, option, said):
    refused(call_here(tmp_path, "distill", "--teacher", "cnn", option), said)


def test_what_fabric_refuses_is_named(tmp_path, monkeypatch):
    def refuse(**_):
        raise ValueError("no such thing here")

    monkeypatch.setattr("snn2hw.train.devices.Fabric", refuse)
    refused(
        call_here(tmp_path, "distill", "--teacher", "cnn", "--devices", "3"),
        "Lightning Fabric cannot train there: no such thing here", "Leave out --accelerator",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "--bogus"], "No such option"),
        (["export", "--TIME-STEPS", "3"], "Did you mean '--time-steps'?"),
        (["energy", "bogus"], "No such command"),
        (["bogus"], "No such command"),
        (["distill", "--time-steps", "0"], "Invalid value"),
    ],
)
def test_wrong_usage_is_a_document_too(tmp_path, arguments, said):
    done = call_here(tmp_path, *arguments, "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "usage"
    assert said in error["message"]
    assert error["hint"].startswith("See: snn2hw")
    assert said in done.stderr


def test_a_working_directory_that_is_gone(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    done = call(tmp_path, "targets", "--json", preexec_fn=lambda: leave(folder))
    refused(done, "The working directory is gone")
    assert json.loads(done.stdout)["error"]["kind"] == "start"


def leave(folder):
    os.chdir(folder)
    folder.rmdir()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NUMBA_NUM_THREADS", "0", "ValueError: Number of threads specified must be > 0"),
        ("SOURCE_DATE_EPOCH", "abc", "cannot start: ValueError"),
        ("RANK", "x", None),
        ("RANK", "", None),
    ],
)
def test_odd_variables_of_the_environment(tmp_path, name, value, said):
    assert call_here(tmp_path, "export", "digits-cnn", "--quiet").returncode == 0
    words = ("simulate", "--samples", "1", "--json")
    done = call(tmp_path, *words, env=os.environ | {name: value})
    if said is None:
        assert json.loads(done.stdout)["samples"] == 1
    else:
        refused(done, said)
        told = json.loads(done.stdout)["error"]
        assert said in told["message"]
        assert told["kind"] == "start"


def test_a_file_stands_where_a_folder_is_needed(tmp_path):
    (tmp_path / "builds").touch()
    refused(call_here(tmp_path, "export", "digits-cnn"), "builds: it is a file", "Move it")
    (tmp_path / "runs").touch()
    refused(call_here(tmp_path, "distill", "--epochs", "1", "--name", "x"), "is a file")
    assert contents(tmp_path) == ["builds", "runs"]


def test_a_name_too_long_for_a_folder(tmp_path):
    refused(call_here(tmp_path, "distill", "--name", "a" * 201), "cannot be the name of a run")
    assert contents(tmp_path) == []


def test_what_is_wrong_with_a_network_names_its_file(tmp_path):
    nir_io.write(tmp_path / "endless.nir", replace(tiny(), time_steps=None))
    told = call_here(tmp_path, "export", "endless.nir")
    refused(told, "endless.nir: The network does not say how many time steps", "--time-steps")


def test_home_folders_are_found_without_a_shell(workshop, tmp_path):
    shutil.copytree(workshop / "builds", tmp_path / "builds")
    env = os.environ | {"HOME": str(tmp_path)}
    done = call(tmp_path, "simulate", "--samples", "2", "--save", "~/mine.npz", env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.npz").exists()
    given = call(tmp_path, "inspect", "~/builds/" + next((tmp_path / "builds").glob("*/")).name,
                 env=env)  # fmt: skip
    assert given.returncode == 0, given.stderr


def test_a_build_is_inspected_by_its_name(workshop, tmp_path):
    shutil.copytree(workshop / "builds", tmp_path / "builds")
    name = next((tmp_path / "builds").glob("*/")).name
    shown = json.loads(call_here(tmp_path, "inspect", name, "--json").stdout)
    assert shown["holds"] == "chip integers"


@pytest.mark.parametrize("command", ["runtime install lava", "distill --data mnist"])
def test_a_cache_that_cannot_be_made_says_what_to_set(tmp_path, command):
    (tmp_path / "home").touch()
    env = os.environ | {"HOME": str(tmp_path / "home")}
    for name in ("SNN2HW_CACHE", "SNN2HW_DATA", "XDG_CACHE_HOME"):
        env.pop(name, None)
    refused(call(tmp_path, *command.split(), env=env), "cannot be made", "Set SNN2HW_CACHE")
