"""What a command imports before it answers: the large packages by name, never by time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from snn2hw.cli.commands import COMMANDS, load
from snn2hw.train import catalogue, foreign, neurons

LARGE = ("numpy", "scipy.sparse", "h5py", "nir", "rich", "numba", "onnx", "sklearn", "torch")
# Of a process of its own: its exit code, and which of these packages are there at the end.
CODE = f"""
import os, sys
from snn2hw.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
sys.stdout = open(os.devnull, "w")
print(code, *(p for p in {LARGE} if p in sys.modules), sep=",", file=sys.__stdout__)
"""
COMPILER = {"numba", "scipy.sparse", "onnx", "sklearn", "torch", "rich"}


def imported(folder, *arguments):
    """Return the exit code of a command, and the large packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], cwd=folder, capture_output=True, text=True
    )
    code, *packages = done.stdout.splitlines()[-1].split(",")
    return int(code), set(packages)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["exprot"], ["--jsn"]])
def test_help_and_unknown_commands_import_none(tmp_path, arguments):
    code, packages = imported(tmp_path, *arguments)
    assert code == (0 if arguments[:1] in (["--help"], ["--version"]) else 2)
    assert packages == set()


@pytest.mark.parametrize(
    "command", ["targets", "models", "datasets", "encoders", "methods", "doctor"]
)
def test_lists_need_no_compiler_and_no_pytorch(tmp_path, command):
    code, packages = imported(tmp_path, command)
    assert code == 0
    assert "numpy" in packages  # the lists are there
    assert packages & COMPILER == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_needs_no_compiler_and_no_pytorch(tmp_path, name):
    code, packages = imported(tmp_path, name, "--help")
    assert code == 0
    assert packages & COMPILER == set()


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["distill", "--methodd", "kd"], 2),
        (["distill", "--method", "ketoo"], 1),
        (["distill", "--method", "kd+none"], 1),
        (["distill", "--student", "resnt20"], 1),
        (["distill", "--teacher", "resent34"], 1),
        (["distill", "--data", "digts"], 1),
        (["distill", "--encoder", "drect"], 1),
        (["distill", "--target", "nochip"], 1),
        (["distill", "--set", "alhpa=1"], 1),
        (["distill", "--set", "surrogate=bix"], 1),
        (["prune", "--how", "lmap"], 1),
        (["prune", "nosuchrun"], 1),
        (["models", "resnt20"], 1),
        (["export", "digits-cmn"], 1),
        (["export", "--target", "nochip"], 1),
    ],
    ids=str,
)
def test_a_typo_is_answered_without_compiler_and_pytorch(tmp_path, arguments, exit_code):
    code, packages = imported(tmp_path, *arguments)
    assert code == exit_code
    assert packages & COMPILER == set()
    assert list(tmp_path.iterdir()) == []


def test_inspecting_a_network_needs_no_pytorch_and_no_simulator(tmp_path):
    code, packages = imported(tmp_path, "inspect", "digits-cnn")
    assert code == 0
    assert packages & {"numba", "torch", "onnx", "rich"} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_help_says(name):
    assert load(name).help.splitlines()[0] == COMMANDS[name].summary
    assert len(COMMANDS[name].summary) <= 64  # what a terminal of 80 columns shows


def test_the_catalogue_names_what_there_is():
    assert tuple(neurons.SURROGATES) == catalogue.SURROGATES
    assert tuple(foreign.OPENERS) == catalogue.TEACHER_FILES
