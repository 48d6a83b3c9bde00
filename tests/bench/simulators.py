"""How fast the exact engine is, as ratios to the definition and to Lava (``make bench``).

Each ratio is of two things run in turn in one process (Lava in its own), the median of 5 rounds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from nets import DT, LOIHI2, images, lif, residual

from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine, lava
from snn2hw.ir.network import Conv2d, Input, Network, Output
from snn2hw.ir.synapses import Conv
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate import delivery
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


def conv_or_sparse(into: int, out: int) -> str:
    """Compare Lava's two ways to run a 3 x 3 convolution on 16 x 16 images."""
    r = np.random.default_rng(0)
    first = Conv(r.normal(0, 0.5, (into, 1, 1, 1)), (1, 16, 16))
    second = Conv(r.normal(0, 0.3, (out, into, 3, 3)), first.output_shape, padding=(1, 1))
    nodes = {
        "input": Input((1, 16, 16)),
        "conv1": Conv2d(first, np.full(into, 0.2)),
        "lif1": lif(first.output_shape),
        "conv2": Conv2d(second, np.zeros(out)),
        "lif2": lif(second.output_shape),
        "output": Output(second.output_shape),
    }
    program = compile_network(Network(nodes, tuple(pairwise(nodes)), DT, 8), LOIHI2)
    x = {"input": (r.random((16, 8, 1, 16, 16)) < 0.3).astype(int)}
    took: dict[str, list[float]] = {"conv": [], "sparse": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.h5"
        program_file.write(path, program)
        for _ in range(ROUNDS):
            for mode, seconds_ in took.items():
                done = lava.run(program, x, program_file=path, conv=mode)
                seconds_.append(done.trace.seconds)
    ratio = statistics.median(s / c for s, c in zip(took["sparse"], took["conv"], strict=True))
    return f"Lava Sparse / Conv, {into * out:3} channel pairs     {ratio:8.2f} x"


def runs_or_columns(channels: int, side: int, density: float) -> str:
    """Compare the engine's two ways to deliver spikes through a 3 x 3 convolution."""
    r = np.random.default_rng(0)
    shape = (channels, channels, 3, 3)
    weight = r.integers(1, 127, shape) * (r.random(shape) < density)
    conv = Conv(weight.astype(np.int32), (channels, side, side), padding=(1, 1))
    sent = (r.random((4, 4, channels * side * side)) < 0.2).astype(np.int32)
    arrived = np.zeros(sent.shape, np.int64)
    ways = (delivery.kernel(conv), delivery.columns(conv))

    def round_() -> list[float]:
        return [
            seconds(lambda way=way: delivery.deliver(sent, way, 0, 0, (0, 4), arrived))
            for way in ways
        ]

    round_()  # compiles
    ratio = statistics.median(c / k for k, c in (round_() for _ in range(ROUNDS)))
    return f"engine, columns / runs, {channels} channels, {density:4.0%} there {ratio:8.2f} x"


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
        lava.ENVIRONMENT.install()
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(seconds(lambda: engine.run(program, many)))
            theirs.append(lava.run(program, many, program_file=path).trace.seconds)
    lines.append(row("Lava (run only) / engine, 64 samples", ours, theirs, 64))
    lines += [conv_or_sparse(into, out) for into, out in ((1, 8), (4, 4), (4, 8), (8, 8), (16, 16))]
    lines += [
        runs_or_columns(channels, side, density)
        for channels, side in ((16, 32), (64, 8))
        for density in (1.0, 0.25, 0.125, 0.05)
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
