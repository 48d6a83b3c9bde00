"""A process that is started ends with whoever started it, and so do its own children."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from system_calls import alive

from snn2hw import processes

# Starts a child that notes its number and sleeps; the child may refuse to end politely.
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
time.sleep(600)
"""
CHILD = """
import os, signal, sys, time
{}
with open(sys.argv[1] + ".part", "w") as file: file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def test_what_a_process_says(monkeypatch):
    script = "import os, sys; sys.stdout.write(sys.stdin.read() + os.environ['X']); sys.exit(3)"
    done = processes.run(
        [sys.executable, "-c", script], stdin=b"in ", environment={**os.environ, "X": "out"}
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in out", b"")
    with pytest.raises(FileNotFoundError):
        processes.run(["no such program"])


@pytest.mark.parametrize("manner", ["", STUBBORN])
def test_grandchildren_end_when_nobody_waits_any_more(tmp_path, monkeypatch, manner):
    monkeypatch.setattr(processes, "PATIENCE", 0.5)
    noted = tmp_path / "number"

    class Enough(BaseException):
        """What a signal raises while the process is waited for."""

    def communicate(self, *_):
        for _ in range(600):
            if noted.exists():
                raise Enough
            time.sleep(0.05)
        raise AssertionError("the child did not start")

    whole = subprocess.Popen.communicate
    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    with pytest.raises(Enough):
        processes.run([sys.executable, "-c", PARENT, CHILD.format(manner), str(noted)])
    monkeypatch.setattr(subprocess.Popen, "communicate", whole)
    time.sleep(0.2)
    assert not alive(int(noted.read_text()))


def test_a_process_may_take_too_long():
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run([sys.executable, "-c", "import time; time.sleep(600)"], timeout=0.5)


def test_others_end_before_this_one(monkeypatch):
    stubborn = f"import signal; {STUBBORN}; print(flush=True); import time; time.sleep(600)"
    others = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        for script in (stubborn, "print(flush=True); import time; time.sleep(600)")
    ]
    for process in others:
        process.stdout.readline()
    listed = list(others)
    processes.start_with(listed)
    processes.end_others()
    assert [p.wait(60) < 0 for p in others] == [True, True]
    assert listed == []  # whoever watches them has nothing to complain about
    for process in others:
        process.stdout.close()


def test_memory_is_bounded_in_a_block_and_not_after_it():
    if not processes.MAPPED.exists():
        pytest.skip("this system does not say how much memory a process has")
    script = """
from snn2hw.processes import bounded
bytes(1)
try:
    with bounded(64 << 20): bytearray(256 << 20)
except MemoryError: print("bounded")
print(len(bytearray(256 << 20)))
with bounded(512 << 20): print(len(bytearray(256 << 20)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["bounded", *[str(256 << 20)] * 2], done.stderr
