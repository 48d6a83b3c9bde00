"""Intel's Lava as the vendor's simulator of Loihi 2.

Lava 0.10 runs on Python 3.10 only, so it has an environment of its own, where ``program.h5`` or
``model.net`` is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn2hw.environments import Environment
from snn2hw.families.family import Run
from snn2hw.families.loihi import loading
from snn2hw.families.loihi.numbers import counts_otherwise
from snn2hw.families.runners import ran, whole
from snn2hw.ir.program import Program
from snn2hw.ir.target import Target
from snn2hw.ir.trace import LayerTrace, Trace, answers
from snn2hw.simulate.part import Load

HERE = Path(__file__).parent
RUNNER = HERE / "lava_runner"  # a folder with a __main__
ENVIRONMENT = Environment(
    name="lava",
    title="lava 0.10.0",
    about="with netx of lava-dl 0.6.0, on Python 3.10",
    python=(3, 10),
    requirements=HERE / "lava-requirements.txt",
    bare=("lava-dl==0.6.0",),  # of which only netx's loader is used; it needs no torch
    proof="import lava.proc.lif.models",
    size="about 300 MB",
)
# What the fixed-point models are fixed to.
COUNTS: Mapping[str, int] = {
    "state_bits": 24, "state_shift": 6, "decay_bits": 12, "weight_bits": 8, "sum_bits": 32,
    "drive_bits": 32, "keeps_top": 1, "shifts_weights": 0,
}  # fmt: skip
LONGEST_TMPDIR = 70  # characters: Lava puts sockets there, whose paths have at most 107

ConvMode = Literal["auto", "conv", "sparse"]


def why_not(target: Target) -> str | None:
    """Say why Lava does not count as a target does; None if it does."""
    return counts_otherwise(target, COUNTS)


# Bytes of memory: of Lava's processes themselves, and of each thing that they hold; no less than
# what python tests/bench/lava_memory.py measured twice: 0.12 and 0.14 GB; 21 and 23 bytes, 35 to
# 70, 19 to 67, 614 with its neurons, 103 and 502, 12 and 14.
FIXED = 0.3e9
DENSE, SPARSE, WAITING, TAP, NEURON, VALUE = 32, 80, 80, 400, 500, 16


def memory(load: Load) -> float:
    """Say how many bytes Lava needs for a program or a part of one, rather too many."""
    return (
        FIXED
        + DENSE * load.dense
        + SPARSE * load.sparse
        + WAITING * load.waiting
        + TAP * load.taps
        + NEURON * load.neurons
        + VALUE * load.neurons * load.steps
    )


def run(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer]],
    *,
    program_file: Path,
    vendor_file: Path | None = None,
    conv: ConvMode = "auto",
) -> Run:
    """Run samples in Lava's fixed-point models and return every spike and state.

    Args:
        program: the program, for names and shapes.
        inputs: for each input port, integers ``[N, T, *shape]``.
        program_file: ``program.h5``.
        vendor_file: if given, this netx file is loaded by lava-dl's loader instead.
        conv: which Lava process runs convolutions that either could.

    Raises:
        RuntimeMissingError: if Lava is not installed or fails.
    """
    job = {
        "program": whole(program_file),
        "net": whole(vendor_file),
        "conv": conv,
        **_netx(program, next(iter(inputs.values())).shape[1]),
    }
    with ran(ENVIRONMENT, RUNNER, inputs, job, longest_folder=LONGEST_TMPDIR) as done:
        trace = trace_of(program, inputs, done.stored, done.seconds, ENVIRONMENT.title)
    return done.run_of(trace, "netx, model.net" if vendor_file else "program.h5")


def _netx(program: Program, steps: int) -> dict[str, Any]:
    """Return what lava-dl's loader is given for a chain, and when each layer starts."""
    return {
        "arguments": loading.arguments(program, steps),
        "period": loading.period(program, steps),
        "streams": program.streams,
        "begins": loading.begins(program),
    }


def trace_of(
    program: Program,
    inputs: Mapping[str, NDArray[np.integer]],
    stored: Any,
    seconds: float,
    on: str,
) -> Trace:
    """Make a trace of a runner's arrays, ``<layer>.spikes``, ``.v`` and ``.u [N, T, size]``."""
    samples, steps = next(iter(inputs.values())).shape[:2]
    layers: dict[str, LayerTrace] = {}
    for p in program.network.populations:
        shape = (samples, steps, *p.shape)
        spikes, v, u = (stored[f"{p.name}.{k}"].reshape(shape) for k in ("spikes", "v", "u"))
        layers[p.name] = LayerTrace(spikes, {"u": u, "v": v})
    events = {k: _events(x) for k, x in inputs.items()}
    events |= {k: _events(layer.spikes) for k, layer in layers.items()}
    outputs = answers(program, {name: layer.spikes for name, layer in layers.items()})
    return Trace(outputs, events, layers, program.phase, program.depth, seconds, on)


def _events(x: NDArray[Any]) -> NDArray[np.int64]:
    return np.count_nonzero(x.reshape(*x.shape[:2], -1), axis=0).astype(np.int64)
