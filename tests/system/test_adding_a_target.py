"""The page on adding a chip, followed to the letter: its files are written, its commands run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from readme import difference

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-target.md").read_text(encoding="utf-8")
KNOWN, NEW = (part.split("\n", 1)[1] for part in PAGE.split("\n## ")[1:3])


def files(section):
    """Return the blocks that have a file's name above them."""
    return dict(re.findall(r"^\*\*`(\S+)`\*\*[^\n]*\n\n```\w+\n(.*?)```", section, re.M | re.S))


def shown(section):
    """Return the commands, and what is shown of their output."""
    blocks = "".join(re.findall(r"```console\n(.*?)```", section, re.S))
    parts = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", blocks, re.M)
    return {command: output for command, output in parts}


def follow(section, folder, package, *, leave=()):
    """Run the commands, and compare what they print; return what is shown of the others."""
    left = {}
    for command, output in shown(section).items():
        if command.split()[1] in leave:
            left[command] = output
            continue
        name, *arguments = shlex.split(command)
        program = ["-m", "snn2hw"] if name == "snn2hw" else []
        done = subprocess.run(
            [sys.executable, *program, *arguments], cwd=folder, capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": str(package)},
        )  # fmt: skip
        fails = output.startswith("error: ")
        assert done.returncode == int(fails), (command, done.stderr)
        printed = done.stderr[done.stderr.index("error: ") :] if fails else done.stdout
        assert difference(output, printed or "\n") == "", command
    return left


@pytest.fixture
def mine(tmp_path):
    """Copy the target file, and change the tables that the page changes."""
    ((name, changed),) = files(KNOWN).items()
    text = (ROOT / "targets" / "loihi2.toml").read_text(encoding="utf-8")
    tables = re.split(r"^(?=\[)", changed, flags=re.M)[1:]
    assert len(tables) == 2
    for table in tables:
        head = re.escape(table.split("\n", 1)[0])
        text, count = re.subn(rf"^{head}\n(?:\w.*\n)*", table.strip() + "\n", text, flags=re.M)
        assert count == 1
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_chip_of_a_known_family(mine):
    left = follow(KNOWN, mine, ROOT, leave=("verify",))
    assert list(left) == ["snn2hw verify --samples 3"]


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_a_chip_of_a_known_family_is_verified(mine):
    follow(KNOWN, mine, ROOT, leave=("targets", "energy"))


@pytest.fixture
def grown(tmp_path):
    """Copy the package and the targets, and add to them what the page adds."""
    copy = tmp_path / "copy"
    # Compiled kernels go along (*.nbi, *.nbc); temporary files of other processes may vanish.
    leave = shutil.ignore_patterns("*.pyc*", "*.tmp*")
    for name in ("snn2hw", "targets"):
        shutil.copytree(ROOT / name, copy / name, ignore=leave)
    written = files(NEW)
    assert list(written) == [
        "snn2hw/families/tally.py", "snn2hw/families/__init__.py", "targets/tally.toml", "small.py",
    ]  # fmt: skip
    rows = written.pop("snn2hw/families/__init__.py")
    path = copy / "snn2hw" / "families" / "__init__.py"
    text, before = path.read_text(encoding="utf-8"), ""
    for line in rows.splitlines():
        if line.startswith("+"):
            assert text.count(before) == 1
            text = text.replace(before, f"{before}{line[1:]}\n")
        before = line[1:] + "\n"
    path.write_text(text, encoding="utf-8")
    for name, block in written.items():
        (copy / name).write_text(block, encoding="utf-8")
    shutil.move(copy / "small.py", tmp_path)
    return tmp_path


CHECK = """
import numpy as np
from pathlib import Path
from snn2hw import families
from snn2hw.pipeline import builds, counting

program = builds.load_build("small-tally", Path()).program
family, x = families.of(program.target), {"input": np.load("x.npz")["x"]}
trace, counts = counting.run(program, x, states=True)
np.savez("defined.npz", spikes=family.define(program, x).spikes,
         synop=counts.per_sample("synop", program), v=trace.layers["if"]["v"],
         **{c.post: c.synapses.weight for c in program.network.connections})
"""


def by_hand(x, weights, threshold):
    """Run one sample neuron by neuron; return the last layer's spikes, all states, and synops."""
    states, out, reads = [[0] * len(w) for w in weights], [], 0
    first = []
    for events in x.tolist():
        for weight, v in zip(weights, states, strict=True):
            reads += sum(events) * len(weight)
            sent = []
            for i, row in enumerate(weight.tolist()):
                v[i] += sum(w * e for w, e in zip(row, events, strict=True))
                sent.append(int(v[i] > threshold))
                v[i] = 0 if sent[i] else v[i]
            events = sent
        first.append(list(states[0]))
        out.append(events)
    return out, first, reads


def test_a_chip_of_a_new_family(grown):
    package = grown / "copy"
    follow(NEW, grown, package)
    subprocess.run(
        [sys.executable, "-c", CHECK], cwd=grown, check=True,
        env={**os.environ, "PYTHONPATH": str(package)},
    )  # fmt: skip
    spikes, floats = (np.load(grown / f"{k}.npz")["spikes"] for k in ("tally", "float"))
    assert spikes.any()
    assert np.array_equal(spikes, floats)
    found, x = np.load(grown / "defined.npz"), np.load(grown / "x.npz")["x"]
    assert np.array_equal(spikes, found["spikes"])
    hand = [by_hand(sample, [found["if"], found["if_1"]], 7) for sample in x]
    assert np.array_equal(spikes, [out for out, _, _ in hand])
    assert np.array_equal(found["v"], [states for _, states, _ in hand])
    assert found["synop"].sum() == pytest.approx(np.mean([reads for _, _, reads in hand]))
