"""Fidelity, counted: random networks, value by value, and what occurred in them.

    python tests/fidelity/sweep.py

compares the definition with the fast engine on 1,000 networks and with real Lava on the first 100
of them, and writes ``docs/results/fidelity.md``.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from nets import images, random_program

from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine, lava
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Conv
from snn2hw.ir.trace import Trace
from snn2hw.simulate import compare
from snn2hw.store import program as program_file

NETWORKS, IN_LAVA = 1000, 100
PAGE = Path(__file__).parents[2] / "docs/results/fidelity.md"
# By group, what must occur; a synapse's property counts if events came through within the sample.
FEATURES = {
    "synapses": [
        "dense", "sparse", "convolution", "stride", "padding", "dilation", "groups",
        "excitatory", "inhibitory", "both signs", "all zero",
    ],
    "exponents": [f"exponent {e}" for e in range(-8, 8)],
    "graph": [
        "several inputs", "graded input", "branches that sum", "layer deeper than the output",
        "sample shorter than the depth", "spike through a loop of one layer",
        "spike through a loop of several layers", "delay in the sample's time",
        "delay of 63 chip steps", "graded input with a delay",
    ],
    "states": [
        "u wraps at 24 bits", "a sum wraps at 32 bits", "v saturates above", "v saturates below",
        "no decay of u", "no memory in u", "no decay of v", "no memory in v",
    ],
}  # fmt: skip
Simulator = Callable[[Program, Mapping[str, np.ndarray]], Trace]


@dataclass
class Count:
    """What a sweep compared: by ``u``, ``v`` and ``spikes``, and networks by feature."""

    networks: int = 0
    samples: int = 0
    steps: int = 0
    fired: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    mismatches: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    first: str = ""


def made(seed: int) -> tuple[Program, dict[str, np.ndarray]]:
    """Return network ``seed`` and three samples; half overflow, half have loops and delays."""
    loops, extreme = seed % 2 == 1, seed % 4 > 1
    program = random_program(seed, layers=2 + seed % 5, extreme=extreme, loops=loops)
    return program, images(program.network, samples=3, seed=seed)


def count(seeds: Iterable[int], simulator: Simulator) -> Count:
    """Compare the definition with a simulator on the networks of some seeds."""
    total = Count()
    for seed in seeds:
        program, x = made(seed)
        with watched() as seen:
            ours = reference.run(program, x)
        theirs = simulator(program, x)
        for name, layer in ours.layers.items():
            for what in ("u", "v", "spikes"):
                a, b = layer[what], theirs.layers[name][what]
                total.compared[what] += a.size
                total.mismatches[what] += int((a != b).sum())
        difference = compare.traces(ours, theirs).first
        total.first = total.first or (f"network {seed}: {difference}" if difference else "")
        total.features.update(seen | features(program, ours))
        total.networks += 1
        total.samples += ours.samples
        total.steps += ours.samples * ours.steps
        total.fired += sum(int(layer.spikes.sum()) for layer in ours.layers.values())
    return total


@contextmanager
def watched():
    """Note which edges of the number range the definition meets."""
    seen, plain = set[str](), reference.lif

    def lif(p, state, a, written, n):
        (u, v), one, top = state, 1 << n.decay_bits, 1 << (n.state_bits - 1)
        new, spikes = plain(p, state, a, written, n)
        current = reference.toward_zero(u, one - (p.du + 1), n.decay_bits) + (a << n.state_shift)
        bias = (p.bias + written) << p.bias_exp
        voltage = reference.toward_zero(v, one - p.dv, n.decay_bits) + new[0] + bias
        met = {
            "u wraps at 24 bits": (np.abs(current) > top) & (np.abs(current) < 1 << 31),
            "a sum wraps at 32 bits": np.abs(current) > 1 << 31,
            "v saturates above": voltage >= top,
            "v saturates below": voltage <= -top,
        }
        seen.update(k for k, where in met.items() if where.any())
        return new, spikes

    with patch.object(reference, "lif", lif):
        yield seen


def features(program: Program, trace: Trace) -> set[str]:
    """Return what a network has, as far as something happened there."""
    net = program.network
    fires = [p for p in net.populations if trace.events[p.name].any()]
    live = [
        (c, d)
        for c, d in zip(net.connections, program.delays, strict=True)
        if trace.events[c.pre][: max(0, trace.steps - c.delay)].any()
    ]
    posts = Counter(c.post for c, _ in live)
    has = {
        "several inputs": len(net.inputs) > 1,
        "branches that sum": max(posts.values(), default=0) > 1,
        "layer deeper than the output": program.tail > program.depth,
        "sample shorter than the depth": net.time_steps < program.depth,
        "no decay of u": any(p.du == -1 for p in fires),
        "no memory in u": any(p.du == 4095 for p in fires),
        "no decay of v": any(p.dv == 0 for p in fires),
        "no memory in v": any(p.dv == 4096 for p in fires),
    }
    graded = {p.name for p in net.inputs if p.max_value > 1}
    component = {name: names for names in net.components() for name in names}
    found = {k for k, there in has.items() if there}
    for c, d in live:
        conv = c.synapses if isinstance(c.synapses, Conv) else None
        low, high = c.synapses.weight.min(initial=0), c.synapses.weight.max(initial=0)
        around = c.pre in component[c.post]
        has = {
            "convolution" if conv else c.synapses.kind: True,
            "stride": conv and max(conv.stride) > 1,
            "padding": conv and max(conv.padding) > 0,
            "dilation": conv and max(conv.dilation) > 1,
            "groups": conv and conv.groups > 1,
            "excitatory": low == 0 < high,
            "inhibitory": low < 0 == high,
            "both signs": c.mixed,
            "all zero": low == high,
            f"exponent {c.exponent}": True,
            "graded input": c.pre in graded,
            "graded input with a delay": c.pre in graded and c.delay,
            "spike through a loop of one layer": c.pre == c.post,
            "spike through a loop of several layers": around and c.pre != c.post,
            "delay in the sample's time": c.delay,
            "delay of 63 chip steps": d == 63,
        }
        found |= {k for k, there in has.items() if there}
    return found


def missing(found: Count) -> list[str]:
    """Return the features that never occurred."""
    return [f for group in FEATURES.values() for f in group if not found.features[f]]


def in_engine(program: Program, x: Mapping[str, np.ndarray]) -> Trace:
    """Run in the fast engine."""
    return engine.run(program, x, states=True)


def in_lava(program: Program, x: Mapping[str, np.ndarray]) -> Trace:
    """Run in real Lava."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.h5"
        program_file.write(path, program)
        return lava.run(program, x, program_file=path).trace


