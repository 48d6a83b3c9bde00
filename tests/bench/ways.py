"""Where one way to do a thing becomes faster than another: what the engines' constants are from.

Times are the processor's, of one thread, the least of some rounds.

  python tests/bench/ways.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from unittest.mock import patch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numba
import numpy as np
import programs
import xylo_nets

from snn2hw.families.loihi import engine as loihi
from snn2hw.families.loihi import lava
from snn2hw.families.xylo import engine as xylo
from snn2hw.ir.synapses import Conv, Dense, Synapses, sizes
from snn2hw.simulate import delivery
from snn2hw.simulate.batches import Workspace
from snn2hw.simulate.events import listed
from snn2hw.store import program as program_file

ROUNDS = 9
STEPS = 32


def least(work: Callable[[], object]) -> float:
    """Return the processor's microseconds."""
    work()
    found = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return 1e6 * min(found)


def layers(density: float = 1.0) -> dict[str, tuple[Synapses, int]]:
    """Return layers of several shapes, and the channels of a place before them."""
    r = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        drawn = r.integers(1, 64, shape) * r.choice([-2, 2], shape)
        return (drawn * (r.random(shape) < density)).astype(np.int32)

    return {
        "784 to 512": (Dense(weight(512, 784)), 784),
        "3x3, 1 to 32, 28x28": (Conv(weight(32, 1, 3, 3), (1, 28, 28), (2, 2), (1, 1)), 1),
        "3x3, 32 to 64, 14x14": (Conv(weight(64, 32, 3, 3), (32, 14, 14), (2, 2), (1, 1)), 32),
        "3x3, 512 to 512, 4x4": (Conv(weight(512, 512, 3, 3), (512, 4, 4), padding=(1, 1)), 512),
    }


def delivered(way: delivery.Way, size: int, channels: int, post: int, rate: float) -> float:
    r = np.random.default_rng(1)
    sent = (r.random((1, STEPS, size)) < rate).astype(np.int8)
    space, arrived = Workspace(), np.zeros((1, STEPS, post), np.int32)
    events = listed(sent, channels, True, (0, STEPS), space, "x")
    return least(lambda: delivery.deliver(events, way, 0, arrived, 0, True, space))


def gathered_or_scattered() -> None:
    print("scattered / gathered, and what is taken, by the share of neurons that spike:")
    for name, (synapses, channels) in layers().items():
        post, size = sizes(synapses)
        way = delivery.way_of(synapses, channels, _behind(synapses))
        cells = []
        for rate in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2):
            times = {}
            for gather, price in ((True, -1.0), (False, np.inf)):
                with patch.object(delivery, "A_PLACE", price):
                    times[gather] = delivered(way, size, channels, post, rate)
            r = np.random.default_rng(1)
            sent = (r.random((1, STEPS, size)) < rate).astype(np.int8)
            events = listed(sent, channels, True, (0, STEPS), Workspace(), "x")
            taken = "g" if delivery._crowded(events, way) else "s"
            cells.append(f"{100 * rate:g} %: {times[False] / times[True]:.2f} {taken}")
        print(f"  {name:<22} {', '.join(cells)}")


def rows_or_columns() -> None:
    print("single synapses / rows, at 10 % spikes, by the share of weights that are not zero:")
    found: dict[str, list[str]] = {}
    for density in (0.25, 0.125, 0.0625, 0.03):
        for name, (synapses, channels) in layers(density).items():
            post, size = sizes(synapses)
            behind = _behind(synapses)
            with patch.object(delivery, "RUN_COSTS", 1e9):
                rows = delivery.way_of(synapses, channels, behind)
            columns = delivery.columns(synapses, channels, behind)
            ratio = delivered(columns, size, channels, post, 0.1) / delivered(
                rows, size, channels, post, 0.1
            )
            found.setdefault(name, []).append(f"{100 * density:g} %: {ratio:.2f}")
    for name, cells in found.items():
        print(f"  {name:<22} {', '.join(cells)}")


