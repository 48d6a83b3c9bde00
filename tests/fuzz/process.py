"""One command in a process of its own, with limits on time and memory.

Forked from a worker that has imported everything and has used the compiled kernels once: quick,
and as fresh as a process of a user's.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import io
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from snn2hw.cli import common
from snn2hw.cli.common import report_error

Call = Callable[[list[str]], Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command may take beyond what the worker holds already.

    Args:
        cpu: seconds of processor time, of the process and all below it: other work on the machine
            does not count.
        clock: seconds by the clock, for what waits or sleeps, without those in which it queued
            for a processor.
        memory: bytes that are resident at once; of address space, the process itself gets as many.
    """

    cpu: float = 10.0
    clock: float = 60.0
    memory: int = 2 << 30


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of a process that ended."""

    code: int | None  # as the command line gives it; None if the process died before
    signal: int
    stopped: str  # which limit made us stop it
    out: str
    err: str
    cause: str  # the traceback of what was raised first
    seconds: float
    memory: int


def run(command: list[str], folder: Path, limits: Limits, call: Call) -> Ended:
    """Run a command in a folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        here = Path(scratch)
        before = _status("VmRSS")
        pid = os.fork()
        if pid == 0:
            _child(command, folder, here, limits, call)
        status, usage, stopped = _watched(pid, limits)
        told = here / "told.json"
        report = json.loads(told.read_text()) if told.exists() else {}
        own, others = report.get("own", usage.ru_maxrss << 10), report.get("others", 0)
        # A process that has only just been started shares its parent's memory and counts it.
        most = max(own - before, others if others > 1.01 * own else 0)
        return Ended(
            report.get("code"), os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, stopped,
            *(_read(here / n) for n in ("out", "err", "cause")),
            seconds=usage.ru_utime + usage.ru_stime + report.get("running", 0), memory=most,
        )  # fmt: skip


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "backslashreplace")
    except OSError:  # it was not written, or a process has ended
        return ""


def _child(command: list[str], folder: Path, here: Path, limits: Limits, call: Call) -> None:
    """Be the process of a command; never returns."""
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with its worker
        os.chdir(folder)
        _open_streams(here)
        faulthandler.enable(sys.__stderr__)
        faulthandler.register(signal.SIGUSR1, sys.__stderr__)
        # The soft limit only: a child of the command may set one of its own.
        size, most = _status("VmSize") + limits.memory, resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_AS, (size, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from now
        code = _code(command, call, here)
        sys.stderr.flush()
        told = {"code": code, "own": _status("VmHWM"), **_children()}
        (here / "told.json").write_text(json.dumps(told))
    finally:
        os._exit(0)


def _open_streams(here: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(here / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.FileIO(1, "w"), "utf-8")
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(
        io.FileIO(2, "w"), "utf-8", "backslashreplace", line_buffering=True
    )


ESCAPED = 70  # an exception left the command line


def _code(command: list[str], call: Call, here: Path) -> int:
    def noted(error: BaseException, arguments: Sequence[str]) -> int:
        """Keep where the first of several errors came from: what is shown may say it no more."""
        first = error
        while first.__context__ is not None:
            first = first.__context__
        (here / "cause").write_text("".join(traceback.format_exception(first)), errors="replace")
        return report_error(error, arguments)

    try:
        with mock.patch.object(common, "report_error", noted):
            call(command)
        sys.stdout.flush()
    except SystemExit as stop:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BaseException:
        traceback.print_exc()
        return ESCAPED
    return 0


def _status(name: str, pid: int | str = "self") -> int:
    """Return a size of a process from /proc, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB", _read(Path(f"/proc/{pid}/status")), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _children() -> dict[str, float]:
    """Return what the processes below this one took, those that still run and those that ended."""
    running = below(os.getpid())[1:]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    return {
        "others": max([ended, *(_status("VmHWM", p) for p in running)]),
        "running": sum(cpu_seconds(p) for p in running),  # who waits for them counts the rest
    }


def _watched(pid: int, limits: Limits) -> tuple[int, resource.struct_rusage, str]:
    """Wait for a process; stop it and all below it when it exceeds a limit."""
    began, pause, look, stopped = time.monotonic(), 0.001, 0.25, ""
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # whom it left behind
            return status, usage, stopped
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
        passed = time.monotonic() - began
        if passed > look and not stopped:
            look = passed + 0.25
            family = below(pid)
            if sum(cpu_seconds(p) for p in family) > limits.cpu:
                stopped = f"{limits.cpu:g} s of processor time"
            elif passed - sum(_queued(p) for p in family) > limits.clock:
                stopped = f"{limits.clock:g} s by the clock"
            if stopped:
                _say_where(pid)
                _kill(family)


def _say_where(pid: int) -> None:
    """Let a process that is to be stopped print where it is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
        time.sleep(0.2)


def below(pid: int) -> list[int]:
    """Return a process and all that it started, theirs included, as far as they live."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int(stat(int(entry.name))[1])
    found = [pid]
    for one in found:
        found += [p for p, parent in parents.items() if parent == one]
    return found


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """Return seconds of processor time, those of children that ended included."""
    try:
        return sum(map(int, stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def _queued(pid: int) -> float:
    """Return seconds in which a process could have run, but others did."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
