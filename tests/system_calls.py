"""Running the command line as a user does."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from snn2hw.cli import main


def call(folder: Path, *arguments: str, **how) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a process of its own: seconds for its imports."""
    return subprocess.run(
        [sys.executable, "-m", "snn2hw", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, **how,
    )  # fmt: skip


def call_here(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def document(folder: Path, *arguments: str, run=call_here):
    """Run a command with --json and return its document; nothing else may be on stdout."""
    done = run(folder, *arguments, "--json", "-q")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _processes() -> Iterator[tuple[int, int, str, str]]:
    """Yield number, parent, state and program of every process."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid=,stat=,comm="], capture_output=True, text=True)
    for line in told.stdout.splitlines():
        number, parent, state, program = line.split(None, 3)
        yield int(number), int(parent), state, program


def alive(number: int) -> bool:
    """Say whether a process is there and not merely waiting to be noticed."""
    return any(n == number and not state.startswith("Z") for n, _, state, _ in _processes())


def descendants(number: int) -> list[tuple[int, str]]:
    """Return numbers and programs of what a process has started, and what that has."""
    below: list[tuple[int, str]] = []
    parents = {number}
    known = list(_processes())
    while parents:
        found = [(n, program) for n, parent, _, program in known if parent in parents]
        below += found
        parents = {n for n, _ in found}
    return below
