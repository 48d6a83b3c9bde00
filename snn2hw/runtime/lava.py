"""Intel's Lava as the vendor's simulator of Loihi 2: installing it and running programs in it.

Lava 0.10 runs on Python 3.10 only, so it gets an environment of its own in the user cache. The two
sides exchange files: ``program.h5`` or ``model.net`` and inputs go in, spikes and states come out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from snn2hw import processes
from snn2hw.archives import write_npz
from snn2hw.errors import InputError, RuntimeMissingError
from snn2hw.files import cache_folder, clear, expanded, new_folder, scratch, told_as
from snn2hw.ir.program import Program
from snn2hw.ir.trace import LayerTrace, Trace

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "lava-requirements.txt"
RUNNER = HERE / "lava_runner.py"
WITHOUT_DEPENDENCIES = ("lava-dl==0.6.0",)  # of which only netx's loader is used; it needs no torch
NAME = "lava 0.10.0"
LONGEST_TMPDIR = 70  # characters: Lava puts sockets there, whose paths have at most 107

ConvMode = Literal["auto", "conv", "sparse"]


@dataclass(frozen=True, slots=True)
class Run:
    """A trace from Lava, and how it came about."""

    trace: Trace
    through: str
    chip_steps: int
    processes: Mapping[str, int]


def folder() -> Path:
    """Return where this version's environment is, or will be."""
    pins = REQUIREMENTS.read_text() + str(WITHOUT_DEPENDENCIES)
    return cache_folder() / "runtimes" / f"lava-{hashlib.sha256(pins.encode()).hexdigest()[:12]}"


def python() -> Path | None:
    """Return the environment's interpreter, or None if Lava is not installed."""
    path = _python_in(folder())
    return path if path.exists() else None


