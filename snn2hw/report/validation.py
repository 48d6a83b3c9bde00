"""Predictions beside measurements, for a terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snn2hw.report import text
from snn2hw.report.text import wrapped
from snn2hw.validation import measured

LEGEND = (
    "What is predicted, with its range; below it what was measured, predicted over measured, and "
    "which run that was."
)
HEAD = """\
# Energy beside published measurements

    snn2hw energy validate --page docs/results/energy-validation.md

writes this page. Each workload that was measured on a chip, and whose network is published or
described well enough, is built again, run in our simulation and priced as `snn2hw energy report`
does. *Fitted* are the measurements that prices come from: that they agree says nothing. All others
are predictions. *Times* is predicted over measured. The range goes from all prices at their lowest
to all at their highest (interval arithmetic: the widest that the prices allow, not a confidence
interval). Where a low or a high end was taken from a row of this page, the chip's section says so:
that such a row lies in the range says nothing either.
"""


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the report of ``snn2hw energy validate``: by chip and workload, what was measured."""
    out = [*wrapped(LEGEND), ""]
    for (chip, workload), rows in _grouped(found["rows"], "chip", "workload"):
        out += [f"{chip}: {workload}"]
        for (what,), of_it in _grouped(rows, "what"):
            typical, span = _predicted(of_it[0])
            said = f"{typical} ({span})" if span else typical
            out += [f"  {what}: predicted {said} {of_it[0]['unit']}".rstrip()]
            out += [f"    {line}" for line in _measured(of_it)]
        out += [""]
    out += [f"missing: {m['workload']}: {m['file']} {m['why']}" for m in found["missing"]]
    return [*out, *(x for line in verdict(found["summary"]) for x in wrapped(line))]


def _measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each measurement: its value, predicted over measured, and the run."""
    cells = [
        [text.number(r["measured"]), f"{r['ratio']:.2f} times", r["run"],
         f"({_mark(r)})" if _mark(r) else ""]
        for r in rows
    ]  # fmt: skip
    wide = max(len(c[0]) for c in cells)
    return [f"{c[0].rjust(wide)}  {c[1]}  {c[2]} {c[3]}".rstrip() for c in cells]


def _mark(row: Mapping[str, Any]) -> str:
    return "fitted" if row["fitted"] else "not counted" if row["stand_in"] else ""


def _grouped(
    rows: Sequence[Mapping[str, Any]], *by: str
) -> list[tuple[tuple[str, ...], list[Mapping[str, Any]]]]:
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for r in rows:
        found.setdefault(tuple(r[k] for k in by), []).append(r)
    return list(found.items())


def verdict(summary: Mapping[str, Any]) -> list[str]:
    """Say in a few lines how good the predictions are."""
    if not summary["predicted"]:
        return ["Nothing is predicted: prices were fitted to all of these."]
    others, counts = summary["other_workloads"], summary["counts"]
    lines = [f"Energy, power and time: {_told(summary)}."]
    if 0 < others["predicted"] < summary["predicted"]:
        lines += [f"Of workloads to which no price was fitted at all: {_told(others)}."]
    if summary["pairs"]:
        pairs = text.counted(summary["pairs"], "pair")
        swapped = "".join(f"; not {a} and {b} ({what})" for a, b, what in summary["out_of_order"])
        lines += [
            f"{summary['pairs_in_order']} of {pairs} of workloads on one chip are in the right "
            f"order{swapped}."
        ]
    if counts["compared"]:
        worst = text.number(100 * counts["most_off"])
        lines += [f"Counts: {counts['compared']} compared, at most {worst} % off."]
    return lines


def _told(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['within_2_times']} of {text.counted(summary['predicted'], 'prediction')} are "
        f"within 2 times of what was measured, half of them at most "
        f"{100 * summary['median_error']:.0f} % off (as a factor, where half is as far as twice, "
        f"{summary['median_factor']:.2f}); {summary['within_range']} measurements lie in the range"
    )


def _predicted(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is predicted, and its range; "" for counts, which have none."""
    p = row["predicted"]
    exact = p["low"] == p["high"]
    return text.number(p["typical"]), "" if exact else (
        f"{text.number(p['low'])} to {text.number(p['high'])}"
    )


def page(found: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    known = measured()
    out = [HEAD, *verdict(found["summary"]), ""]
    for (chip,), rows in _grouped(found["rows"], "chip"):
        out += [f"## {chip}", ""]
        for (name,), of_it in _grouped(rows, "workload"):
            w = known.workloads[name]
            out += [f"### {w.title}", "", w.about, ""]
            out += ["| what | run | measured | predicted | range | times | |"]
            out += ["| --- | --- | ---: | ---: | ---: | ---: | --- |"]
            for r in of_it:
                value = f"{text.number(r['measured'])} {r['unit']}".rstrip()
                typical, span = _predicted(r)
                out.append(
                    f"| {r['what']} | {r['run']} | {value} | {typical} | "
                    f"{span} | {r['ratio']:.2f} | {_mark(r)} |"
                )
            out += ["", *(f"* {r['what']}, {r['run']}: {r['source']}." for r in of_it), ""]
    if found["missing"]:
        out += ["## Not run", ""]
        out += [f"* {m['workload']}: `{m['file']}` {m['why']}." for m in found["missing"]]
        out += [""]
    out += ["## Not rebuilt", ""]
    out += [f"* {x['what']}: {x['why']}" for x in found["left_out"]]
    out += ["", "## Prices of chips that are no targets", ""]
    out += [
        f"* {p.name}: {text.number(p.value)} {p.unit} ({text.number(p.low)} to "
        f"{text.number(p.high)}, {p.kind}): {p.source}."
        for p in known.prices.values()
    ]
    return "\n".join(out) + "\n"
