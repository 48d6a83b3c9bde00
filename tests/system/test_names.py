"""Names from elsewhere are shown, never obeyed: in messages, tables, pages and JSON."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from nets import DT, lif
from system_calls import call, call_here

from snn2hw import nir_io
from snn2hw import target as targets
from snn2hw.errors import LONGEST
from snn2hw.files import HIDDEN
from snn2hw.ir.network import Network
from snn2hw.ir.nodes import Affine, Input, Output

FORGED = "\nerror: forged"
NASTY = f"a\x1b[31m\x07\r{FORGED}\u202egnp"
LONG = "n" * 50_000
UNDECODABLE = os.fsdecode(b"\xff\xfe")


def written(path, *names):
    """Write a small chain whose neurons have these names."""
    nodes = {"in": Input((3,))}
    for i, name in enumerate(names):
        nodes |= {f"fc{i}": Affine(np.eye(3), np.zeros(3)), name: lif((3,))}
    nodes["out"] = Output((3,))
    nir_io.write(path, Network(nodes, tuple(itertools.pairwise(nodes)), DT, 4))


def shown(done, code=0):
    """Check that a person sees text, and no line that a name has begun."""
    assert done.returncode == code, done.stderr
    for text in (done.stdout, done.stderr):
        lines = text.split("\n")
        assert all(line.isprintable() for line in lines), text
        assert not any(line.lstrip().startswith("error: forged") for line in lines)
        assert max(map(len, lines)) <= LONGEST
    assert done.stderr.count("\nerror: ") + done.stderr.startswith("error: ") == bool(code)
    return done


@pytest.mark.parametrize("name", ["plain", NASTY, UNDECODABLE, " blank "])
def test_every_command_on_a_nasty_file(tmp_path, name):
    written(tmp_path / f"{name}.nir", NASTY, "b")
    np.savez(tmp_path / f"{name}.npz", x=np.ones((2, 4, 3), int), y=np.zeros(2, int))
    given = ["--input", f"{name}.npz"]
    for command in (
        ["inspect", f"{name}.nir"],
        ["export", f"{name}.nir"],
        ["simulate", *given, "--trace", "--save", f"{name}.saved"],
        ["simulate", f"{name}.nir", "--on", "float", *given],
        ["energy", "report", *given, "--html", f"{name}.html"],
        ["energy", "compare", f"{name}.nir", *given],
        ["inspect", f"builds/{name}-loihi2"],
    ):
        shown(call_here(tmp_path, *command))
        assert json.loads(call_here(tmp_path, *command, "--json").stdout)
    page = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
    # Between a number and its unit no line breaks.
    assert all(line.isprintable() for line in page.replace("\u00a0", " ").split("\n"))
    assert not any(line.startswith("error:") for line in page.split("\n"))
    assert r"a\x1b[31m\x07\r\nerror: forged\u202egnp" in page


@pytest.mark.parametrize(
    "arguments",
    [
        [NASTY],
        ["inspect", "a", NASTY],
        ["inspect", f"--{NASTY}"],
        ["simulate", "--samples", NASTY],
    ],
)
def test_wrong_usage(tmp_path, arguments):
    done = call_here(tmp_path, *arguments)
    assert done.returncode == 2
    assert all(line.isprintable() for line in done.stderr.split("\n"))
    assert not any(line.startswith("error:") for line in done.stderr.split("\n"))


@pytest.mark.parametrize("name", [NASTY, LONG[:200], UNDECODABLE])
def test_errors_about_nasty_names(tmp_path, name):
    (tmp_path / "damaged.nir").write_bytes(b"\x89HDF\r\n\x1a\n" + name.encode(errors="replace"))
    (tmp_path / "x.onnx").write_bytes(name.encode(errors="replace"))
    for command in (
        ["inspect", f"{name}.nir"],
        ["inspect", "damaged.nir"],
        ["inspect", "x.onnx"],
        ["export", name],
        ["export", "--target", name, "digits-cnn"],
        ["simulate", name],
        ["targets", name],
        ["targets", f"{name}.toml"],
        ["methods", name],
        ["simulate", "digits-cnn", "--on", "float", "--data", f"npz:{name}"],
        ["simulate", "digits-cnn", "--on", "float", "--input", name],
        ["simulate", "digits-cnn", "--on", "float", "--save", f"{name}/x"],
        ["distill", "--teacher", name],
        ["distill", "--name", f"{name}/x"],
    ):
        shown(call_here(tmp_path, *command), code=1)
        told = json.loads(call_here(tmp_path, *command, "--json").stdout)["error"]
        assert len(told["message"]) + len(told["hint"]) < LONGEST


def test_a_message_says_how_much_of_it_is_missing(tmp_path):
    written(tmp_path / "long.nir", LONG)
    shown(call_here(tmp_path, "inspect", "long.nir"))
    narrow = shown(call_here(tmp_path, "export", "long.nir", "--time-steps", "4"))
    assert "more characters)" in narrow.stdout
    done = shown(call_here(tmp_path, "export", LONG), code=1)
    assert "more characters)" in done.stderr


def test_a_target_of_somebody_else(tmp_path):
    text = (targets.directory() / "loihi2.toml").read_text(encoding="utf-8")
    for title in (NASTY, LONG[:1900]):
        changed = text.replace('title = "Intel Loihi 2"', f"title = {json.dumps(title)}")
        assert changed != text
        (tmp_path / "own.toml").write_text(changed, encoding="utf-8")
        shown(call_here(tmp_path, "targets", "./own.toml"))
        shown(call_here(tmp_path, "export", "digits-cnn", "--target", "./own.toml"))


def test_a_bug_is_told_in_full_but_not_obeyed(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise LookupError(NASTY)

    monkeypatch.setattr("snn2hw.cli.info.target_files.names", fails)
    done = shown(call_here(tmp_path, "targets", "-v"), code=1)
    assert "This is a bug of snn2hw: LookupError" in done.stderr
    assert "Traceback" in done.stderr


def test_the_process_itself_takes_undecodable_names(tmp_path):
    written(tmp_path / f"{UNDECODABLE}.nir", "lif")
    done = call(tmp_path, "export", f"{UNDECODABLE}.nir")
    assert r"\udcff\udcfe-loihi2: loihi2, 4 steps" in shown(done).stdout


def test_no_folder_is_made_for_results(tmp_path):
    """And that is told before the work, which may take hours, is begun."""
    assert call_here(tmp_path, "export", "digits-cnn").returncode == 0
    before = sorted(tmp_path.rglob("*"))
    for command in (
        ["simulate", "--save", "nowhere/a.npz"],
        ["simulate", "digits-cnn", "--on", "float", "--save", "nowhere/a.npz"],
        ["energy", "report", "--html", "nowhere/a.html"],
    ):
        done = shown(call_here(tmp_path, *command), code=1)
        assert "cannot be written: there is no folder nowhere." in done.stderr
        assert "simulate:" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_temporary_folders_on_another_file_system(tmp_path, monkeypatch):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    done = call(tmp_path, "export", "digits-cnn", env=os.environ | {"TMPDIR": str(other)})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "builds/digits-cnn-loihi2/model.net").exists()
    done = call(tmp_path, "export", "digits-cnn", env=os.environ | {"TMPDIR": "/nowhere"})
    assert done.returncode == 0, done.stderr
    assert not [p for p in tmp_path.rglob(f"{HIDDEN}*")]
