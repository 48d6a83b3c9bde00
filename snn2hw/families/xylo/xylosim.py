"""SynSense's xylosim as the vendor's simulator of the Xylo family.

It is compiled when it is installed and states no licence, so it has an environment of its own. The
two sides exchange files: ``program.h5`` or ``spec.json`` and inputs go in, spikes and states come
out.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw.archives import write_npz
from snn2hw.environments import Environment
from snn2hw.errors import RuntimeMissingError
from snn2hw.families.family import Run
from snn2hw.families.xylo.numbers import populations
from snn2hw.families.xylo.traces import state_names, trace_of
from snn2hw.files import scratch, told_as
from snn2hw.ir.program import Program
from snn2hw.ir.trace import SPIKES

HERE = Path(__file__).parent
RUNNER = HERE / "xylosim_runner.py"
ENVIRONMENT = Environment(
    name="xylosim",
    title="xylosim 0.1.3",
    about="on Python 3.11; a C++ compiler builds it",
    python=(3, 11),
    requirements=HERE / "xylosim-requirements.txt",
    # Built with the tools that the requirements pin; else pip would fetch the newest for it.
    bare=("--no-build-isolation", "xylosim==0.1.3"),
    proof="import xylosim.v2",
    size="about 25 MB",
    remedy="Check that there is a C++ compiler, the network and the disk, then try again.",
)


def run(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer]],
    *,
    program_file: Path,
    vendor_file: Path | None = None,
) -> Run:
    """Run samples in the vendor's simulator and return every spike and state.

    Args:
        program: the program, for names and shapes.
        inputs: for the input port, integers ``[N, T, *shape]``.
        program_file: ``program.h5``.
        vendor_file: if given, the layer is made from this ``spec.json`` alone, as in Rockpool.

    Raises:
        RuntimeMissingError: if the simulator is not installed or fails.
    """
    ENVIRONMENT.required()
    temporary = Path(tempfile.gettempdir())
    with told_as(temporary), scratch(temporary) as here:
        arrays: dict[str, Any] = {k: np.asarray(v, np.int32) for k, v in inputs.items()}
        write_npz(here / "inputs.npz", arrays, packed=False)
        job = {
            "program": None if vendor_file else str(program_file.resolve()),
            "spec": str(vendor_file.resolve()) if vendor_file else None,
            "inputs": str(here / "inputs.npz"),
            "output": str(here / "output.npz"),
            "tail": program.tail,
            "sizes": [[p.name, p.size] for p in populations(program.network)],
        }
        (here / "job.json").write_text(json.dumps(job))
        status = _execute(here / "job.json")
        with np.load(here / "output.npz", allow_pickle=False) as stored:
            kept = {
                p.name: {k: stored[f"{p.name}.{k}"] for k in (*state_names(program, p), SPIKES)}
                for p in populations(program.network)
            }
    trace = trace_of(program, inputs, kept, float(status["seconds"]), ENVIRONMENT.title)
    through = "spec.json" if vendor_file else "program.h5"
    return Run(trace, through, int(status["chip_steps"]), dict(status["processes"]))


def _execute(job: Path) -> dict[str, Any]:
    for line in ENVIRONMENT.run(RUNNER, [str(job)]):
        if line.startswith("STATUS "):
            return json.loads(line.removeprefix("STATUS "))
    raise RuntimeMissingError(
        f"{ENVIRONMENT.title} ended without a result.",
        f"Try: snn2hw runtime remove {ENVIRONMENT.name}, then install it again.",
    )
