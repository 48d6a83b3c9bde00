"""One training step of ours, as a ratio of the same step in plain PyTorch; writes its page.

The networks: ``conv`` 1x28x28, 32 channels 3x3, averages of 2x2, 64 channels 3x3, averages, 256, 10
classes; ``mlp`` 784-512-512-10. Leaky neurons with decay 0.5, threshold 1, reset by subtraction and
the arctangent's surrogate; the output is the mean current of the last layer. A fifth of the inputs
are spikes, float32, Adam. Plain PyTorch is hand-written: time folded into the batch for
convolutions and dense layers, a loop in the neuron alone, nothing compiled; ``torch.compile`` is
the same with the neuron compiled, the best of the other libraries within a few percent. Ours is a
student as ``snn2hw distill`` trains it. Each way runs in a process of its own, in turn with the
others; a ratio is the median over rounds, of the processor's time.

  python tests/bench/training.py               # writes docs/results/training.md and .json
  python tests/bench/training.py --cases mlp:25:128 --ways plain ours --no-page
  python tests/bench/training.py --where       # where the time of our step goes, in float32
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))

RESULTS = Path(__file__).parents[2] / "docs" / "results"
CASES = ("conv:4:32", "conv:16:32", "mlp:25:128")  # network, time steps, samples of a batch
AIMS = {"ours": (0.40, 0.42, 0.60), "ours, bf16-mixed": (0.30, 0.32, 0.40)}
WAYS = ("plain", "torch.compile", "ours", "ours, bf16-mixed")
ROUNDS, INNER = 9, 3
HIDDEN = {"conv": 256, "mlp": 512}
GAIN = 4.0  # on PyTorch's initial weights, so that every layer spikes
TEXT = """# Training

    python tests/bench/training.py

measured this page with {threads} thread on {processor} (PyTorch {torch}) in {minutes:.0f} minutes:
one training step (forward, backward, Adam) as a ratio of the same step in hand-written PyTorch with
time folded into the batch. Each way runs in a process of its own, {inner} steps in turn with the
others, {rounds} rounds; ratios are of the processor's time, medians with the lowest and the
highest.
Losses and gradients of the ways in float32 were compared before the clock ran. Memory is the peak
of the process, and what it holds before the first step (its packages, the weights, the samples).
Where the time goes is told in [performance](../performance.md).

"""


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-page", action="store_true")
    parser.add_argument("--where", action="store_true")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.worker:
        work(*asked.worker)
        return
    if asked.where:
        print("\n".join(where(asked.cases)))
        return
    began = time.time()
    rows = [r for case in asked.cases for r in measure(case, asked)]
    lines = table(rows)
    print("\n".join(lines))
    if not asked.no_page:
        from speed import processor

        head = TEXT.format(
            threads=asked.threads, processor=processor(), torch=torch.__version__,
            minutes=(time.time() - began) / 60, inner=INNER, rounds=asked.rounds,
        )  # fmt: skip
        (RESULTS / "training.md").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
        told = json.dumps(rows, indent=1) + "\n"
        (RESULTS / "training.json").write_text(told, encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Write rows as a Markdown table."""
    lines = [
        "| network, T, batch | way | ratio | of rounds | ms a step | peak MiB | before | aim |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        aim = "" if r["aim"] is None else f"{r['aim']:.2f}"
        lines.append(
            f"| {r['case'].replace(':', ', ')} | {r['way']} | {r['ratio']:.2f} | "
            f"{r['low']:.2f} to {r['high']:.2f} | {r['ms']:.1f} | {r['peak']:.0f} | "
            f"{r['before']:.0f} | {aim} |"
        )
    return lines


# --- The parent ------------------------------------------------------------------------------


class Worker:
    """A process that trains one way, step by step, when it is told to."""

    def __init__(self, way: str, case: str, threads: int) -> None:
        command = [sys.executable, __file__, "--threads", str(threads), "--worker", way, case]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, what: str) -> Any:
        """Say a line, and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A worker ended: {self.process.args}")
        return json.loads(line)


def measure(case: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each way."""
    ways = ["plain", *(w for w in asked.ways if w != "plain")]
    workers = {way: Worker(way, case, asked.threads) for way in ways}
    firsts = {way: worker.ask("first") for way, worker in workers.items()}
    for way, first in firsts.items():
        if "bf16" not in way:
            compare(way, first, firsts["plain"])
    for worker in workers.values():
        worker.ask("run")
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(asked.rounds):
        at = turn % len(ways)
        for way in ways[at:] + ways[:at]:
            times[way].append(workers[way].ask("run"))
    peaks = {way: worker.ask("end") for way, worker in workers.items()}
    rows = []
    for way in ways:
        ratios = [a / b for a, b in zip(times[way], times["plain"], strict=True)]
        aim = AIMS[way][CASES.index(case)] if way in AIMS and case in CASES else None
        rows.append({
            "case": case, "way": way, "ratio": statistics.median(ratios), "low": min(ratios),
            "high": max(ratios), "ms": 1000 * statistics.median(times[way]), "aim": aim,
            "before": firsts[way]["before"], "peak": peaks[way],
        })  # fmt: skip
    return rows


