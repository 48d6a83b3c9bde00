"""Doing with a file what a user would do, in a process with limits, and judging what happens.

Every command runs in a process of its own, forked from a worker that has imported everything and
has used the compiled kernels once: quick, and as fresh as a process of a user's.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import io
import json
import os
import pickle
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from fuzz.families import FAMILIES, Case, Command, make, seal_program
from fuzz.seeds import Files

from snn2hw import cli
from snn2hw.cli import main
from snn2hw.cli.common import report_error

# Best first; a file's verdict is the worst of its commands'.
VERDICTS = ("fine", "refused", "garbled", "bug", "large", "slow", "crash")
BAD = VERDICTS[2:]
LONGEST_MESSAGE = 2000


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
class Outcome:
    """How a command ended.

    Args:
        command: its arguments.
        verdict: one of ``VERDICTS``.
        kind: the exception, signal or rule behind a bad verdict.
        place: the last line of snn2hw that took part, ``file:line``.
        message: its last line on standard error.
        named: the message names the damaged file.
        seconds: of processor time.
        memory: bytes at the peak, beyond what was there before.
        compiles: it was compiling a kernel when it was stopped.
    """

    command: Command
    verdict: str
    kind: str = ""
    place: str = ""
    message: str = ""
    named: bool = True
    seconds: float = 0.0
    memory: int = 0
    compiles: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A case and how each of its commands ended."""

    family: str
    index: int
    file: str
    said: str
    outcomes: tuple[Outcome, ...]

    @property
    def worst(self) -> Outcome:
        """The worst outcome, the first of equals."""
        return max(self.outcomes, key=lambda o: VERDICTS.index(o.verdict))


@dataclass(slots=True)
class _Ended:
    """What is known of a process that ended."""

    code: int | None  # as the command line gives it; None if the process died before
    signal: int
    stopped: str  # which limit made us stop it
    out: str
    err: str
    cause: str  # the traceback of what was raised first
    seconds: float
    memory: int


Call = Callable[[list[str]], Any]


def run(
    command: Sequence[str], folder: Path, file: str, limits: Limits, call: Call = main
) -> Outcome:
    """Run one command in a folder and judge it."""
    ended = _run(list(command), folder, limits, call)
    verdict, kind = _judge(ended, command, limits)
    lines = [line for line in ended.err.splitlines() if line.strip()]
    return Outcome(
        tuple(command), verdict, kind, _place(ended), lines[-1][:1000] if lines else "",
        Path(file).name in ended.err or verdict != "refused", ended.seconds, ended.memory,
        "/numba/core/" in ended.err,
    )  # fmt: skip


