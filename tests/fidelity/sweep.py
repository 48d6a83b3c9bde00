"""Fidelity, counted: random networks of every chip, value by value, and what occurred in them.

    python tests/fidelity/sweep.py

runs each network of ``networks.py`` in the definition and in the fast engine or the simulator of
the chip's vendor, compares every state and every spike of every step, and writes
``docs/results/fidelity.md``.
"""

from __future__ import annotations

import multiprocessing
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from importlib.metadata import version
from operator import add
from pathlib import Path

if __name__ == "__main__":
    sys.path[:1] = [str(Path(__file__).parents[1])]  # this folder holds no modules to import

from fidelity.networks import SWEEPS, Inputs, Part, Sweep

from snn2hw import families
from snn2hw.ir.program import Program
from snn2hw.ir.trace import Trace
from snn2hw.simulate import compare
from snn2hw.store import program as program_file

PAGE = Path(__file__).parents[2] / "docs/results/fidelity.md"
ENGINE = "fast engine"
Simulator = Callable[[Program, Inputs], Trace]


@dataclass(slots=True)
class Count:
    """What was compared: networks by feature, and the first value that differed."""

    networks: int = 0
    samples: int = 0
    steps: int = 0
    fired: int = 0
    compared: int = 0
    mismatches: int = 0
    features: Counter[str] = field(default_factory=Counter[str])
    first: str = ""

    def __add__(self, other: Count) -> Count:
        return Count(
            self.networks + other.networks, self.samples + other.samples, self.steps + other.steps,
            self.fired + other.fired, self.compared + other.compared,
            self.mismatches + other.mismatches, self.features + other.features,
            self.first or other.first,
        )  # fmt: skip


def in_engine(program: Program, x: Inputs) -> Trace:
    """Run in the fast engine."""
    return families.of(program.target).run(program, x, states=True)


def in_vendor(name: str) -> Simulator:
    """Return what runs a program in a vendor's simulator, from ``program.h5``."""

    def run(program: Program, x: Inputs) -> Trace:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "program.h5"
            program_file.write(path, program)
            vendor = families.simulators(program.target)[name]
            return vendor.run(program, x, program_file=path, vendor_file=None).trace

    return run


def one(sweep: Sweep, seed: int, samples: int, simulator: Simulator) -> Count:
    """Compare the definition with a simulator on one network."""
    program, x = sweep.made(seed, samples)
    with sweep.watched() as seen:
        ours = families.of(program.target).define(program, x)
    theirs = simulator(program, x)
    found = compare.traces(ours, theirs)
    cut = [k for k, a in ours.outputs.items() if (a.spikes != theirs.outputs[k].spikes).any()]
    first = found.first or (f"outputs {', '.join(cut)} differ" if cut else None)
    return Count(
        networks=1,
        samples=ours.samples,
        steps=ours.samples * ours.steps,
        fired=sum(int((layer.spikes != 0).sum()) for layer in ours.layers.values()),
        compared=found.compared,
        mismatches=found.mismatches + len(cut),
        features=Counter(seen | sweep.features(program, x, ours)),
        first=f"network {seed}: {first}" if first else "",
    )


def count(sweep: Sweep, part: Part, simulator: Simulator) -> Count:
    """Compare the definition with a simulator on networks 0, 1, ..."""
    return total(one(sweep, seed, part.samples, simulator) for seed in range(part.networks))


def total(counts: Iterable[Count]) -> Count:
    """Add counts up."""
    return reduce(add, counts, Count())


def missing(sweep: Sweep, found: Count) -> list[str]:
    """Return the features that never occurred."""
    return [f for group in sweep.groups.values() for f in group if not found.features[f]]


def task(place: int, on_vendor: bool, seed: int) -> Count:
    """Do what a process is asked for: one network of a sweep."""
    sweep = SWEEPS[place]
    part = sweep.theirs if on_vendor else sweep.ours
    return one(sweep, seed, part.samples, in_vendor(sweep.vendor) if on_vendor else in_engine)


