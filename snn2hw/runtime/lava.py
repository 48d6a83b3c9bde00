"""Intel's Lava as the vendor's simulator of Loihi 2: installing it and running programs in it.

Lava 0.10 runs on Python 3.10 only, so it gets an environment of its own in the user cache. The two
sides exchange files: ``program.h5`` or ``model.net`` and inputs go in, spikes and states come out.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn2hw.archives import write_npz
from snn2hw.errors import RuntimeMissingError
from snn2hw.files import cache_folder
from snn2hw.ir.program import Program
from snn2hw.ir.trace import LayerTrace, Trace

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "lava-requirements.txt"
RUNNER = HERE / "lava_runner.py"
WITHOUT_DEPENDENCIES = ("lava-dl==0.6.0",)  # of which only netx's loader is used; it needs no torch
NAME = "lava 0.10.0"

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
    path = folder() / "bin" / "python"
    return path if path.exists() else None


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
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(root.glob("versions/3.10*/bin/python"), reverse=True)
    uv = shutil.which("uv")
    if uv:
        for command in (["python", "find", "3.10"], ["python", "install", "3.10"]):
            subprocess.run([uv, *command], capture_output=True, check=False)
        found = subprocess.run(
            [uv, "python", "find", "3.10"], capture_output=True, text=True, check=False
        )
        if found.returncode == 0:
            yield Path(found.stdout.strip())


def _is_310(path: Path) -> bool:
    try:
        told = subprocess.run(
            [str(path), "-c", "import sys; print(sys.version_info[:2])"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.stdout.strip() == "(3, 10)"


def install(say: Callable[[str], None] = lambda _: None) -> Path:
    """Make the environment if it is not there yet; safe to call from several processes.

    Returns:
        The environment's interpreter.

    Raises:
        RuntimeMissingError: if there is no Python 3.10 or pip fails.
    """
    target = folder()
    with _lock(target.with_suffix(".lock")):
        ready = python()
        if ready:
            return ready
        base = find_python310()
        say(f"Making Lava's environment in {target} with {base}")
        made = Path(tempfile.mkdtemp(prefix=".lava-", dir=target.parent))
        try:
            _pip_into(made, base, say)
            made.chmod(0o755)
            made.replace(target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    say(f"{NAME} is ready")
    return target / "bin" / "python"


def _pip_into(made: Path, base: Path, say: Callable[[str], None]) -> None:
    _call([str(base), "-m", "venv", "--clear", str(made)], "make a virtual environment")
    pip = [str(made / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    say("Installing Lava and what it needs (about 300 MB)")
    _call([*pip, "--requirement", str(REQUIREMENTS)], "install Lava")
    _call([*pip, "--no-deps", *WITHOUT_DEPENDENCIES], "install lava-dl")
    _call([str(made / "bin" / "python"), "-c", "import lava.proc.lif.models"], "import Lava")


def _call(command: list[str], what: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise RuntimeMissingError(
            f"Could not {what}: {last[0]}", "Check the network and the disk, then try again."
        )


@contextmanager
def _lock(path: Path) -> Generator[None, None, None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove() -> bool:
    """Delete the environment; returns whether there was one."""
    there = folder().exists()
    shutil.rmtree(folder(), ignore_errors=True)
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
    with tempfile.TemporaryDirectory(prefix="snn2hw-lava-") as scratch:
        here = Path(scratch)
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
    done = subprocess.run(
        [str(interpreter), "-I", "-W", "ignore", str(RUNNER), str(job)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        if line.startswith("STATUS ") and not done.returncode:
            return json.loads(line.removeprefix("STATUS "))
    last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
    raise RuntimeMissingError(
        f"Lava stopped with exit code {done.returncode}: {last[0]}",
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
