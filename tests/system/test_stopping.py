"""Ctrl-C, SIGTERM and a closed terminal end a command in order, whenever they come.

Tests wait for what happens, never for a time: how long imports take depends on the machine.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from system_calls import alive, descendants

from snn2hw.cli.stopping import Stop
from snn2hw.files import HIDDEN

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONG = ("distill", "--teacher", "cnn", "--epochs", "200", "--teacher-epochs", "1", "--json")


def plain():
    """Give signals the meaning that they have in a terminal.

    A test run in the background has Ctrl-C ignored, and so would its children.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def start(folder, *arguments, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "snn2hw", *arguments], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **{"preexec_fn": plain, **how},
    )  # fmt: skip


def until(condition, running, seconds=300):
    """Wait until something is so, while a process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def watches(running):
    """Say whether a process catches SIGTERM: from then on signals are its own affair."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def mapped(number):
    """Return what a process has in its memory; nothing if it is gone."""
    try:
        return Path(f"/proc/{number}/maps").read_text()
    except OSError:
        return ""


def has_trained(folder):
    log = folder / "runs/cnn-digits/log.jsonl"
    return lambda: log.exists() and len(log.read_text().splitlines()) > 1


def ended(running):
    """Return a stopped command's document and messages, after looking for signs of disorder."""
    out, told = running.communicate(timeout=300)
    assert running.returncode == 1, (running.returncode, out, told)
    for sign in ("Traceback", "Exception ignored", "KeyboardInterrupt", "Error"):
        assert sign not in told
    return out, told


def stopped(running):
    """Return the error of the JSON document of a stopped command, and look at its messages."""
    out, told = ended(running)
    error = json.loads(out)["error"]
    assert error["kind"] == "interrupted"
    (line,) = (x for x in told.splitlines() if x.startswith("error: "))
    assert line.startswith(f"error: {error['message']}")
    return error


@pytest.mark.parametrize(
    "numbers", [[signal.SIGINT], [signal.SIGTERM] * 2], ids=["SIGINT", "SIGTERM twice"]
)
def test_a_training_ends_in_order(tmp_path, numbers):
    """``timeout`` sends its signal to the command and to its group: twice."""
    with start(tmp_path, *LONG) as running:
        until(has_trained(tmp_path), running)
        for number in numbers:
            running.send_signal(number)
        assert "same command" in stopped(running)["hint"]
    assert not list(tmp_path.rglob(f"{HIDDEN}*"))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("arguments", [("export", "digits-cnn"), ("doctor",)])
def test_the_first_second(tmp_path, number, arguments):
    """Imports are under way for most of it; some of these signals come after them."""
    for attempt in range(3):
        with start(tmp_path, *arguments, "--json") as running:
            until(lambda: watches(running), running)
            time.sleep(attempt * random.random() * 0.3)
            running.send_signal(number)
            if running.wait(300) == 0:
                continue  # it was faster
            stopped(running)
    assert not list(tmp_path.rglob(f"{HIDDEN}*"))


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    """As ``nohup`` does, and a shell for what runs in the background."""

    def ignore():
        plain()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with start(tmp_path, "export", "digits-cnn", "--json", preexec_fn=ignore) as running:
        until(lambda: watches(running), running)
        running.send_signal(signal.SIGHUP)
        out, _ = running.communicate(timeout=300)
    assert running.returncode == 0
    assert json.loads(out)["target"] == "loihi2"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_children_end_with_the_command(tmp_path, number):
    """The stand-in for Python 3.10 starts a child and waits for it, as pip would."""
    script = tmp_path / "python3.10"
    script.write_text('#!/bin/sh\ncase "$1" in\n-c) echo "(3, 10)" ;;\n*) sleep 600 ;;\nesac\n')
    script.chmod(0o755)
    told = {"SNN2HW_PYTHON310": str(script), "SNN2HW_CACHE": str(tmp_path / "cache")}
    with start(
        tmp_path, "runtime", "install", "lava", "--json", env=os.environ | told
    ) as running:  # fmt: skip
        below = []

        def sleeps():
            below[:] = descendants(running.pid)
            return any(name == "sleep" for _, name in below)

        until(sleeps, running)
        running.send_signal(number)
        stopped(running)
    assert [p for p in below if alive(p[0])] == []
    assert not list(tmp_path.rglob(f"{HIDDEN}*"))


def test_lava_ends_with_the_command(workshop, lava_python):
    with start(workshop, "simulate", "--on", "lava", "--samples", "50", "--json") as running:
        below = []

        def simulates():
            below[:] = descendants(running.pid)
            return len(below) > 2  # Lava has a process for each part of a network

        until(simulates, running)
        running.send_signal(signal.SIGTERM)
        stopped(running)
    assert [p for p in below if alive(p[0])] == []
    assert not list(workshop.rglob(f"{HIDDEN}*"))


# Python takes no signal while this waits, as a library does that waits for another process.
STUCK = """
import ctypes, sys
from snn2hw.cli.stopping import Stop
stop = Stop(as_json=True)
stop.watch()
stop.begun = True
mutex = ctypes.create_string_buffer(256)
print("waiting", file=sys.stderr, flush=True)
for _ in range(2): ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""


@pytest.mark.parametrize(("rank", "code"), [("0", 1), ("1", 0)])
def test_a_signal_that_python_cannot_take_ends_the_process(tmp_path, rank, code):
    """The first of several processes tells and has failed; Fabric would kill it for another's."""
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=tmp_path, text=True, preexec_fn=plain,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"RANK": rank},
    ) as running:  # fmt: skip
        assert running.stderr.readline() == "waiting\n"
        asleep = 0
        while asleep < 20:  # not between two lines of Python any more
            asleep = (asleep + 1) * (
                Path(f"/proc/{running.pid}/stat").read_text().split()[2] == "S"
            )
            time.sleep(0.005)
        running.send_signal(signal.SIGTERM)
        out, told = running.communicate(timeout=300)
    assert running.returncode == code
    assert bool(told) == bool(out) == (rank == "0")
    if out:
        assert json.loads(out)["error"]["kind"] == "interrupted"


@pytest.mark.parametrize("moment", ["begun", "imported"])
def test_several_processes_stop_as_one_while_they_start(tmp_path, moment):
    """In a terminal Ctrl-C goes to all of them."""
    with start(tmp_path, *LONG, "--devices", "2", start_new_session=True) as running:
        others = []

        def there():
            others[:] = [n for n, _ in descendants(running.pid)]
            return any(moment == "begun" or "libtorch_cpu" in mapped(n) for n in others)

        until(there, running)
        os.killpg(running.pid, signal.SIGINT)
        out, told = running.communicate(timeout=300)
    # Python itself may have to say something where it has only begun.
    assert (running.returncode, json.loads(out)["error"]["kind"]) == (1, "interrupted")
    assert len([x for x in told.splitlines() if x.startswith("error: Stopped")]) == 1
    assert not any(alive(n) for n in others)


def test_a_signal_while_modules_are_in_pieces(monkeypatch):
    """A module that is just being imported is known already, without its functions."""
    name = "snn2hw.processes"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    read, write = os.pipe()
    os.write(write, bytes([signal.SIGTERM]))
    stop = Stop(as_json=False)
    stop.taken = True
    stop._listen(read)
    os.close(read)
    os.close(write)
