"""Where the time of exact simulation goes: by kernel, in one thread, in microseconds a sample.

python tests/bench/where.py
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent))

import numba
import numpy as np
import programs

from snn2hw.families.loihi import cells, engine
from snn2hw.ir.program import Program
from snn2hw.simulate import delivery, events

KERNELS = {
    "lists of events": [(events, "_list"), (events, "_list_spikes")],
    "rows, gathered": [(delivery, "_gather")],
    "rows, scattered": [(delivery, "_scatter")],
    "single synapses": [(delivery, "_by_columns")],
    "neurons": [(cells, "_lif")],
    "counts of events": [(events, "_count")],
}
ROUNDS = 5


@contextmanager
def watched(times: Counter[str]) -> Iterator[None]:
    """Add up the processor's time of each kernel."""

    def timed(name: str, kernel):  # type: ignore[no-untyped-def]
        def run(*given):  # type: ignore[no-untyped-def]
            began = time.thread_time()
            found = kernel(*given)
            times[name] += time.thread_time() - began
            return found

        return run

    patches = [
        patch.object(module, kernel, timed(name, getattr(module, kernel)))
        for name, kernels in KERNELS.items()
        for module, kernel in kernels
    ]
    for p in patches:
        p.start()
    try:
        yield
    finally:
        for p in patches:
            p.stop()


def shares(program: Program, x: np.ndarray) -> dict[str, float]:
    """Return microseconds a sample by kernel, of the fastest of some rounds."""
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        times: Counter[str] = Counter()
        with watched(times):
            began = time.thread_time()
            engine.run(program, {"input": x})
            times["all"] = time.thread_time() - began
        times["the rest"] = times["all"] - sum(times[k] for k in KERNELS)
        found = {k: 1e6 * times[k] / len(x) for k in (*KERNELS, "the rest", "all")}
        if not best or found["all"] < best["all"]:
            best = found
    return best


def main() -> None:
    numba.set_num_threads(1)
    columns: dict[str, dict[str, float]] = {}
    for net, samples in ((programs.mlp(), 256), (programs.conv(), 64), (programs.resnet18(), 4)):
        for rate in (0.01, 0.1):
            x = programs.spikes(net, samples, rate)
            program = net.at_rate(x[:4], rate)
            engine.run(program, {"input": x})
            columns[f"{net.name}, {100 * rate:.0f} %"] = shares(program, x)
    print(f"| us a sample | {' | '.join(columns)} |")
    print(f"| --- |{' ---: |' * len(columns)}")
    for kernel in (*KERNELS, "the rest", "all"):
        cells_ = (f"{column[kernel]:,.0f}" for column in columns.values())
        print(f"| {kernel} | {' | '.join(cells_)} |")


if __name__ == "__main__":
    main()
