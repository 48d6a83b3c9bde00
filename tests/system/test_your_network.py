"""What docs/your-network.md shows is run, in its order, and prints what it shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import warnings
from pathlib import Path

import pytest
from readme import difference, shape
from recorded import some_events, write
from shared import DATA, installed, needs_data
from system_calls import call_here

import snn2hw

PAGE = Path(__file__).parents[2] / "docs" / "your-network.md"
DOORS = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
BLOCKS = {door: re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL) for door, text in DOORS}


def follow(folder, names, door, **shorter):
    """Run a door's blocks, and compare what they print up to the digits."""
    printed = ""
    for language, block in BLOCKS[door]:
        if language == "python":
            assert printed == "", "it is shown"
            printed = pasted(folder, names, shortened(block, shorter))
        elif language == "text":
            assert difference(block, printed) == ""
            printed = ""
        else:
            assert language == "console"
            for command, wanted in re.findall(r"\$ snn2hw (.*)\n((?:[^$].*\n)+)", block):
                told(folder, shortened(command, shorter), shortened(wanted, shorter))
    assert printed == "", "it is shown"


def shortened(block, shorter):
    """Train for less time than a reader would."""
    for name, value in shorter.items():
        block = re.sub(rf"\b{name}([= ])\d+", rf"{name}\g<1>{value}", block)
    return block


def pasted(folder, names, block):
    """Execute a block as if it were pasted; return what it prints, warnings included."""
    out = io.StringIO()

    def say(message, category, *_):
        out.write(f"{category.__name__}: {message}\n")

    with contextlib.chdir(folder), contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = say
        exec(compile(block, PAGE.name, "exec"), names)
    return out.getvalue()


def told(folder, command, wanted):
    """Run a command, which prints the lines that are shown of it among others."""
    done = call_here(folder, *shlex.split(command))
    assert done.returncode == (1 if wanted.startswith("error") else 0), done.stderr
    printed = shape(done.stderr + done.stdout)
    assert [line for line in shape(wanted) if line not in printed] == [], (command, printed)


@pytest.mark.long
@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_snntorch_and_the_files_that_come_of_it(tmp_path):
    names: dict = {}
    follow(tmp_path, names, "snnTorch")
    assert names["found"]["same_outputs"] > 0.999
    assert names["proof"]["mismatches"] == 0 < names["proof"]["compared"]
    x, y = names["shown"], names["y_test"]
    on_chip = names["build"].simulate(x).accuracy(y)
    assert min(on_chip, names["student"].accuracy, names["found"]["accuracy"][1]) > 0.93
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "runs" / "mine" / "student.nir").exists()
    follow(tmp_path, names, "A NIR file")
    net = snn2hw.load(
        tmp_path / "theirs.nir", written_by="snntorch", reset="subtract-late", input_scale=1 / 16,
        time_steps=10,
    )  # fmt: skip
    found = snn2hw.measure(names["net"], net, x, y)
    assert found["same_outputs"] > 0.999
    follow(tmp_path, names, "A lava-dl file")
    follow(tmp_path, names, "Weights alone")


def test_norse(tmp_path):
    names: dict = {}
    follow(tmp_path, names, "Norse")
    assert names["found"]["same_outputs"] > 0.999
    assert names["found"]["accuracy"][1] > 0.9
    assert names["build"].simulate(names["shown"]).accuracy(names["digits"].y_test) > 0.9


@installed("onnxruntime")
def test_an_ordinary_classifier(tmp_path):
    """The student learns for two epochs here, for ten there."""
    names: dict = {}
    follow(tmp_path, names, "An ordinary classifier", epochs=2)
    assert names["student"].metrics["teacher_accuracy"] > 0.9
    assert names["student"].accuracy > 0.5  # chance is 0.1


@needs_data
def test_recordings(tmp_path):
    shutil.copy(DATA / "events" / "recordings" / "n-mnist_one_sample.bin", tmp_path / "digit.bin")
    for i, name in enumerate(("left", "right") * 10):
        place = tmp_path / "clips" / name
        place.mkdir(parents=True, exist_ok=True)
        write(place / f"{i}.bin", some_events(seed=i))
    follow(tmp_path, {}, "Recordings of events")


def test_every_door_is_tried():
    tried = re.findall(r'follow\(tmp_path, [^,]+, "(.*?)"', Path(__file__).read_text())
    assert sorted(tried) == sorted(BLOCKS)
    listed = re.findall(r"\]\(#(.*?)\)", PAGE.read_text().split("\n## ")[0])
    anchors = {door.lower().replace(" ", "-") for door in BLOCKS}
    assert set(listed) == anchors
