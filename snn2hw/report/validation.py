"""Predictions beside measurements, for a terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn2hw.report import text
from snn2hw.validation import measured

COLUMNS = ["workload", "run", "measured", "predicted", "low to high", "times", ""]

HEAD = """\
# Energy beside published measurements

    snn2hw energy validate --page docs/results/energy-validation.md

writes this page. Each workload that was measured on a chip, and whose network is published or
described well enough, is built again, run in our simulation and priced as `snn2hw energy report`
does. *Fitted* are the measurements that prices come from; they agree because they were made to.
All others are predictions. *Times* is predicted over measured. The range goes from all prices at
their lowest to all at their highest (interval arithmetic: the widest that the prices allow, not a
confidence interval).
"""


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the report of ``snn2hw energy validate``."""
    out: list[str] = []
    for chip in dict.fromkeys(r["chip"] for r in found["rows"]):
        rows = [r for r in found["rows"] if r["chip"] == chip]
        out += [chip, *text.table(COLUMNS, [_cells(r) for r in rows], left=2), ""]
    out += [f"missing: {m['workload']}: {m['file']}" for m in found["missing"]]
    return [*out, *verdict(found["summary"])]


def verdict(summary: Mapping[str, Any]) -> list[str]:
    """Say in a few lines how good the predictions are."""
    if not summary["predicted"]:
        return ["Nothing is predicted: prices were fitted to all of these."]
    swapped = "".join(f"; not {a} and {b} ({what})" for a, b, what in summary["out_of_order"])
    counts = summary["counts"]
    return [
        f"Energy, power and time: {summary['within_2_times']} of {summary['predicted']} "
        f"predictions are within 2 times, their median is {100 * summary['median_off']:.0f} % off; "
        f"{summary['within_range']} measurements lie in the range.",
        f"{summary['pairs_in_order']} of {text.counted(summary['pairs'], 'pair')} of workloads on "
        f"one chip are in the right order{swapped}.",
        *([f"Counts: {counts['compared']} compared, at most {100 * counts['most_off']:.0f} % off."]
          if counts["compared"] else []),
    ]  # fmt: skip


def _cells(row: Mapping[str, Any]) -> list[str]:
    p = row["predicted"]
    return [
        row["workload"], f"{row['run']}, {row['what']}",
        f"{text.number(row['measured'])} {row['unit']}".strip(),
        text.number(p["typical"]), f"{text.number(p['low'])} to {text.number(p['high'])}",
        f"{row['ratio']:.2f}", "fitted" if row["fitted"] else "",
    ]  # fmt: skip


def page(found: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    known = measured()
    out = [HEAD, *verdict(found["summary"]), ""]
    for chip in dict.fromkeys(r["chip"] for r in found["rows"]):
        out += [f"## {chip}", ""]
        rows = [r for r in found["rows"] if r["chip"] == chip]
        for name in dict.fromkeys(r["workload"] for r in rows):
            of_it = [r for r in rows if r["workload"] == name]
            w = known.workloads[name]
            out += [f"### {w.title}", "", w.about, ""]
            out += ["| what | run | measured | predicted | range | times | |"]
            out += ["| --- | --- | ---: | ---: | ---: | ---: | --- |"]
            for r in of_it:
                _, _, value, typical, span, ratio, fitted = _cells(r)
                out.append(
                    f"| {r['what']} | {r['run']} | {value} | {typical} | {span} | {ratio} | "
                    f"{fitted} |"
                )
            out += ["", *(f"* {r['what']}, {r['run']}: {r['source']}." for r in of_it), ""]
    out += [
        f"* {m['workload']}: not run, as `{m['file']}` was not found." for m in found["missing"]
    ]
    out += ["## Not rebuilt", ""]
    out += [f"* {x['what']}: {x['why']}" for x in found["left_out"]]
    return "\n".join(out) + "\n"
