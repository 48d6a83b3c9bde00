"""Other processes: those that do one command together, and those that a command starts."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # on Windows
    resource = None

PATIENCE = 5.0  # seconds in which a process may end by itself
MAPPED = Path("/proc/self/statm")
_others: list[subprocess.Popen[bytes]] = []
_own: list[subprocess.Popen[bytes]] = []  # those that nobody else watches any more


def start_with(others: list[subprocess.Popen[bytes]]) -> None:
    """Remember processes that work with this one, in a list that may still grow."""
    global _others
    _others = others


def watch_others_alone() -> None:
    """Take them off that list: Lightning Fabric kills this process if one that is on it fails."""
    _own.extend(_others)
    _others.clear()


def end_others() -> None:
    """End the processes that work with this one: it is about to end itself."""
    watch_others_alone()
    for process in _own:
        process.terminate()
    until = time.monotonic() + 1.0  # one that waits for this one in a collective hears nothing
    while any(p.poll() is None for p in _own) and time.monotonic() < until:
        time.sleep(0.02)
    for process in _own:
        process.kill()


@contextmanager
def bounded(more: int) -> Generator[None, None, None]:
    """Let this process take so many bytes of address space more in the block, where systems can.

    A library then says that there is no memory, instead of asking for what a file tells it to.
    """
    if resource is None or not MAPPED.exists():
        yield
        return
    held = int(MAPPED.read_text().split()[0]) * resource.getpagesize()
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    known = [n for n in (before, most, held + more) if n != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(known), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def run(
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; if that is not waited for, it ends with all that it has started.

    Args:
        command: program and arguments.
        stdin: what it reads.
        timeout: seconds it may take.
        environment: instead of this process's own.

    Raises:
        subprocess.TimeoutExpired: it took longer.
        OSError: there is no such program.
    """
    # A session of its own is how its children are found again.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started: politely, and after a while by force."""
    if not hasattr(os, "killpg"):  # Windows
        process.kill()
        return
    until = time.monotonic() + PATIENCE
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < until:
            process.poll()  # so that it is not counted any more when it is gone
            os.killpg(process.pid, 0)
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)


class Helper:
    """A Python script in a process of its own, for what may crash, hang or take all memory.

    It is started when it is first asked, and kept. A request is a line of JSON; its answer is a
    line ``{"bytes", ...}`` followed by so many bytes, or any other object, with which it ends.

    Args:
        script: run as a plain file.
    """

    def __init__(self, script: Path) -> None:
        self.script, self.lock = script, threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = 0
        atexit.register(self.close)

    def ask(self, asked: Mapping[str, Any], seconds: int) -> tuple[dict[str, Any], bytes]:
        """Return its answer and the bytes; an empty answer if it ends without one.

        Args:
            asked: the request.
            seconds: after which it is ended.
        """
        with self.lock:
            process = self._running()
            clock = threading.Timer(seconds, process.kill)
            clock.daemon = True
            clock.start()
            try:
                answer, content = _asked(process, asked)
            except BaseException:
                self.close()
                raise
            finally:
                clock.cancel()
            if "bytes" not in answer:
                self.close()
            return answer, content

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process, or a new one: what a process that forked had is not this one's."""
        if self.process is None or self.owner != os.getpid() or self.process.poll() is not None:
            self.close()
            self.owner = os.getpid()
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", str(self.script)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        return self.process

    def close(self) -> None:
        """End the process, unless it is another's, and close the pipes to it."""
        if self.process is None:
            return
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what could not be sent is not missed
                pipe.close() if pipe else None
        self.process = None


def _asked(
    process: subprocess.Popen[bytes], asked: Mapping[str, Any]
) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return {}, b""
    answer: dict[str, Any] = json.loads(process.stdout.readline() or b"{}")
    wanted = int(answer.get("bytes", 0))
    content = process.stdout.read(wanted)
    return (answer, content) if len(content) == wanted else ({}, b"")
