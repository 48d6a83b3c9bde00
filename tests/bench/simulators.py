"""How fast the exact engine is, as ratios to the definition and to Lava (``make bench``).

Each ratio is of two things run in turn in one process (Lava in its own), the median of 5 rounds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from nets import LOIHI2, images, residual

from snn2hw.pipeline.compiler import compile_network
from snn2hw.runtime import lava
from snn2hw.simulate import engine, reference
from snn2hw.store import program as program_file

ROUNDS = 5


def seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def row(name: str, ours: list[float], theirs: list[float], samples: int) -> str:
    ratio = statistics.median(t / o for o, t in zip(ours, theirs, strict=True))
    each = 1e3 * statistics.median(ours) / samples
    return f"{name:<34} {ratio:8.1f} x   engine {each:.3f} ms a sample"


def main() -> None:
    program = compile_network(residual(channels=8, side=16, steps=8), LOIHI2)
    few, many = images(program.network, samples=2), images(program.network, samples=64)
    engine.run(program, few)  # compiles
    ours, definition = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: engine.run(program, few)))
        definition.append(seconds(lambda: reference.run(program, few)))
    lines = [row("definition / engine, 2 samples", ours, definition, 2)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.h5"
        program_file.write(path, program)
        lava.install()
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(seconds(lambda: engine.run(program, many)))
            theirs.append(lava.run(program, many, program_file=path).trace.seconds)
    lines.append(row("Lava (run only) / engine, 64 samples", ours, theirs, 64))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
