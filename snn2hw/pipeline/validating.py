"""Predicting what was measured on chips: how far the bill is from published measurements."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from snn2hw import datasets
from snn2hw.datasets.search import search_path
from snn2hw.errors import InputError, listed, unknown_name
from snn2hw.files import sha256
from snn2hw.pipeline.workloads import BUILDERS, Predictions
from snn2hw.validation import Measurement, Workload, measured

Row = dict[str, Any]


def validate(
    chip: str | None = None,
    *,
    data_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Rebuild the published workloads and predict their measurements.

    Args:
        chip: only its workloads; None for all.
        data_dir: where the workloads' files may lie, before the folders of data sets.
        progress: called with (workloads done, workloads).

    Returns:
        The document of ``snn2hw energy validate --json``: ``rows``, ``missing`` (workloads whose
        file is nowhere), ``left_out`` and ``summary``.

    Raises:
        InputError: there is no such chip, or nothing could be rebuilt.
    """
    known = measured()
    chips = sorted({w.chip for w in known.workloads.values()})
    if chip is not None and chip not in chips:
        raise unknown_name("chip", chip, chips)
    chosen = [w for w in known.workloads.values() if chip in (None, w.chip)]
    rows: list[Row] = []
    missing: list[Row] = []
    for at, workload in enumerate(chosen):
        file = found(workload, data_dir)
        lacking = _lacking(workload, file, data_dir)
        if lacking is not None:
            missing.append({"workload": workload.name, **lacking})
        else:
            predicted = BUILDERS[workload.name](workload, file, data_dir)
            of_it = [m for m in known.measurements if m.workload == workload.name]
            rows += [_row(workload, m, predicted) for m in of_it]
        if progress is not None:
            progress(at + 1, len(chosen))
    if not rows:
        folders = [str(f) for f in search_path(data_dir)]
        raise InputError(
            "No workload can be rebuilt: "
            f"{listed([m['file'] + ' ' + m['why'] for m in missing])}. "
            f"Files are looked for in {listed(folders)}.",
            "Put the files there, or name their folder with --data-dir or $SNN2HW_DATA.",
        )
    return {
        "rows": rows,
        "missing": missing,
        "left_out": [{"what": what, "why": why} for what, why in known.left_out],
        "summary": summary(rows),
    }


def found(workload: Workload, data_dir: Path | None) -> Path | None:
    """Return where a workload's file is, if it has one and it is somewhere."""
    paths = (folder / workload.file for folder in search_path(data_dir))
    return next((p for p in paths if workload.file and p.is_file()), None)


def _lacking(workload: Workload, file: Path | None, data_dir: Path | None) -> Row | None:
    """Return which file or data set a workload lacks, and why; None if it has all it needs."""
    if workload.file and file is None:
        return {"file": workload.file, "why": "was not found"}
    if file is not None and sha256(file) != workload.sha256:
        return {"file": str(file), "why": "is another file than the published one (by its SHA-256)"}
    if workload.data:
        try:
            datasets.load(workload.data, data_dir)
        except InputError:
            return {"file": f"data set {workload.data}", "why": "was not found"}
    return None


def _row(workload: Workload, m: Measurement, predicted: Predictions) -> Row:
    range_ = predicted[m.what]
    return {
        "chip": workload.chip, "workload": workload.name, "what": m.what, "run": m.run,
        "unit": m.unit, "measured": m.value, "predicted": range_.json(),
        "ratio": float(f"{range_.typical / m.value:.4g}"), "fitted": m.fitted,
        "within_range": range_.low <= m.value <= range_.high, "source": m.source,
        "stand_in": workload.stand_in,
    }  # fmt: skip


def summary(rows: Sequence[Row]) -> Row:
    """Say how far predictions are off: of the rows that no price was fitted to.

    Stand-ins are not counted, and counts, which have no price, stand apart. ``other_workloads`` is
    the same of the workloads to which no price was fitted at all. ``pairs`` are of workloads of one
    chip by each quantity.
    """
    rows = [r for r in rows if not r["stand_in"]]
    held = [r for r in rows if not r["fitted"] and not _is_count(r)]
    fitted_to = {r["workload"] for r in rows if r["fitted"]}
    counts = [_factor(r) - 1 for r in rows if _is_count(r)]
    pairs = list(_pairs(rows))
    return {
        **_off(held),
        "other_workloads": _off([r for r in held if r["workload"] not in fitted_to]),
        "pairs": len(pairs),
        "pairs_in_order": sum(right for *_, right in pairs),
        "out_of_order": [[a, b, what] for a, b, what, right in pairs if not right],
        "counts": {"compared": len(counts), "most_off": round(max(counts, default=0.0), 4)},
    }


def _off(held: Sequence[Row]) -> Row:
    """Sum up predictions.

    ``median_error`` is the median of abs(predicted - measured) / measured; ``median_factor`` that
    of how many times too high or too low a prediction is, where half is as far as twice.
    """
    factors = [_factor(r) for r in held]
    return {
        "predicted": len(held),
        "within_2_times": sum(x <= 2 for x in factors),
        "within_range": sum(r["within_range"] for r in held),
        "median_error": round(median(abs(r["ratio"] - 1) for r in held), 4) if held else None,
        "median_factor": round(median(factors), 4) if held else None,
    }


def _factor(row: Row) -> float:
    return max(row["ratio"], 1 / row["ratio"])


def _is_count(row: Row) -> bool:
    return row["what"].startswith("synops")


def _pairs(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, bool]]:
    """Compare workloads of a chip by each quantity: is the one that took more predicted so?"""
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for r in rows:
        if not _is_count(r):
            groups.setdefault((r["chip"], r["what"]), {}).setdefault(r["workload"], []).append(r)
    for (_, what), of in groups.items():
        means = {
            k: (mean(r["measured"] for r in rs), rs[0]["predicted"]["typical"])
            for k, rs in of.items()
        }
        for (a, (x, p)), (b, (y, q)) in itertools.combinations(means.items(), 2):
            yield a, b, what, (x < y) == (p < q)
