"""Running a program in a vendor's simulator, which has an environment of its own.

The two sides exchange files: a job and inputs go in, a status and arrays come out. A runner is a
script that imports nothing of this package.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn2hw.archives import write_npz
from snn2hw.environments import Environment
from snn2hw.errors import RuntimeMissingError
from snn2hw.families.family import Run
from snn2hw.files import scratch, told_as
from snn2hw.ir.trace import Trace


class Done(NamedTuple):
    """What a runner tells: how it went, and what it stored."""

    status: Mapping[str, Any]
    stored: Mapping[str, NDArray[Any]]

    @property
    def seconds(self) -> float:
        """Time spent in the simulator."""
        return float(self.status["seconds"])

    def run_of(self, trace: Trace, through: str) -> Run:
        """Return a trace with how it came about."""
        return Run(trace, through, int(self.status["chip_steps"]), dict(self.status["processes"]))


@contextmanager
def ran(
    environment: Environment,
    runner: Path,
    inputs: Mapping[str, NDArray[np.integer[Any]]],
    job: Mapping[str, Any],
    *,
    longest_folder: int | None = None,
) -> Generator[Done, None, None]:
    """Run a script in an environment; what it stored can be read inside the block.

    Args:
        environment: the simulator's.
        runner: the script.
        inputs: for each input port, integers ``[N, T, *shape]``.
        job: what else it is told; it is also told the files ``inputs`` and ``output``, and a
            ``folder`` for what it writes beside.
        longest_folder: characters that the path of a temporary folder may have for the simulator;
            where ours has more, it takes the user's.

    Raises:
        RuntimeMissingError: the environment is missing, or the script failed.
    """
    environment.required()
    temporary = Path(tempfile.gettempdir())
    with told_as(temporary), scratch(temporary) as here:
        arrays: dict[str, Any] = {k: np.asarray(v, np.int32) for k, v in inputs.items()}
        write_npz(here / "inputs.npz", arrays, packed=False)
        files = {"inputs": str(here / "inputs.npz"), "output": str(here / "output.npz")}
        (here / "job.json").write_text(json.dumps({**job, **files, "folder": str(here)}))
        # What a simulator leaves in its temporary folder is cleared with ours.
        fits = longest_folder is None or len(str(here)) <= longest_folder
        status = _status(environment, runner, here / "job.json", here if fits else None)
        with np.load(here / "output.npz", allow_pickle=False) as stored:
            yield Done(status, stored)


def _status(
    environment: Environment, runner: Path, job: Path, temporary: Path | None
) -> dict[str, Any]:
    for line in environment.run(runner, [str(job)], temporary):
        if line.startswith("STATUS "):
            return json.loads(line.removeprefix("STATUS "))
    raise RuntimeMissingError(
        f"{environment.title} ended without a result.",
        f"Try: snn2hw runtime remove {environment.name}, then install it again.",
    )


def whole(path: Path | None) -> str | None:
    """Return a file's whole path as a job holds it."""
    return None if path is None else str(path.resolve())
