"""The page of results: counts by family and verdict, and the places that led to bad verdicts."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

import h5py
from fuzz.families import FAMILIES
from fuzz.kills import Killed
from fuzz.process import LIMITS
from fuzz.verdicts import BAD, VERDICTS, Outcome, Result

ABOUT = {
    "fine": "an answer, exit code 0",
    "refused": "exit code 1 and one error that a person reads",
    "garbled": "an error with control characters, of several lines or over 2,000 letters",
    "bug": "a traceback or an error that calls itself a bug; JSON that is none",
    "large": "more than 2 GiB of memory beyond what the process had before, its children included",
    "slow": "more than 10 s of processor time, children included, or 60 s by the clock",
    "crash": "ended by a signal",
}


def line(result: Result) -> str:
    """Return one line about a bad file, and how to see it again."""
    o = result.worst
    again = f"--family {result.family} --only {result.index}"
    return f"{o.verdict}: {o.kind} {o.place} | {again} | {result.said[:120]}"


def places(results: Sequence[Result]) -> list[tuple[Outcome, str, list[int]]]:
    """Return bad outcomes, one for each place and kind, with family and indices, most first."""
    found: dict[tuple[str, ...], tuple[Outcome, str, list[int]]] = {}
    for r in results:
        keys: set[tuple[str, ...]] = set()
        for o in (o for o in r.outcomes if o.verdict in BAD):
            key = (r.family, o.verdict, re.sub(r"[\d.]+", "#", o.kind), o.place or o.command[0])
            if key not in keys:
                keys.add(key)
                found.setdefault(key, (o, r.family, []))[2].append(r.index)
    return sorted(found.values(), key=lambda x: (-VERDICTS.index(x[0].verdict), -len(x[2])))


def page(
    results: Sequence[Result], killed: Killed | None, seed: int, processes: int, seconds: float
) -> str:
    """Write the results as Markdown."""
    counts = {f: Counter(r.worst.verdict for r in results if r.family == f) for f in FAMILIES}
    counts = {f: c for f, c in counts.items() if c}
    total = sum(counts.values(), Counter[str]())
    head = ["files", *VERDICTS]
    rows = [
        f"| {FAMILIES[f].about} (`{f}`) | {c.total():,} | "
        + " | ".join(f"{c[v]:,}" for v in VERDICTS)
        + " |"
        for f, c in counts.items()
    ]
    rows.append(
        f"| **all** | {total.total():,} | " + " | ".join(f"{total[v]:,}" for v in VERDICTS) + " |"
    )
    commands = sum(len(r.outcomes) for r in results)
    lines = [
        "# Robustness: damaged files and killed commands",
        "",
        "    make fuzz",
        "",
        "writes this page. Small valid files of every kind are damaged, in their bytes (flips,",
        "cuts, insertions, repeats, swaps, zeros, numbers at the edge) or in what they say (types,",
        "shapes, links, fill values, packed zeros, depth, count, names, numbers, texts, missing",
        "and extra fields), and given to a command that reads them. `tests/fuzz/` holds the rows.",
        f"An answer or a refusal must come within {LIMITS.cpu:g} s of processor time and",
        f"{LIMITS.memory >> 30} GiB. A file is seen again with",
        "`python tests/fuzz/run.py --family nir --only 12`.",
        "",
        f"Seed {seed}: {total.total():,} files, {commands:,} commands, {processes} processes,",
        f"{seconds / 60:.0f} minutes.",
        "",
        "| | " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * len(head),
        *rows,
        "",
        *(f"* **{v}**: {ABOUT[v]}" for v in VERDICTS),
        "",
        *_extremes(results),
        *_bad(results),
        *([] if killed is None else killed.lines()),
        *_versions(),
    ]
    return "\n".join(lines) + "\n"


def _extremes(results: Sequence[Result]) -> list[str]:
    outcomes = [o for r in results for o in r.outcomes]
    if not outcomes:
        return []
    refused = [o for o in outcomes if o.verdict == "refused"]
    nameless = sum(not o.named for o in refused)
    return [
        f"The longest command took {max(o.seconds for o in outcomes):.1f} s, the largest "
        f"{max(o.memory for o in outcomes) >> 20} MiB.",
        f"Of {len(refused):,} refusals {nameless:,} do not name the damaged file, but a layer, the",
        "folder or the option that it came with.",
        "",
    ]


def _bad(results: Sequence[Result]) -> list[str]:
    found = places(results)
    if not found:
        return []
    return [
        "| verdict | what | where | family | files | first |",
        "| --- | --- | --- | --- | ---: | ---: |",
        *(
            f"| {o.verdict} | {o.kind} | {o.place or o.command[0]} | {family} | {len(at)} | "
            f"{min(at)} |"
            for o, family, at in found
        ),
        "",
    ]


def _versions() -> list[str]:
    packages = ("snn2hw", "numpy", "h5py", "nir", "onnx", "onnxruntime", "torch", "pillow")
    told = ", ".join(f"{k} {version(k)}" for k in packages)
    return [
        f"Versions: {told}, HDF5 {h5py.version.hdf5_version}, Python "
        f"{'.'.join(platform.python_version_tuple()[:2])}, {platform.system()}."
    ]
