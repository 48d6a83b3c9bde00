"""nengo-loihi's emulator as the vendor's simulator of Loihi 1.

Its authors' tests compare it with the chip. It wants old packages, so it has an environment of its
own, where ``program.h5`` is run (docs/decisions/0014-loihi1.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snn2hw.environments import Environment
from snn2hw.families.family import Run
from snn2hw.families.loihi.lava import trace_of
from snn2hw.families.loihi.numbers import counts_otherwise
from snn2hw.families.runners import ran, whole
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target

HERE = Path(__file__).parent
RUNNER = HERE / "nengo_loihi_runner.py"
ENVIRONMENT = Environment(
    name="nengo-loihi",
    title="nengo-loihi 1.1.0",
    about="the emulator of Loihi 1, on Python 3.10",
    python=(3, 10),
    requirements=HERE / "nengo_loihi-requirements.txt",
    bare=(),
    proof="import h5py, nengo_loihi.emulator",
    size="about 250 MB",
)
# What the emulator's arithmetic is fixed to; numbers that only say how large a mantissa may be, or
# how long a delay, are the target's own.
COUNTS: Mapping[str, int] = {
    "state_bits": 24, "state_shift": 6, "decay_bits": 12, "weight_bits": 8,
    "sum_bits": 22, "drive_bits": 24, "keeps_top": 0, "shifts_weights": 1, "programmable": 0,
    "message_bits": 0,
}  # fmt: skip


def why_not(target: Target) -> str | None:
    """Say why the emulator does not count as a target does; None if it does."""
    return counts_otherwise(target, COUNTS)


def run(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer]],
    *,
    program_file: Path,
    vendor_file: Path | None = None,
) -> Run:
    """Run samples in the emulator and return every spike and state.

    Args:
        program: the program, for names and shapes.
        inputs: for each input port, integers ``[N, T, *shape]``.
        program_file: ``program.h5``.
        vendor_file: none, as nengo-loihi has no file of its own.

    Raises:
        RuntimeMissingError: if nengo-loihi is not installed or fails.
    """
    if vendor_file is not None:
        raise ValueError(f"{ENVIRONMENT.title} reads no {vendor_file.name}")
    job = {"program": whole(program_file)}
    with ran(ENVIRONMENT, RUNNER, inputs, job) as done:
        trace = trace_of(program, inputs, done.stored, done.seconds, ENVIRONMENT.title)
    return done.run_of(trace, "program.h5")
