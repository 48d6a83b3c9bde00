"""The README's commands are run, in its order, in an empty folder, and print what it shows."""

from __future__ import annotations

import pytest
from readme import blocks, commands, difference, shown
from system_calls import call_here

from snn2hw import datasets

# Training for as long as a reader would takes minutes; the test shortens it, and nothing else.
SHORT = {"distill": ["--epochs", "1", "--teacher-epochs", "1"], "prune": ["--epochs", "1"]}


@pytest.fixture
def few_digits(monkeypatch):
    """Let the digits be fewer; what is printed of them differs in numbers only."""
    few = datasets.load("digits").subset(320, 120)
    row = datasets.DATASETS["digits"]._replace(loader=lambda _: few)
    monkeypatch.setitem(datasets.DATASETS, "digits", row)


@pytest.mark.long
@pytest.mark.lava
@pytest.mark.usefixtures("lava_python", "few_digits")
def test_every_command_of_the_readme(tmp_path):
    listed = commands()
    named = [c[0] for c in listed]
    for needed in ("demo", "distill", "export", "energy", "verify", "simulate"):
        assert needed in named
    left = shown()
    del left["demo"]  # tests/system/test_demo.py runs it, unshortened
    for command in listed:
        if command[0] == "demo":
            continue
        done = call_here(tmp_path, *command, *SHORT.get(command[0], []))
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command
        for name in [n for n in left if " ".join(command).startswith(n)]:  # the first of its kind
            assert difference(left.pop(name), done.stdout) == ""
    assert left == {}


BLOCK = """layer          cores  share
-------------  -----  -----
layer1.0.lif1      1    8 %
...
lif2              20    0 %
latency us     948.3  1,434
"""


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("948.3", "1,017.25", True),
        ("948.3", "7.05e-04", True),
        ("   8 %", " 12.25 %", True),
        ("...\n", "", True),
        ("...\n", "a  #\nb\n", True),
        ("1,434", "-", False),
        ("layer1.0.lif1", "layer1.0.lif2", False),
        ("share", "part", False),
        ("8 %", "8", False),
        (" us", " ms", False),
        ("  -----\n", "\n", False),
        ("lif2              20    0 %\n", "", False),
        ("latency us", "  latency us", False),
        ("1,434\n", "1,434\n\n1\n", False),
    ],
)
def test_shapes_differ_by_words_units_and_columns_but_not_by_digits(before, after, same):
    assert before in BLOCK
    assert (difference(BLOCK, BLOCK.replace(before, after)) == "") == same


def test_python_of_the_readme(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