def counted() -> list[tuple[Count, Count]]:
    """Run all sweeps: for each what the engine computed, and what the vendor's simulator did."""
    found: list[tuple[Count, Count]] = []
    spawned = multiprocessing.get_context("spawn")
    for place, sweep in enumerate(SWEEPS):
        columns: list[Count] = []
        for on_vendor, part in ((False, sweep.ours), (True, sweep.theirs)):
            told = f"{sweep.title}, {title(sweep) if on_vendor else ENGINE}"
            n, so_far = part.networks, Count()
            with ProcessPoolExecutor(part.at_once, spawned) as pool:
                for done in pool.map(task, [place] * n, [on_vendor] * n, range(n)):
                    so_far += done
                    if so_far.networks in (n // 4, n // 2, n):
                        values = f"{so_far.compared:,} values, {so_far.mismatches} differ"
                        sys.stderr.write(f"{told}: {so_far.networks} of {n} networks, {values}\n")
            columns.append(so_far)
        found.append((columns[0], columns[1]))
    return found


def title(sweep: Sweep) -> str:
    """Return the name and version of a sweep's vendor's simulator."""
    return families.vendors()[sweep.vendor].environment.title


def page(found: list[tuple[Count, Count]]) -> str:
    """Write the results as Markdown."""
    lines = [
        "# Fidelity: the definitions against the fast engines and the vendors' simulators",
        "",
        "    make fidelity",
        "",
        "writes this page. `families/*/definition.py` defines what a chip computes. Every state",
        "and every spike of every neuron, at each step of each sample, is compared with it, bit",
        "for bit, on random networks (`tests/fidelity/networks.py`, seeds from 0). A vendor's",
        "simulator reads `program.h5`. `make test` repeats a part of it.",
        "",
        "| random networks of | simulator | networks | samples | steps | spikes | values compared "
        "| differ |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for sweep, columns in zip(SWEEPS, found, strict=True):
        for name, c in zip((ENGINE, title(sweep)), columns, strict=True):
            numbers = (c.networks, c.samples, c.steps, c.fired, c.compared, c.mismatches)
            cells = " | ".join(f"{n:,}" for n in numbers)
            lines.append(f"| {sweep.title} | {name} | {cells} |")
    for name in dict.fromkeys(title(s) for s in SWEEPS):
        values = sum(c[1].compared for s, c in zip(SWEEPS, found, strict=True) if title(s) == name)
        lines.append(f"| all | {name} | | | | | {values:,} | |")
    for sweep, columns in zip(SWEEPS, found, strict=True):
        lines += ["", f"## {sweep.title}", "", sweep.about, ""]
        lines += [f"First difference: {c.first}\n" for c in columns if c.first]
        lines += [
            "In how many networks what occurred (of synapses: with events through them):",
            "",
            f"| | {ENGINE} | {title(sweep)} |",
            "| --- | ---: | ---: |",
        ]
        for group, features in sweep.groups.items():
            lines.append(f"| **{group}** | | |")
            for f in features:
                lines.append(f"| {f} | {columns[0].features[f]:,} | {columns[1].features[f]:,} |")
    versions = [f"{k} {version(k)}" for k in ("snn2hw", "numpy", "numba")]
    python = ".".join(platform.python_version_tuple()[:2])
    lines += ["", f"Versions: {', '.join(versions)}, Python {python}."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Count, write the page, and fail if a value differs or a feature is missing."""
    for name in dict.fromkeys(s.vendor for s in SWEEPS):
        families.vendors()[name].environment.install()
    found = counted()
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(found), encoding="utf-8")
    never = [
        f"{s.title}: {f}"
        for s, columns in zip(SWEEPS, found, strict=True)
        for c in columns
        for f in missing(s, c)
    ]
    differ = sum(c.mismatches for columns in found for c in columns)
    values = sum(c.compared for columns in found for c in columns)
    sys.stdout.write(f"{values:,} values, {differ} differ; never seen: {never or 'nothing'}\n")
    return int(bool(differ or never))


if __name__ == "__main__":
    raise SystemExit(main())