def _behind(synapses: Synapses) -> int:
    return len(synapses.weight) if isinstance(synapses, Conv) else sizes(synapses)[0]


def memory_of_a_thread() -> None:
    print("microseconds a sample by the clock, all threads, by MiB of working arrays of a thread:")
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for net, samples in ((programs.mlp(), 512), (programs.conv(), 64), (programs.resnet18(), 8)):
        x = programs.spikes(net, samples, 0.1)
        program = net.at_rate(x[:4], 0.1)
        cells = []
        for size in (1, 2, 4, 8, 16, 32):
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                loihi.run(program, {"input": x}, memory=size << 20)
                times.append(time.perf_counter() - began)
            cells.append(f"{size}: {1e6 * min(times) / samples:,.0f}")
        print(f"  {net.name:<22} {', '.join(cells)}")
    numba.set_num_threads(1)


def ranges_of_xylo() -> None:
    print("Xylo, single synapses / whole ranges, by the targets of each source among 63:")
    cells = []
    for each in (2, 4, 8, 16, 63):
        program = xylo_nets.recurrent(each=each)
        (port,) = program.network.inputs
        r = np.random.default_rng(1)
        x = (r.random((64, program.network.time_steps, port.size)) < 0.2).astype(np.uint8)
        times = []
        for limit in (0, 10**9):
            xylo._plans.clear()
            with patch.object(xylo, "WHOLE_FROM", limit):
                times.append(least(lambda p=program, x=x, n=port.name: xylo.run(p, {n: x})))
        cells.append(f"{each}: {times[0] / times[1]:.2f}")
    print(f"  {', '.join(cells)}")


def rows_or_products() -> None:
    import torch
    from torch.nn import functional

    from snn2hw.train import dense
    from snn2hw.train.memory import kept_memory

    torch.set_num_threads(1)
    print("a training step's dense layer (listed, forward, gradient of the weights), rows /")
    print("products, of 3,200 rows, by the share of ones:")
    torch.manual_seed(0)
    for into, out in ((784, 512), (512, 512), (256, 256), (128, 128), (1024, 1024), (2048, 512)):
        weight = torch.randn(out, into, requires_grad=True)
        bias, grad = torch.zeros(out, requires_grad=True), torch.randn(3200, out)
        cells = []
        for share in (0.02, 0.05, 0.1, 0.2, 0.25, 0.3):
            x = (torch.rand(3200, into) < share).float()

            def rows(x=x, weight=weight, bias=bias, grad=grad) -> None:
                ones = dense.ones_of(x, 1.0)
                dense._Linear.apply(x, weight, bias, ones).backward(grad)

            def product(x=x, weight=weight, bias=bias, grad=grad) -> None:
                functional.linear(x, weight, bias).backward(grad)

            with kept_memory():
                cells.append(f"{100 * share:g} %: {least(rows) / least(product):.2f}")
        print(f"  {f'{into} to {out}':<22} {', '.join(cells)}")


def conv_or_sparse() -> None:
    print("Lava's Sparse / Conv, 3 x 3 on 16 x 16 images, by pairs of channels:")
    cells = []
    for into, out in ((1, 8), (4, 4), (4, 8), (8, 8), (16, 16)):
        net = programs.Net("pairs", (into, 16, 16), 8)
        net.conv("input", "conv", out)
        x = programs.spikes(net, 16, 0.3)
        program = net.program([200])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "program.h5"
            program_file.write(path, program)
            ratios = []
            for _ in range(5):
                took = [
                    lava.run(program, {"input": x}, program_file=path, conv=mode).trace.seconds
                    for mode in ("sparse", "conv")
                ]
                ratios.append(took[0] / took[1])
        cells.append(f"{into * out}: {median(ratios):.2f}")
    print(f"  {', '.join(cells)}")


def main() -> None:
    numba.set_num_threads(1)
    gathered_or_scattered()
    rows_or_columns()
    rows_or_products()
    ranges_of_xylo()
    memory_of_a_thread()
    lava.ENVIRONMENT.install()
    conv_or_sparse()


if __name__ == "__main__":
    main()