def _run(command: list[str], folder: Path, limits: Limits, call: Call) -> _Ended:
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
        return _Ended(
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
        with mock.patch.object(cli, "report_error", noted):
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
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found = [pid]
    for one in found:
        found += [p for p, parent in parents.items() if parent == one]
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """Return seconds of processor time, those of children that ended included."""
    try:
        return sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")
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


# What NumPy, PyTorch and C++ say where the process's own limit stopped them.
TOO_LARGE = re.compile(r"MemoryError|Unable to allocate|can't allocate memory|bad_alloc")


def _judge(ended: _Ended, command: Sequence[str], limits: Limits) -> tuple[str, str]:
    """Return verdict and kind."""
    return _harm(ended, limits) or _answer(ended, command)


def _harm(ended: _Ended, limits: Limits) -> tuple[str, str] | None:
    """Say which limit was broken, or how the process died."""
    if ended.stopped or ended.seconds > limits.cpu:
        return "slow", ended.stopped or f"{ended.seconds:.0f} s of processor time"
    if ended.memory > limits.memory:
        return "large", f"{ended.memory / 2**30:.1f} GiB"
    if ended.signal:
        return "crash", signal.Signals(ended.signal).name
    if ended.code is None:
        return "crash", "the process ended before the command did"
    if TOO_LARGE.search(ended.cause or ended.err):
        return "large", f"more than {limits.memory / 2**30:g} GiB were asked for"
    return None


def _answer(ended: _Ended, command: Sequence[str]) -> tuple[str, str]:
    """Judge what a command that came to its end says."""
    errors = [x for x in ended.err.splitlines() if x.startswith("error: ")]
    if ended.code == ESCAPED or "bug of snn2hw" in ended.err:
        return "bug", _exception(ended)
    if ended.code not in (0, 1):
        return "bug", f"exit code {ended.code}"
    if ended.code == 1 and not errors and command[0] != "verify":  # verify says it has no Lava
        return "bug", "exit code 1 without an error"
    if "--json" in command and not _is_json(ended.out):
        return "bug", "standard output is not JSON"
    wrong = _garbled(ended.err, errors)
    if wrong:
        return "garbled", wrong
    return ("refused" if errors else "fine"), ""


def _exception(ended: _Ended) -> str:
    """Return the kind of the exception that was shown, or printed as it left the command line."""
    named = re.search(r"bug of snn2hw: (\w+)", ended.err)
    lines = re.findall(r"^([\w.]+)(?::|$)", ended.err, re.MULTILINE)
    return named[1] if named else lines[-1].rpartition(".")[2] if lines else "unknown"


def _place(ended: _Ended) -> str:
    """Return the innermost line of snn2hw in a dump of the stack or a traceback."""
    dump = re.search(r"Current thread.*?\n((?:  File .*\n?)+)", ended.err)
    stack = dump[1].splitlines()[::-1] if dump else (ended.cause or ended.err).splitlines()
    found = re.findall(r'File ".*/(snn2hw/(?!tests/)[\w/]+\.py)", line (\d+)', "\n".join(stack))
    return ":".join(found[-1]) if found else ""


def _is_json(out: str) -> bool:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        json.loads(out, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _garbled(err: str, errors: Sequence[str]) -> str:
    """Say what keeps a person from reading the message."""
    if len(errors) > 1:
        return "several error lines"
    if any(len(x) > LONGEST_MESSAGE for x in err.splitlines()):
        return f"a line of more than {LONGEST_MESSAGE} characters"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", err):
        return "control characters"
    return ""


def run_case(case: Case, limits: Limits = LIMITS, call: Call = main) -> Result:
    """Write a case's files to a new folder, give the commands and judge them."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        put(case, Path(scratch), limits)
        for command in case.commands:
            outcomes.append(_settled(command, Path(scratch), case.file, limits, call))
            if outcomes[-1].verdict != "fine":
                break
    return Result(case.family, case.index, case.file, case.said, tuple(outcomes))


def _settled(command: Command, folder: Path, file: str, limits: Limits, call: Call) -> Outcome:
    """Run a command, and again if all that took long was a kernel compiled for the first time."""
    outcome = run(command, folder, file, limits, call)
    again = outcome.verdict == "slow" and outcome.compiles
    return run(command, folder, file, limits, call) if again else outcome


def put(case: Case, folder: Path, limits: Limits = LIMITS) -> None:
    """Write a case's working directory."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if FAMILIES[case.family].sealed:
        _run(["seal"], folder, limits, lambda _: seal_program(Path("builds/a")))


_VALID: dict[str, dict[str, Files]] = {}


def valid_files(family: str) -> Mapping[str, Files]:
    """Return a family's valid files, made once."""
    if family not in _VALID:
        # In a process of its own: some train, after which PyTorch does not like to be forked.
        _VALID[family] = _elsewhere(lambda folder: FAMILIES[family].seeds(folder))
    return _VALID[family]


def _elsewhere(work: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        answer = Path(scratch) / "answer"
        pid = os.fork()
        if pid == 0:
            try:
                (Path(scratch) / "work").mkdir()
                answer.write_bytes(pickle.dumps(work(Path(scratch) / "work")))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        if not answer.exists():
            raise RuntimeError("the valid files could not be made")
        return pickle.loads(answer.read_bytes())


def prepare(scratch: str) -> None:
    """Make this process a worker: nothing from outside, imports done, kernels loaded.

    Args:
        scratch: a folder for temporary files, a cache and a home; its owner removes it.
    """
    told = {"TMPDIR": scratch, "HOME": scratch, "SNN2HW_CACHE": f"{scratch}/cache"}
    os.environ.update(told | OFFLINE)
    os.environ.pop("SNN2HW_DATA", None)
    tempfile.tempdir = scratch
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import PIL.Image  # noqa: F401
    import torch

    from snn2hw.pipeline import runs

    torch.set_num_threads(1)
    runs.training()
    _load_kernels()


OFFLINE = {
    "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
    # Pools of OpenMP do not survive a fork; nor would two workers gain by them.
    "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue",
}  # fmt: skip


def _load_kernels() -> None:
    """Run a network of each kind once; what is compiled is then here in every process forked."""
    import numpy as np
    from float_nets import random_network
    from fuzz.seeds import programs
    from nets import images

    from snn2hw.simulate import engine, floating

    for program in programs().values():
        engine.run(program, images(program.network, samples=2), states=True)
    for seed in range(4):
        net = random_network(seed)
        floating.run(net, {k: np.asarray(v) for k, v in images(net, samples=2).items()})


def examined(family: str, seed: int, index: int, limits: Limits = LIMITS) -> Result:
    """Make a case and run it."""
    return run_case(make(family, seed, index, valid_files(family)), limits)
