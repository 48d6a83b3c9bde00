"""The README's commands are run, in its order, in an empty folder; its outputs are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from system_calls import call

README = Path(__file__).parents[2] / "README.md"
# Training for as long as a reader would takes minutes; the test shortens it, and nothing else.
SHORT = {"distill": ["--epochs", "1", "--teacher-epochs", "1"], "prune": ["--epochs", "1"]}


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("snn2hw ")]


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_every_command_of_the_readme(tmp_path):
    listed = commands()
    named = [c[0] for c in listed]
    for needed in ("demo", "distill", "export", "energy", "verify", "simulate"):
        assert needed in named
    for command in listed:
        if command[0] == "demo":  # tests/system/test_demo.py runs it, unshortened
            continue
        done = call(tmp_path, *command, *SHORT.get(command[0], []))
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command


def test_python_of_the_readme(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    for block in python_blocks():
        exec(compile(block, "README.md", "exec"), {})
