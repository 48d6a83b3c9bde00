"""An energy report as plain text of 80 columns, in one unit for each quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snn2hw.estimator import EnergyReport
from snn2hw.report import text
from snn2hw.report.proof import Proved
from snn2hw.report.text import COLUMNS, counted, number, percent, short, table, wrapped
from snn2hw.report.units import Unit, energy_unit, of_an_event, time_unit

NAME = 12  # columns that the name of a layer has at least, whatever the numbers beside it take


def energy(
    report: EnergyReport, name: str, rewritten: Mapping[str, Any] | None, proof: Proved
) -> list[str]:
    """Write an energy report.

    Args:
        report: the bill.
        name: of the build.
        rewritten: what rewrites changed in it (``text.changes``).
        proof: what was proved of its program.
    """
    joules, seconds = energy_unit([report]), time_unit([report])
    head = (
        f"{short(name, 40)} on {report.title}: one inference, mean of "
        f"{counted(report.samples, 'sample')}, {counted(report.time_steps, 'step')}, "
        f"{counted(report.cores, 'core')}, {counted(report.chips, 'chip')}"
    )
    said = [*_accuracy(report), proof.words]
    said.append(
        f"{number(report.spikes)} spikes, {number(report.synops)} synops and "
        f"{number(report.input_events)} input events per inference."
    )
    return [
        *wrapped(head),
        "",
        *_totals(report, joules, seconds),
        "",
        *_layers(report, joules),
        "",
        *_events(report, joules),
        "",
        *(line for sentence in said for line in wrapped(sentence)),
        "",
        *(line for change in text.changes(rewritten) for line in wrapped(change)),
        *([""] if rewritten else []),
        "prices (value, range, kind, source)",
        *_prices(report),
    ]


def _accuracy(report: EnergyReport) -> list[str]:
    if report.accuracy is None:
        return []
    output = "" if report.output is None else f" of output {short(report.output, 40)}"
    data = "" if report.data is None else f" of {short(report.data, 40)}"
    samples = counted(report.samples, "sample")
    seen = ", on which it was trained" if report.trained_on else ""
    return [f"Accuracy{output} {percent(report.accuracy)} on {samples}{data}{seen}."]


def _totals(report: EnergyReport, joules: Unit, seconds: Unit) -> list[str]:
    parts, rows = report.boundaries(), list[list[str]]()
    for boundary, title in (("chip", "chip"), ("with_io", "with I/O")):
        for key in ("static_uj", "dynamic_uj", "total_uj"):
            r = parts[boundary][key]
            label = f"{title:<9}{key.removesuffix('_uj')}"
            rows.append([label, *(joules.of(v) for v in (r.typical, r.low, r.high))])
    for label, r in (("latency", report.latency_us), ("period", report.period_us)):
        values = (seconds.of(v) for v in (r.typical, r.low, r.high))
        rows.append([f"{label} {seconds.name}", *values])
    return table([f"energy in {joules.name}", "typical", "low", "high"], rows)


def _share(part: float, total: float) -> str:
    return f"{100 * part / total:.0f} %" if total else "-"


def _layers(report: EnergyReport, joules: Unit) -> list[str]:
    total = report.dynamic_uj.typical
    head = ["layer", "neurons", "cores", "spikes", "synops", f"dynamic {joules.name}", "share"]
    rows = [
        [
            x.name, f"{x.neurons:,}", str(x.cores), number(x.spikes), number(x.synops),
            joules.of(x.dynamic_uj.typical), _share(x.dynamic_uj.typical, total),
        ]
        for x in report.layers
    ]  # fmt: skip
    numbers = zip(*(r[1:] for r in (head, *rows)), strict=True)
    room = max(NAME, COLUMNS - sum(2 + max(map(len, column)) for column in numbers))
    return table(head, [[short(r[0], room), *r[1:]] for r in rows])


def _events(report: EnergyReport, joules: Unit) -> list[str]:
    total = report.dynamic_uj.typical
    rows = [
        [x.event, number(x.count), f"{x.pj:g}", joules.of(x.uj), _share(x.uj, total)]
        for x in report.paid()
    ]
    head = ["event paid", "count", "pJ each", f"dynamic {joules.name}", "share"]
    return table(head, rows)


def _prices(report: EnergyReport) -> list[str]:
    lines: list[str] = []
    for p in report.prices:
        (value, low, high), unit = of_an_event(p)
        line = f"  {p.name:<13} {value:g} {unit} ({low:g} to {high:g}), {p.kind}: {p.source}"
        lines += wrapped(line, " " * 4)
    return lines


def compared(rows: Sequence[Mapping[str, Any]], output: str | None = None) -> list[str]:
    """Write what one model takes on several targets, and why not on the others.

    Args:
        rows: as ``snn2hw energy compare --json`` has them.
        output: the one whose accuracy they tell.
    """
    head = ["target", "cores", "accuracy", "synops", "latency us", "energy uJ", "low", "high"]
    cells: list[list[str]] = []
    for row in rows:
        if not row["fits"]:
            said = "refused" if row.get("known", True) else "unknown"
            cells.append([row["target"], said, *[""] * 6])
            continue
        total = row["chip"]["total_uj"]
        cells.append(
            [
                row["target"], str(row["cores"]), percent(row["accuracy"]), number(row["synops"]),
                number(row["latency_us"]), *(number(total[k]) for k in ("typical", "low", "high")),
            ]
        )  # fmt: skip
    below = [
        line
        for row in rows
        for said in (text.changes(row.get("rewrites")) if row["fits"] else row["reasons"])
        for line in wrapped(f"{row['target']}: {said}", "  ")
    ]
    told = [] if output is None else wrapped(f"Accuracy of output {short(output)}.")
    return [*table(head, cells), *told, *_on(rows), *below]


def _on(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of which samples the figures are."""
    of = dict.fromkeys((r["samples"], r["data"]) for r in rows if r["fits"])
    return [
        line for n, data in of for line in wrapped(f"Means of {counted(n, 'sample')} of {data}.")
    ]
