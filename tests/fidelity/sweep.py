"""Fidelity, counted: random networks of every chip, value by value, and what occurred in them.

    python tests/fidelity/sweep.py
    python tests/fidelity/sweep.py --share 0.01 --page /tmp/page.md   # a hundredth of the values
    python tests/fidelity/sweep.py --minutes 10 --page /tmp/page.md   # what ten minutes allow

runs each network of ``networks.py`` in the definition and in the fast engine or the simulator of
the chip's vendor, compares every state and every spike of every step, and writes
``docs/results/fidelity.md``. Network ``seed`` of a sweep is the same in every run; a run of fewer
values has fewer of them.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import platform
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from importlib.metadata import version
from operator import add
from pathlib import Path

import numpy as np

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
SIZES = ((1, "0"), (1 << 8, "below 2^8"), (1 << 16, "below 2^16"), (1 << 23, "below 2^23"))
LARGEST = "2^23 and more"


@dataclass(slots=True)
class Count:
    """What was compared, and the first value that differed.

    ``features`` counts networks, ``values`` values: by the kind of neuron, what of it, and how
    large.
    """

    networks: int = 0
    samples: int = 0
    steps: int = 0
    fired: int = 0
    compared: int = 0
    mismatches: int = 0
    features: Counter[str] = field(default_factory=Counter[str])
    values: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    first: str = ""

    def __add__(self, other: Count) -> Count:
        return Count(
            self.networks + other.networks, self.samples + other.samples, self.steps + other.steps,
            self.fired + other.fired, self.compared + other.compared,
            self.mismatches + other.mismatches, self.features + other.features,
            self.values + other.values, self.first or other.first,
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


def one(sweep: Sweep, seed: int, part: Part, simulator: Simulator) -> Count:
    """Compare the definition with a simulator on one network."""
    program, x = sweep.made(seed, part.samples, part.copies)
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
        values=by_kind(program, ours),
        first=f"network {seed}: {first}" if first else "",
    )


def by_kind(program: Program, trace: Trace) -> Counter[tuple[str, str, str]]:
    """Count the values of a trace by kind of neuron, what of it, and how large."""
    found = Counter[tuple[str, str, str]]()
    for p in program.network.populations:
        layer = trace.layers[p.name]
        for what in layer.names:
            size, before = np.abs(layer[what].astype(np.int64)), 0
            for end, told in (*SIZES, (np.inf, LARGEST)):
                below = int(np.count_nonzero(size < end))
                found[type(p).__name__, what, told] += below - before
                before = below
    return found


def count(sweep: Sweep, part: Part, simulator: Simulator) -> Count:
    """Compare the definition with a simulator on networks 0, 1, ... as many as are asked for."""
    return total(one(sweep, seed, part, simulator) for seed in range(part.networks))


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
    return one(sweep, seed, part, in_vendor(sweep.vendor) if on_vendor else in_engine)


def until(part: Part, share: float, stop: float, counts: Iterable[Count]) -> Iterator[Count]:
    """Give counts until there are enough networks and values, or the time is over.

    Args:
        part: how many are enough, for ``share`` 1.
        share: of them that is.
        stop: no more begin after this time, in seconds of ``time.monotonic``.
        counts: of networks 0, 1, ...
    """
    networks = values = 0
    for found in counts:
        yield found
        networks, values = networks + found.networks, values + found.compared
        if networks >= part.networks * share and values >= part.values * share:
            return
        if time.monotonic() > stop:
            return


def in_order(pool: ProcessPoolExecutor, part: Part, place: int, on_vendor: bool) -> Iterator[Count]:
    """Give the counts of networks 0, 1, ...; as many run ahead as there are processes."""
    waiting = deque[Future[Count]]()
    for seed in itertools.count():
        waiting.append(pool.submit(task, place, on_vendor, seed))
        if len(waiting) > part.at_once:
            yield waiting.popleft().result()


def counted(share: float, minutes: float) -> list[tuple[Count, Count]]:
    """Run all sweeps: for each what the engine computed, and what the vendor's simulator did.

    Args:
        share: of the networks and values that the whole page has.
        minutes: at most, for all of them; each has the same part of what the others left.
    """
    found: list[tuple[Count, Count]] = []
    spawned = multiprocessing.get_context("spawn")
    end, parts_left = time.monotonic() + 60 * minutes, 2 * len(SWEEPS)
    for place, sweep in enumerate(SWEEPS):
        columns: list[Count] = []
        for on_vendor, part in ((False, sweep.ours), (True, sweep.theirs)):
            began = time.monotonic()
            stop = began + (end - began) / parts_left
            parts_left -= 1
            with ProcessPoolExecutor(part.at_once, spawned) as pool:
                counts = in_order(pool, part, place, on_vendor)
                so_far = total(until(part, share, stop, counts))
                pool.shutdown(cancel_futures=True)
            seconds = time.monotonic() - began
            sys.stderr.write(
                f"{sweep.title}, {title(sweep) if on_vendor else ENGINE}: {so_far.networks:,} "
                f"networks, {so_far.compared:,} values, {so_far.mismatches} differ, "
                f"{seconds:.0f} s\n"
            )
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
        "for bit, on random networks (`tests/fidelity/networks.py`, seeds from 0). In Lava, which",
        "takes its time for each population and step, a network stands there many times side by",
        "side, with inputs of its own each time. A vendor's simulator reads `program.h5`.",
        "`make test` repeats a part of it.",
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
    ours = sum(columns[0].compared for columns in found)
    lines.append(f"| all | {ENGINE} | | | | | {ours:,} | |")
    for name in dict.fromkeys(title(s) for s in SWEEPS):
        values = sum(c[1].compared for s, c in zip(SWEEPS, found, strict=True) if title(s) == name)
        lines.append(f"| all | {name} | | | | | {values:,} | |")
    for sweep, columns in zip(SWEEPS, found, strict=True):
        lines += ["", f"## {sweep.title}", "", sweep.about, "", *sizes(sweep, columns)]
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


def sizes(sweep: Sweep, columns: tuple[Count, Count]) -> list[str]:
    """Tell how many values of each kind of neuron were compared, by their absolute value."""
    known = [told for _, told in SIZES] + [LARGEST]
    lines = [
        "Values compared, by their absolute value:",
        "",
        f"| neuron | value | simulator | {' | '.join(known)} |",
        f"| --- | --- | --- |{' ---: |' * len(known)}",
    ]
    for neuron, what in dict.fromkeys((n, w) for c in columns for n, w, _ in c.values):
        for name, c in zip((ENGINE, title(sweep)), columns, strict=True):
            cells = " | ".join(f"{c.values[neuron, what, told]:,}" for told in known)
            lines.append(f"| {neuron} | {what} | {name} | {cells} |")
    return [*lines, ""]


def main() -> int:
    """Count, write the page, and fail if a value differs or a feature is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=1.0, help="of the networks and values")
    parser.add_argument("--minutes", type=float, default=math.inf, help="at most, about")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    asked = parser.parse_args()
    for name in dict.fromkeys(s.vendor for s in SWEEPS):
        families.vendors()[name].environment.install()
    found = counted(asked.share, asked.minutes)
    asked.page.parent.mkdir(parents=True, exist_ok=True)
    asked.page.write_text(page(found), encoding="utf-8")
    never = [
        f"{s.title}: {f}"
        for s, columns in zip(SWEEPS, found, strict=True)
        for c in columns
        for f in missing(s, c)
    ]
    differ = sum(c.mismatches for columns in found for c in columns)
    values = sum(c.compared for columns in found for c in columns)
    whole = asked.share >= 1.0 and math.isinf(asked.minutes)  # else too few networks to show all
    unseen = never or "nothing" if whole else f"{len(never)} features"
    sys.stdout.write(f"{values:,} values, {differ} differ; never seen: {unseen}\n")
    return int(bool(differ or (never and whole)))


if __name__ == "__main__":
    raise SystemExit(main())