def _python_in(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_python310() -> Path:
    """Find a Python 3.10: ``$SNN2HW_PYTHON310``, the path, pyenv's versions, uv.

    Raises:
        RuntimeMissingError: says where it looked.
    """
    named = os.environ.get("SNN2HW_PYTHON310")
    if named:
        if _is_310(Path(named)):
            return Path(named)
        raise RuntimeMissingError(
            f"SNN2HW_PYTHON310 is {named}, which is not a working Python 3.10.",
            "Point it at one, or unset it.",
        )
    for candidate in _candidates():
        if _is_310(candidate):
            return candidate
    raise RuntimeMissingError(
        "Lava needs Python 3.10, which was not found on the path, in pyenv or through uv.",
        "Install it (`pyenv install 3.10` or `uv python install 3.10`), or set SNN2HW_PYTHON310.",
    )


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("python3.10")
    if on_path:
        yield Path(on_path)
    root = _pyenv()
    if root is not None:
        yield from sorted((_python_in(p) for p in root.glob("versions/3.10*")), reverse=True)
    uv = shutil.which("uv")
    if uv:
        for command in (["python", "find", "3.10"], ["python", "install", "3.10"]):
            processes.run([uv, *command])
        found = processes.run([uv, "python", "find", "3.10"])
        if found.returncode == 0:
            yield Path(os.fsdecode(found.stdout.strip()))


def _pyenv() -> Path | None:
    named = os.environ.get("PYENV_ROOT")
    try:
        return Path(named) if named else expanded("~/.pyenv")
    except InputError:
        return None


def _is_310(path: Path) -> bool:
    ask = "import sys; print(sys.version_info[:2])"
    try:
        told = processes.run([str(path), "-c", ask], timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.stdout.strip() == b"(3, 10)"


def install(say: Callable[[str], None] = lambda _: None) -> Path:
    """Make the environment if it is not there yet; safe to call from several processes.

    Returns:
        The environment's interpreter.

    Raises:
        RuntimeMissingError: if there is no Python 3.10 or pip fails.
    """
    target = folder()
    if python() is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if python() is None:
                _make(target, say)
                clear(target.parent)  # again: pip outlives an installer that was killed
                say(f"{NAME} is ready")
    return _python_in(target)


def _make(target: Path, say: Callable[[str], None]) -> None:
    base = find_python310()
    say(f"Making Lava's environment in {target} with {base}")
    # Beside the environment, pip's own temporary files are cleared like ours if it is killed.
    with new_folder(target) as made, scratch(target.parent) as temporary:
        environment = {
            **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")},
            "TMPDIR": str(temporary.resolve()),
        }

        def call(what: str, python: Path, *arguments: str) -> None:
            done = processes.run([str(python), *arguments], environment=environment)
            if done.returncode:
                raise RuntimeMissingError(
                    f"Could not {what}: {_last_line(done) or 'no message'}",
                    "Check the network and the disk, then try again.",
                )

        own, pip = _python_in(made), ("-m", "pip", "install", "--quiet")
        call("make a virtual environment", base, "-m", "venv", "--clear", str(made))
        say("Installing Lava and what it needs (about 300 MB)")
        call("install Lava", own, *pip, "--requirement", str(REQUIREMENTS))
        call("install lava-dl", own, *pip, "--no-deps", *WITHOUT_DEPENDENCIES)
        call("import Lava", own, "-c", "import lava.proc.lif.models")


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last that a process said, which is where Python and pip say what is wrong."""
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def remove() -> bool:
    """Delete the environment, and what a killed installation left.

    Returns:
        Whether there was an environment.
    """
    there = folder().exists()
    if folder().parent.is_dir():
        with FileLock(folder().with_suffix(".lock")):
            clear(folder().parent)
            if there:
                shutil.rmtree(folder())
    return there


def run(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer]],
    *,
    program_file: Path,
    net_file: Path | None = None,
    conv: ConvMode = "auto",
) -> Run:
    """Run samples in Lava's fixed-point models and return every spike and state.

    Args:
        program: the program, for names and shapes.
        inputs: for each input port, integers ``[N, T, *shape]``.
        program_file: ``program.h5``.
        net_file: if given, this netx file is loaded by lava-dl's loader instead.
        conv: which Lava process runs convolutions that either could.

    Raises:
        RuntimeMissingError: if Lava is not installed or fails.
    """
    interpreter = python()
    if interpreter is None:
        raise RuntimeMissingError("Lava is not installed.", "Run: snn2hw runtime install lava")
    temporary = Path(tempfile.gettempdir())
    with told_as(temporary), scratch(temporary) as here:
        arrays: dict[str, Any] = {k: np.asarray(v, np.int32) for k, v in inputs.items()}
        write_npz(here / "inputs.npz", arrays, packed=False)
        job = {
            "program": str(program_file.resolve()),
            "net": str(net_file.resolve()) if net_file else None,
            "inputs": str(here / "inputs.npz"),
            "output": str(here / "output.npz"),
            "folder": str(here),
            "conv": conv,
            **_netx(program),
        }
        (here / "job.json").write_text(json.dumps(job))
        status = _execute(interpreter, here / "job.json")
        with np.load(here / "output.npz", allow_pickle=False) as stored:
            trace = _trace(program, inputs, stored, float(status["seconds"]))
    through = "netx, model.net" if net_file else "program.h5"
    return Run(trace, through, int(status["chip_steps"]), dict(status["processes"]))


def _netx(program: Program) -> dict[str, Any]:
    """Return when lava-dl's loader starts each layer of a chain."""
    net = program.network
    port, first = net.inputs[0], net.populations[0]
    into = [net.connections[i] for i in net.into(first.name)]
    begins = {p.name: program.phase[p.name] - program.phase[first.name] for p in net.populations}
    return {
        "message_bits": port.message_bits,
        "lag": int(bool(into) and into[0].delay == 0),
        "streams": program.streams,
        "begins": begins,
    }


def _execute(interpreter: Path, job: Path) -> dict[str, Any]:
    # -I keeps this folder, whose lava.py would shadow Lava's, off the runner's path.
    environment = dict(os.environ)
    if len(str(job.parent)) <= LONGEST_TMPDIR:
        environment["TMPDIR"] = str(job.parent)  # so that what Lava leaves there is cleared
    done = processes.run(
        [str(interpreter), "-I", "-W", "ignore", str(RUNNER), str(job)], environment=environment
    )
    for line in done.stdout.splitlines():
        if line.startswith(b"STATUS ") and not done.returncode:
            return json.loads(line.removeprefix(b"STATUS "))
    raise RuntimeMissingError(
        f"Lava stopped with exit code {done.returncode}: {_last_line(done) or 'it said nothing'}",
        "Try: snn2hw runtime remove lava, then install it again.",
    )


def _trace(
    program: Program, inputs: Mapping[str, NDArray[np.integer]], stored: Any, seconds: float
) -> Trace:
    samples, steps = next(iter(inputs.values())).shape[:2]
    layers: dict[str, LayerTrace] = {}
    for p in program.network.populations:
        shape = (samples, steps, *p.shape)
        spikes, v, u = (stored[f"{p.name}.{k}"].reshape(shape) for k in ("spikes", "v", "u"))
        layers[p.name] = LayerTrace(spikes, v, u)
    events = {k: _events(x) for k, x in inputs.items()}
    events |= {k: _events(layer.spikes) for k, layer in layers.items()}
    out = layers[program.network.output].spikes
    return Trace(out, events, layers, program.phase, program.depth, seconds, NAME)


def _events(x: NDArray[Any]) -> NDArray[np.int64]:
    return np.count_nonzero(x.reshape(*x.shape[:2], -1), axis=0).astype(np.int64)
