"""What stands beside an energy report, as lines of plain text: other computers, other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snn2hw.estimator import EnergyReport
from snn2hw.ir.counts import Range
from snn2hw.report.text import number, percent, table, wrapped


def against(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write what a chip is compared with.

    Args:
        rows: as ``energy.json`` holds them.
    """
    cells: list[list[str]] = []
    notes: dict[str, list[str]] = {}
    for i, row in enumerate(rows, 1):
        uj = row["energy_uj"]
        cells.append(
            [
                f"{i} {row['who']}", percent(row["accuracy"]),
                "-" if row["latency_us"] is None else number(row["latency_us"]),
                *("-" if uj is None else number(uj[k]) for k in ("typical", "low", "high")),
            ]
        )  # fmt: skip
        notes.setdefault(f"{row['runs_on']}: {row['how']}.", []).append(str(i))
    head = ["an inference", "accuracy", "latency us", "energy uJ", "low", "high"]
    return [
        *table(head, cells),
        "",
        *(x for note, at in notes.items() for x in wrapped(f"{', '.join(at)}  {note}", "  ")),
    ]


def neurobench(metrics: Mapping[str, Any]) -> list[str]:
    """Write NeuroBench's metrics, as ``energy.json`` holds them."""
    done = metrics["synaptic_operations"]
    cells = [
        ["footprint, bytes", f"{metrics['footprint']:,}"],
        ["connection sparsity", percent(metrics["connection_sparsity"])],
        ["activation sparsity", percent(metrics["activation_sparsity"])],
        *([f"{k.replace('_', ' ')} a sample", number(v)] for k, v in done.items()),
    ]
    return table(["NeuroBench's metrics", "value"], cells)


def what_if(
    found: EnergyReport, changes: Mapping[str, float], sentences: Sequence[str], built: EnergyReport
) -> list[str]:
    """Write an extrapolation beside what was built.

    Args:
        found: the bill of what was not built.
        changes: what is different.
        sentences: what is assumed.
        built: the bill of what was.
    """
    was, now = built.boundaries(), found.boundaries()
    rows = [
        [f"{key.removesuffix('_uj')} uJ, {title}", *_ends(was[where][key], now[where][key])]
        for where, title in (("chip", "chip"), ("with_io", "with I/O"))
        for key in ("static_uj", "dynamic_uj", "total_uj")
        if (where, key) != ("with_io", "dynamic_uj")
    ]
    rows.append(["latency us", *_ends(built.latency_us, found.latency_us)])
    for name in ("synops", "spikes", "input_events"):
        pair = [number(getattr(b, name)) for b in (built, found)]
        rows.append([name.replace("_", " "), *pair, "", ""])
    for name in ("cores", "chips"):
        rows.append([f"{name} in use", *(f"{getattr(b, name):,}" for b in (built, found)), "", ""])
    rows.append(["accuracy", percent(built.accuracy), percent(found.accuracy), "", ""])
    said = ", ".join(f"{k}={v:g}" for k, v in changes.items())
    return [
        *wrapped(f"what if {said}: an extrapolation, not a result", "  "),
        "",
        *table(["an inference", "as built", "what if", "low", "high"], rows),
        "",
        *(line for sentence in sentences for line in wrapped(f"{sentence}.", "  ")),
    ]


def _ends(was: Range, now: Range) -> list[str]:
    return [number(v) for v in (was.typical, now.typical, now.low, now.high)]
