"""What became of a command, and of a file that was given to it."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.families import Command
from fuzz.process import ESCAPED, Ended, Limits

# Best first; a file's verdict is the worst of its commands'.
VERDICTS = ("fine", "refused", "garbled", "bug", "large", "slow", "crash")
BAD = VERDICTS[2:]
LONGEST_MESSAGE = 2000


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


# What NumPy, PyTorch and C++ say where the process's own limit stopped them.
TOO_LARGE = re.compile(r"MemoryError|Unable to allocate|can't allocate memory|bad_alloc")


def judge(ended: Ended, command: Sequence[str], file: str, limits: Limits) -> Outcome:
    """Judge how a command ended that was given a damaged file."""
    verdict, kind = _harm(ended, limits) or _answer(ended, command)
    lines = [line for line in ended.err.splitlines() if line.strip()]
    return Outcome(
        tuple(command), verdict, kind, _place(ended), lines[-1][:1000] if lines else "",
        Path(file).name in ended.err or verdict != "refused", ended.seconds, ended.memory,
        "/numba/core/" in ended.err,
    )  # fmt: skip


def _harm(ended: Ended, limits: Limits) -> tuple[str, str] | None:
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


def _answer(ended: Ended, command: Sequence[str]) -> tuple[str, str]:
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


def _exception(ended: Ended) -> str:
    """Return the kind of the exception that was shown, or printed as it left the command line."""
    named = re.search(r"bug of snn2hw: (\w+)", ended.err)
    lines = re.findall(r"^([\w.]+)(?::|$)", ended.err, re.MULTILINE)
    return named[1] if named else lines[-1].rpartition(".")[2] if lines else "unknown"


def _place(ended: Ended) -> str:
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
