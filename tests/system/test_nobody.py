"""A user whom nobody knows, without a home folder, in an installation that is not writable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import snn2hw

PACKAGE = Path(snn2hw.__file__).parent
UNKNOWN = """
import pwd
def unknown(*_): raise KeyError("uid not found")
pwd.getpwuid = unknown
"""
# Runs command lines in one process; prints exit code, output and messages of each.
SEVERAL = """
import contextlib, io, json, sys
from snn2hw.cli import main
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(line)
        except SystemExit as stop:
            code = int(stop.code or 0)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
ASKED = ("HOME", "SNN2HW_CACHE")


@pytest.fixture(scope="module")
def nobody(tmp_path_factory):
    """Return what runs command lines as that user; files in their place keep root out as well."""
    folder = tmp_path_factory.mktemp("nobody")
    shutil.copytree(PACKAGE, folder / "snn2hw", ignore=shutil.ignore_patterns("__pycache__"))
    for part in [folder / "snn2hw", *(p for p in (folder / "snn2hw").rglob("*") if p.is_dir())]:
        (part / "__pycache__").write_text("a file, not a folder")
    for data in ("targets", "models"):
        (folder / data).symlink_to(PACKAGE.parent / data)
    (folder / "sitecustomize.py").write_text(UNKNOWN)
    (folder / "here").mkdir()
    gone = ("HOME", "XDG_CACHE_HOME", "SNN2HW_CACHE", "SNN2HW_DATA", "NUMBA_CACHE_DIR", "USER",
            "LOGNAME", "PYENV_ROOT")  # fmt: skip
    clean = {k: v for k, v in os.environ.items() if k not in gone}
    clean |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    # Nothing can be kept, so each process compiles its kernels: sooner without optimization.
    clean |= {"NUMBA_OPT": "0"}

    def run(*lines, **variables):
        done = subprocess.run(
            [sys.executable, "-c", SEVERAL], input=json.dumps(lines), cwd=folder / "here",
            env=clean | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert not (folder / "here/~").exists()
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_what_needs_no_home_works(nobody):
    lines = [
        ["--help"], ["targets"], ["models"], ["datasets"], ["encoders"], ["methods"], ["doctor"],
        ["runtime", "list"], ["inspect", "digits-cnn"], ["export", "digits-cnn"],
        ["simulate", "--samples", "2"], ["energy", "report", "--samples", "2"],
        ["energy", "compare", "digits-cnn", "--samples", "2"],
        ["simulate", "digits-cnn", "--on", "float", "--samples", "2"],
        ["distill", "--teacher", "cnn", "--epochs", "1", "--teacher-epochs", "1", "--set",
         "width=0.25"],
    ]  # fmt: skip
    found = nobody(*lines)
    assert [code for code, _, _ in found] == [0] * len(lines), found
    doctor, listed = found[6][1], found[7][1]
    for name in ASKED:
        assert name in doctor
        assert name in listed


def test_what_needs_one_says_what_to_set(nobody):
    lines = [
        ["verify", "--samples", "2"], ["runtime", "install", "lava"], ["runtime", "remove", "lava"],
        ["simulate", "digits-cnn", "--on", "float", "--data", "mnist"], ["demo"],
        ["simulate", "digits-cnn", "--on", "float", "--data", "npz:~/x.npz"],
        ["simulate", "digits-cnn", "--on", "float", "--data", "image-folder:~/x"],
        ["distill", "--teacher", "~/x.onnx"],
        ["distill", "--teacher", "cnn", "--teacher-weights", "~/x.npz"],
    ]  # fmt: skip
    for line, (code, out, err) in zip(
        lines, nobody(["export", "digits-cnn"], *lines)[1:], strict=True
    ):
        last = err.strip().splitlines()[-1]
        assert (code, out) == (1, ""), line
        assert last.startswith("error: "), line
        assert "Set " in last
        assert "HOME" in last


def test_a_cache_that_is_named_is_enough(nobody, tmp_path):
    variables = {"SNN2HW_CACHE": str(tmp_path)}
    (code, out, err), doctor = nobody(["runtime", "list"], ["doctor"], **variables)
    assert (code, err) == (0, "")
    assert "HOME" not in out
    assert "HOME" not in doctor[1]


def test_modules_that_only_some_systems_have(tmp_path):
    """Every module can be imported, and plain commands run, without what Windows lacks."""
    script = """
import importlib, os, pkgutil, sys, warnings
warnings.simplefilter("ignore")
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("killpg", "getuid", "mkfifo"):
    delattr(os, name)
import snn2hw
alone = {"snn2hw.train.gpu", "snn2hw.__main__"}
names = {m.name for m in pkgutil.walk_packages(snn2hw.__path__, "snn2hw.")} - alone
names -= {name for name in names if name.endswith("_runner")}
for name in names:
    importlib.import_module(name)
from snn2hw.cli import main
for line in (["targets"], ["export", "digits-cnn"], ["inspect", "builds/digits-cnn-loihi2"]):
    try:
        main(line)
    except SystemExit as stop:
        assert not stop.code, line
print(len(names))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 100
