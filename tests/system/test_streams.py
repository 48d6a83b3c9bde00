"""Standard output and error may be closed, full, or a pipe that nobody reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from system_calls import call, call_here

COMMAND = f'"{sys.executable}" -m snn2hw'


def shell(folder, line):
    """Run a line of shell in which ``{}`` is the command; return exit code, output and messages."""
    done = subprocess.run(
        ["bash", "-c", line.format(COMMAND)], cwd=folder, capture_output=True, text=True
    )
    for sign in ("Traceback", "ignored", "Errno"):
        assert sign not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", ["--help", "targets --json"])
def test_a_result_that_cannot_be_written_is_an_error(tmp_path, command):
    code, _, told = shell(tmp_path, f"{{}} {command} >/dev/full")
    assert code == 1
    assert told.startswith("error: Standard output could not be written: no space left")
    assert len(told.splitlines()) == 1


def test_messages_that_cannot_be_written_do_not_stop_the_work(tmp_path):
    code, told, _ = shell(tmp_path, "{} export digits-cnn --json 2>/dev/full")
    assert (code, json.loads(told)["target"]) == (0, "loihi2")  # there were no messages
    line = "{} simulate --samples 2 --save a.npz --json 2>/dev/full"
    code, told, _ = shell(tmp_path, line)
    assert (code, json.loads(told)["saved"]) == (1, "a.npz")
    assert (tmp_path / "a.npz").exists()
    assert shell(tmp_path, "{} nonsense 2>/dev/full")[0] == 2
    code, told, _ = shell(tmp_path, "{} targets none --json 2>/dev/full")
    assert (code, json.loads(told)["error"]["kind"]) == (1, "input")
    code, _, told = shell(tmp_path, "{} targets none --json >/dev/full")
    assert code == 1
    assert told.startswith("error: There is no target")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{} targets >&-", 0),
        ("{} targets none 2>&-", 1),
        ("{} targets none --json >&- 2>&-", 1),
        ("{} nonsense 2>&-", 2),
    ],
)
def test_closed_streams(tmp_path, line, code):
    assert shell(tmp_path, line)[0] == code


def test_a_file_does_not_become_a_closed_stream(tmp_path):
    """Else messages would go into the file that is opened next."""
    assert shell(tmp_path, "{} export digits-cnn <&- >&- 2>&-")[0] == 0
    assert call_here(tmp_path, "simulate", "--samples", "1").returncode == 0


@pytest.mark.parametrize(
    "line", ["{} --help | true", "{} targets loihi2 | head -1", "{} targets none 2>&1 | head -0"]
)
def test_a_pipe_that_nobody_reads_to_its_end(tmp_path, line):
    assert shell(tmp_path, line)[2] == ""


def test_characters_that_the_terminal_does_not_have(tmp_path):
    plain = os.environ | {"PYTHONIOENCODING": "ascii"}
    shown = call(tmp_path, "targets", "loihi2", env=plain)
    assert shown.returncode == 0
    assert shown.stdout.isascii()
    assert call(tmp_path, "targets", "µ", env=plain).stderr.startswith("error: ")