def page(ours: Count, theirs: Count) -> str:
    """Write the results as Markdown."""
    columns = (("fast engine", ours), (lava.ENVIRONMENT.title, theirs))
    rows: list[tuple[str, Callable[[Count], int]]] = [
        ("networks", lambda c: c.networks),
        ("samples", lambda c: c.samples),
        ("steps of the samples", lambda c: c.steps),
        *((f"values of {k} compared", lambda c, k=k: c.compared[k]) for k in ("u", "v", "spikes")),
        ("values compared", lambda c: c.compared.total()),
        ("of which are a spike", lambda c: c.fired),
        ("**mismatches**", lambda c: c.mismatches.total()),
    ]
    lines = [
        "# Fidelity: the definition against the fast engine and against Lava",
        "",
        "    make fidelity",
        "",
        "writes this page. `families/loihi/definition.py` defines what the chip computes;",
        "every value of `u`, `v` and spikes, at each step of each sample, is compared with it, bit",
        "for bit. The networks are random (`random_program` in `tests/nets.py`, seeds from 0).",
        f"Lava runs the first {theirs.networks}; `make test` repeats the column of the engine.",
        "",
        "| | " + " | ".join(name for name, _ in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
        *(
            f"| {name} | " + " | ".join(f"{pick(c):,}" for _, c in columns) + " |"
            for name, pick in rows
        ),
    ]
    for c in (ours, theirs):
        lines += ["", f"First difference: {c.first}"] if c.first else []
    lines += [
        "",
        "In how many networks what occurred (for synapses: with events through them):",
        "",
    ]
    lines += ["| | " + " | ".join(name for name, _ in columns) + " |", "| --- |" + " ---: |" * 2]
    for group in FEATURES.values():
        lines += [f"| {f} | {ours.features[f]:,} | {theirs.features[f]:,} |" for f in group]
    versions = [f"{k} {version(k)}" for k in ("snn2hw", "numpy", "numba")]
    python = ".".join(platform.python_version_tuple()[:2])
    lines += [
        "",
        f"Versions: {', '.join(versions)}, Python {python}; {lava.ENVIRONMENT.title} on Python "
        "3.10.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Count, write the page, and fail if a value differs or a feature is missing."""
    lava.ENVIRONMENT.install()
    ours, theirs = count(range(NETWORKS), in_engine), count(range(IN_LAVA), in_lava)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(ours, theirs), encoding="utf-8")
    bad = ours.mismatches.total() + theirs.mismatches.total()
    sys.stdout.write(
        f"{ours.compared.total() + theirs.compared.total():,} values, {bad} mismatches, "
        f"never seen: {missing(ours) or 'nothing'}, in Lava: {missing(theirs) or 'nothing'}\n"
    )
    return int(bool(bad or missing(ours) or missing(theirs)))


if __name__ == "__main__":
    raise SystemExit(main())
