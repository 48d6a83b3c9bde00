"""SynSense's xylosim as the vendor's simulator of the Xylo family.

It is compiled when it is installed and states no licence, so it has an environment of its own,
where ``program.h5`` or ``spec.json`` is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn2hw.environments import Environment
from snn2hw.families.family import Run
from snn2hw.families.runners import ran, whole
from snn2hw.families.xylo.numbers import populations
from snn2hw.families.xylo.traces import state_names, trace_of
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
    job = {
        "program": None if vendor_file else whole(program_file),
        "spec": whole(vendor_file),
        "tail": program.tail,
        "sizes": [[p.name, p.size] for p in populations(program.network)],
    }
    with ran(ENVIRONMENT, RUNNER, inputs, job) as done:
        kept = {
            p.name: {k: done.stored[f"{p.name}.{k}"] for k in (*state_names(program, p), SPIKES)}
            for p in populations(program.network)
        }
    trace = trace_of(program, inputs, kept, done.seconds, ENVIRONMENT.title)
    return done.run_of(trace, "spec.json" if vendor_file else "program.h5")
