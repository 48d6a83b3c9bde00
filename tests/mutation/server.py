"""A process that has imported what takes long, and forks to run tests: a second each, not five.

Reads lines of JSON, ``{"arguments": [...], "seconds": ...}``, and answers each with an exit code,
or ``null`` if the tests took longer. Whatever a run has started ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module

# Not onnxruntime: it starts a thread, which a fork would lack.
SLOW = (
    "h5py", "lightning_fabric", "nir", "nirtorch", "numba",
    "onnx", "pytest", "scipy.signal", "scipy.sparse", "sklearn.datasets",
    "snntorch", "torch",
)  # fmt: skip


def run(arguments: list[str], seconds: float) -> int | None:
    """Run tests in a fork of this process."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        sys.dont_write_bytecode = True  # of modules with a fault
        import pytest

        os._exit(int(pytest.main(arguments)))
    end = time.monotonic() + seconds
    code = None
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if code is None:
        os.waitpid(pid, 0)
    return code


def main() -> None:
    """Answer until there is nothing more to read."""
    for name in SLOW:
        with suppress(ImportError):
            import_module(name)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
