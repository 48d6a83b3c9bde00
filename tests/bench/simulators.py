"""How fast exact simulation is: against the vendors' simulators, and against itself.

Start-up is in neither time: Lava's clock runs from its second step on, and our kernels are
compiled. What is compared is compared bit for bit first.

  python tests/bench/simulators.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
import programs
import xylo_nets
from nets import LOIHI1, images, residual
from turns import Row, clock, in_turn, table

from snn2hw import families
from snn2hw.families.loihi import definition, engine, lava, nengo_loihi
from snn2hw.families.xylo import xylosim
from snn2hw.ir.program import Program
from snn2hw.pipeline import counting
from snn2hw.pipeline.compiler import compile_network
from snn2hw.store import program as program_file

INPUT = 0.2  # of the inputs spike in a step


@contextmanager
def stored(program: Program) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.h5"
        program_file.write(path, program)
        yield path


def vendor_row(
    what: str, program: Program, x: np.ndarray, simulator, few: int, aim: str, *, alone=False,
    **how,
) -> Row:  # fmt: skip
    """Compare times a sample: the vendor's of a few samples, ours of all, or of one at a time."""
    (port,) = program.network.inputs
    run = families.of(program.target).run
    inputs, some = {port.name: x}, {port.name: x[:few]}
    with stored(program) as path:

        def theirs() -> float:
            return simulator.run(program, some, program_file=path, **how).trace.seconds / few

        def ours() -> float:
            if not alone:
                return clock(lambda: run(program, inputs)) / len(x)
            each = [{port.name: x[i : i + 1]} for i in range(len(x))]
            return clock(lambda: [run(program, one) for one in each]) / len(x)

        trace = simulator.run(program, some, program_file=path, **how).trace
        mine = run(program, some, spikes=True)
        equal = [(mine.layers[k].spikes == v.spikes).all() for k, v in trace.layers.items()]
        if not all(equal):
            raise SystemExit(f"{what}: the spikes differ")
        count = sum(v.spikes.size for v in trace.layers.values())
        ours()
        return in_turn(
            what, theirs, ours, (simulator.ENVIRONMENT.title.split()[0], "ours"), aim=aim,
            checked=f"{count:,} spikes of all layers equal",
        )  # fmt: skip


def against_lava() -> Iterator[Row]:
    net = programs.mlp()
    x = programs.spikes(net, 512, INPUT)
    for rate, aim in ((0.02, ">= 400"), (0.2, ">= 400"), (0.3, ">= 250")):
        program = net.at_rate(x[:4], rate)
        name = f"MLP, hidden layers at {100 * rate:.0f} %"
        yield vendor_row(f"{name}, batches", program, x, lava, 32, aim)
        if rate == 0.02:
            yield vendor_row(f"{name}, one at a time", program, x, lava, 32, ">= 60", alone=True)
    net = programs.conv()
    x = programs.spikes(net, 128, INPUT)
    program = net.at_rate(x[:4], 0.1)
    yield vendor_row("conv at 10 %, Lava's Conv", program, x, lava, 2, ">= 1000", conv="conv")
    yield vendor_row("conv at 10 %, unrolled for Lava's Sparse", program, x, lava, 8, "",
                     conv="sparse")  # fmt: skip


def large_against_lava() -> Iterator[Row]:
    """Compare one sample of a ResNet-18, once: Lava's takes four minutes, its start among them."""
    net = programs.resnet18()
    x = programs.spikes(net, 4, 0.1)
    program = net.at_rate(x, 0.1)
    (port,) = program.network.inputs
    with stored(program) as path:
        one = {port.name: x[:1]}
        trace = lava.run(program, one, program_file=path, conv="sparse").trace
    mine = engine.run(program, one, spikes=True)
    if not all((mine.layers[k].spikes == v.spikes).all() for k, v in trace.layers.items()):
        raise SystemExit("ResNet-18: the spikes differ")
    count = sum(v.spikes.size for v in trace.layers.values())
    yield in_turn(
        "ResNet-18 at 10 %, unrolled for Lava's Sparse (Lava ran once)",
        lambda: trace.seconds, lambda: clock(lambda: engine.run(program, {port.name: x})) / len(x),
        ("lava", "ours"), aim=">= 500", checked=f"{count:,} spikes of all layers equal",
    )  # fmt: skip


def against_others() -> Iterator[Row]:
    net = programs.mlp(target=LOIHI1)
    x = programs.spikes(net, 128, INPUT)
    program = net.at_rate(x[:4], 0.1)
    yield vendor_row("Loihi 1: MLP at 10 %", program, x, nengo_loihi, 2, ">= 100")
    program = xylo_nets.recurrent()
    (port,) = program.network.inputs
    r = np.random.default_rng(1)
    x = (r.random((256, program.network.time_steps, port.size)) < INPUT).astype(np.uint8)
    yield vendor_row("Xylo Audio 2: 16-63-63-8, recurrent", program, x, xylosim, 16, ">= 50")


def against_itself() -> Iterator[Row]:
    for net, samples in ((programs.mlp(), 512), (programs.conv(), 64), (programs.resnet18(), 4)):
        times = []
        for rate in (0.01, 0.1):
            x = programs.spikes(net, samples, rate)
            program = net.at_rate(x[:4], rate)
            times.append(lambda p=program, x=x: clock(lambda: engine.run(p, {"input": x})) / len(x))
            times[-1]()
        name = net.name
        yield in_turn(f"{name}: 1 % / 10 % of input and layers", *times, ("1 %", "10 %"),
                      aim="<= 0.33")  # fmt: skip
        # The same network, and what is counted for its bill beside.
        yield in_turn(
            f"{name} at 10 %: with the counts of the bill / without",
            lambda p=program, x=x: clock(lambda: counting.run(p, {"input": x})),
            lambda p=program, x=x: clock(lambda: engine.run(p, {"input": x})),
            ("with", "without"), aim="<= 1.15",
        )  # fmt: skip
    program = compile_network(residual(channels=8, side=16, steps=8), programs.LOIHI2)
    x = images(program.network, samples=2)
    engine.run(program, x)
    yield in_turn(
        "definition / engine, 2 samples",
        lambda: clock(lambda: definition.run(program, x)),
        lambda: clock(lambda: engine.run(program, x)), ("definition", "engine"),
    )  # fmt: skip


MANY = """
import sys; sys.path[:0] = {paths!r}
from pathlib import Path
import programs
from snn2hw.families.loihi import engine
net = programs.mlp()
program = net.at_rate(programs.spikes(net, 4, {rate}), 0.02)
x = programs.spikes(net, {samples}, {rate})
print(engine.run(program, {{"input": x}}).samples)
# Not what getrusage says: that begins with the peak of the process that started this one.
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) / 1024)
"""


def memory() -> list[str]:
    """Return the peak memory of a process that runs 10,000 samples of the MLP."""
    script = MANY.format(paths=sys.path[:2], rate=INPUT, samples=10_000)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    samples, peak = done.stdout.split()
    return [f"Peak memory of {int(samples):,} samples through the MLP, with Python and the samples "
            f"(32 steps of 784 bytes each): {float(peak):.0f} MiB (aim: under 500)."]  # fmt: skip


def rows() -> Iterator[Row]:
    yield from against_lava()
    yield from against_others()
    yield from against_itself()


def main() -> None:
    sys.stdout.write("\n".join([*table(list(rows())), "", *memory()]) + "\n")


if __name__ == "__main__":
    main()