def compare(way: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Stop if the loss or a layer's gradient is another than that of plain PyTorch."""
    for one, two in zip([found["loss"], *found["norms"]], [wanted["loss"], *wanted["norms"]],
                        strict=True):  # fmt: skip
        if not math.isclose(one, two, rel_tol=1e-2):  # a sum in another order moves a few spikes
            raise SystemExit(f"{way}: {found}, not {wanted}")


# --- The ways ----------------------------------------------------------------------------------


def work(way: str, case: str) -> None:
    """Answer the parent: ``first``, ``run`` or ``end`` on each line."""
    net, steps, batch = case.split(":")
    x, y = samples(net, int(steps), int(batch))
    if way.startswith("ours"):
        from snn2hw.train.memory import kept_memory

        model, step = ours(net, x, y, bf16="bf16" in way)
        memory = kept_memory()
    else:
        model, step = plain(net, x, y, compiled=way == "torch.compile")
        memory = nullcontext()
    before = resident("VmRSS")
    with memory:
        for line in sys.stdin:
            match line.strip():
                case "first":
                    loss = float(step())
                    weights = [p for p in model.parameters() if p.ndim > 1]
                    norms = [float(p.grad.norm()) for p in weights if p.grad is not None]
                    answer: Any = {"loss": loss, "norms": norms, "before": before}
                case "run":
                    began = time.process_time()
                    for _ in range(INNER):
                        step()
                    answer = (time.process_time() - began) / INNER
                case _:
                    answer = resident("VmHWM")
            print(json.dumps(answer), flush=True)


def resident(what: str) -> float:
    """Return the memory of this process, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(what)) / 1024


def samples(net: str, steps: int, batch: int) -> tuple[Tensor, Tensor]:
    """Return random spikes ``[B, T, 1, 28, 28]`` and labels ``[B]``."""
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(batch, steps, 1, 28, 28, generator=generator) < 0.2).float()
    return x, torch.randint(0, 10, (batch,), generator=generator)


def layers(net: str) -> list[nn.Conv2d | nn.Linear]:
    """Return the layers with their first weights."""
    torch.manual_seed(0)
    hidden = HIDDEN[net]
    made: list[nn.Conv2d | nn.Linear] = (
        [nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1),
         nn.Linear(64 * 7 * 7, hidden), nn.Linear(hidden, 10)]
        if net == "conv"
        else [nn.Linear(784, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 10)]
    )  # fmt: skip
    for layer in made:
        nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
        with torch.no_grad():
            layer.weight.mul_(GAIN)
    return made


class Arctangent(torch.autograd.Function):
    """A spike at the threshold, whose derivative is that of an arctangent."""

    @staticmethod
    def forward(ctx: Any, above: Tensor) -> Tensor:
        ctx.save_for_backward(above)
        return (above > 0).to(above.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (above,) = ctx.saved_tensors
        return grads[0] / (1 + (math.pi * above) ** 2)


def neurons(current: Tensor) -> Tensor:
    """Run neurons over ``[T, B, ...]``, as one writes them down."""
    v = torch.zeros_like(current[0])
    spikes = []
    for i in current.unbind(0):
        v = 0.5 * v + i
        s = Arctangent.apply(v - 1.0)
        v = v - s.detach()
        spikes.append(s)
    return torch.stack(spikes)


class Plain(nn.Module):
    """Time is folded into the batch but in the neurons."""

    def __init__(self, net: str, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers, self.run = nn.ModuleList(layers(net)), run

    def forward(self, x: Tensor) -> Tensor:
        """Map spikes ``[T, B, 1, 28, 28]`` to ``[B, 10]``."""
        shape, x = x.shape[:2], x.flatten(0, 1)
        *hidden, last = self.layers
        for layer in hidden:
            current = layer(x.flatten(1) if isinstance(layer, nn.Linear) else x)
            x = self.run(current.unflatten(0, shape)).flatten(0, 1)
            if isinstance(layer, nn.Conv2d):
                x = functional.avg_pool2d(x, 2)
        return last(x.unflatten(0, shape).mean(0))


def plain(
    net: str, x: Tensor, y: Tensor, *, compiled: bool
) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Return the model and a step of hand-written PyTorch."""
    model = Plain(net, torch.compile(neurons) if compiled else neurons)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x = x.transpose(0, 1).contiguous()

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return model, step


def ours(net: str, x: Tensor, y: Tensor, *, bf16: bool) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Return a student and a step, as the training loop takes it."""
    from snn2hw.train.evaluation import placed
    from snn2hw.train.students import chains
    from snn2hw.train.students.wiring import Neuron, Settings, Synapse

    neuron = Neuron(0.5, 0.0, "subtract", "atan")
    settings = Settings((1, 28, 28), 10, 1, x.shape[1], neuron, readout="membrane", norm="none")
    student = (
        chains.pooled_cnn(settings, (32, 64, 256))
        if net == "conv"
        else chains.mlp(settings, (512, 512))
    )
    synapses = [m for m in student.modules() if isinstance(m, Synapse)]
    with torch.no_grad():
        for synapse, layer in zip(synapses, layers(net), strict=True):
            synapse.weight.weight.copy_(layer.weight)
            synapse.weight.bias = nn.Parameter(layer.bias.detach().clone())
    model = placed(student, torch.device("cpu"))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    low = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with low:
            loss = functional.cross_entropy(model(x).float() / x.shape[1], y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return model, step


PARTS = {
    "products": ("aten::convolution_backward", "aten::mkldnn_convolution", "aten::mm",
                 "aten::addmm"),
    "rows of dense layers": ("_Linear", "_LinearBackward"),
    "neurons and averages": ("_LifFunction", "_LifFunctionBackward"),
    "optimizer": ("aten::_fused_adam_", "Optimizer.step#Adam.step"),
}  # fmt: skip


def where(cases: Sequence[str]) -> list[str]:
    """Return a table of the milliseconds of a step by what they are spent on."""
    from torch.profiler import ProfilerActivity, profile

    from snn2hw.train.memory import kept_memory

    found: dict[str, list[float]] = {part: [] for part in (*PARTS, "the rest", "all")}
    for case in cases:
        net, steps, batch = case.split(":")
        _, step = ours(net, *samples(net, int(steps), int(batch)), bf16=False)
        with kept_memory():
            for _ in range(INNER):
                step()
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                for _ in range(ROUNDS):
                    step()
        times = {e.key: e.self_cpu_time_total / 1000 / ROUNDS for e in seen.key_averages()}
        spent = {part: sum(times.pop(k, 0.0) for k in keys) for part, keys in PARTS.items()}
        rest = sum(times.values())
        for part, ms in (*spent.items(), ("the rest", rest), ("all", rest + sum(spent.values()))):
            found[part].append(ms)
    head = f"| ms a step | {' | '.join(c.replace(':', ', ') for c in cases)} |"
    rows = [f"| {part} | {' | '.join(f'{x:.1f}' for x in row)} |" for part, row in found.items()]
    return [head, f"| --- |{' ---: |' * len(cases)}", *rows]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
