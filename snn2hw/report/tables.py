"""Tables of a page: what is shown in each cell, and what is sorted by and goes into its CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snn2hw.errors import listed
from snn2hw.estimator import EnergyReport
from snn2hw.report import floor_plan
from snn2hw.report.evidence import Evidence, Of, Subject
from snn2hw.report.text import counted, number, short
from snn2hw.report.units import Unit, of_an_event

MOST_ROWS = 80  # of a table; more would make the page large
MOST_CORES = 64
MOST_STEPS, MOST_CELLS = 64, 1200  # of the tables of spikes by step, of all builds
MOST_SAID = 600  # characters of a cell


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows; its number without rounding, if it is one; a share to shade it by."""

    shown: str
    value: float | None = None
    shade: float = 0.0

    @property
    def exact(self) -> str:
        """The number in the fewest digits that read back as the same; "" if it is none."""
        return "" if self.value is None else repr(float(self.value)).removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Args:
        name: of its CSV file.
        caption: what it is of.
        head: titles of its columns; those of numbers stand to the right.
        rows: their cells.
        words: columns of sentences, which may break.
        note: what is left out.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: tuple[int, ...] = ()
    note: str = ""

    @property
    def numeric(self) -> frozenset[int]:
        """Columns that hold numbers."""
        return frozenset(
            i for i in range(len(self.head)) if any(row[i].value is not None for row in self.rows)
        )


def name(value: str) -> Cell:
    """Return a cell with a name that may come from a file."""
    return Cell(short(value))


def said(value: str) -> Cell:
    """Return a cell with a sentence."""
    return Cell(short(value, MOST_SAID))


def amount(value: float | None, unit: Unit | None = None, shade: float = 0.0) -> Cell:
    """Return a cell with a quantity, in microjoules or microseconds if it has a unit."""
    if value is None:
        return Cell("–")
    if not value:
        return Cell("0", 0.0)
    if unit is None:
        return Cell(number(value), value, shade)
    return Cell(unit.of(value), value / unit.size, shade)


def count(value: int) -> Cell:
    """Return a cell with a whole number."""
    return Cell(f"{value:,}", value)


def share(value: float | None) -> Cell:
    """Return a cell with a percentage."""
    return Cell("–") if value is None else Cell(f"{100 * value:.2f}", 100 * value)


def _cut(rows: Sequence[tuple[Cell, ...]], most: int, what: str) -> dict[str, Any]:
    """Return the first rows, and what is said of the others."""
    left = len(rows) - most
    note = f"The first {most} {what} are shown, {left:,} more are not." if left > 0 else ""
    return {"rows": tuple(rows[:most]), "note": note}


def chain(evidence: Evidence) -> Table:
    """From teacher to chip: accuracies in a column are of the same samples."""
    chain = evidence.chain
    of = list(dict.fromkeys(s.of for s in chain if s.accuracy is not None))
    several = len({x.data for x in of}) > 1
    named = [f"accuracy % ({_samples(x, several)})" for x in of]
    # Files of one name are told apart by their hash.
    named = [f"{head[:-1]}, {(x.sha256 or 'no hash')[:8]})" if named.count(head) > 1 else head
             for head, x in zip(named, of, strict=True)]  # fmt: skip
    rows = [
        (
            name(step.who),
            *(share(step.accuracy if step.of == x else None) for x in of),
            amount(step.spikes), amount(step.synops),
            Cell("–") if step.connections is None else count(step.connections),
        )
        for step in chain
    ]  # fmt: skip
    head = ("network", *named, "spikes", "synops", "non-zero weights")
    return Table("chain", "From the teacher to the chip, per inference", head, tuple(rows))


def _samples(of: Of, several: bool) -> str:
    """Say what an accuracy is of; the data only where they are not the same everywhere."""
    count = "samples not told" if of.samples is None else counted(of.samples, "sample")
    data = f" of {short(of.data or 'unknown data', 40)}" if several else ""
    return f"{count}{data}{', trained on' if of.trained_on else ''}"


def boundaries(report: EnergyReport, joules: Unit, seconds: Unit) -> Table:
    """Static, dynamic and total energy, and times."""
    rows: list[tuple[Cell, ...]] = []
    titles = {"chip": "chip alone", "with_io": "with input from a host"}
    for boundary, parts in report.boundaries().items():
        for key, r in parts.items():
            label = f"{titles[boundary]}, {key.removesuffix('_uj')}, {joules.sign}"
            rows.append((Cell(label), *(amount(v, joules) for v in (r.typical, r.low, r.high))))
    for label, r in (("latency", report.latency_us), ("period", report.period_us)):
        values = (amount(v, seconds) for v in (r.typical, r.low, r.high))
        rows.append((Cell(f"{label}, {seconds.sign}"), *values))
    head = ("per inference", "typical", "low estimate", "high estimate")
    return Table("energy", "Energy and time of an inference", head, tuple(rows))


def layer_by_event(report: EnergyReport, joules: Unit, most: int) -> Table:
    """Where the dynamic energy goes: a row for each layer, a column for each event."""
    paid = [p for p in report.paid() if p.count]
    parts = {x.name: [x.counts[p.event] * p.pj * 1e-6 for p in paid] for x in report.layers}
    largest = max((uj for row in parts.values() for uj in row), default=0.0) or 1.0
    whole = report.dynamic_uj.typical
    rows = [
        (
            name(x.name), count(x.neurons), count(x.cores), amount(x.spikes), amount(x.synops),
            *(amount(uj, joules, uj / largest) for uj in parts[x.name]),
            amount(x.dynamic_uj.typical, joules),
            share(x.dynamic_uj.typical / whole if whole else None),
        )
        for x in report.layers
    ]  # fmt: skip
    head = (
        "layer", "neurons", "cores", "spikes", "synops",
        *(f"{p.event.replace('_', ' ')} {joules.sign}" for p in paid),
        f"dynamic {joules.sign}", "share %",
    )  # fmt: skip
    caption = "Dynamic energy of an inference by layer and event"
    return Table("layers-by-event", caption, head, **_cut(rows, most, "layers"))


def events(report: EnergyReport, joules: Unit) -> Table:
    """What is counted, and what each event comes to."""
    whole = report.dynamic_uj.typical
    rows = [
        (
            Cell(p.event.replace("_", " ")), amount(p.count), Cell(f"{p.pj:g}", p.pj),
            amount(p.uj, joules), share(p.uj / whole if whole else None),
        )
        for p in report.paid()
    ]  # fmt: skip
    head = ("event", "count", "pJ each", f"dynamic {joules.sign}", "share %")
    caption = "Events of an inference and what they cost"
    return Table("events", caption, head, tuple(rows), note=_zeros(report))


def _zeros(report: EnergyReport) -> str:
    """Say why more synops are paid for than the layers have, if so."""
    paid = sum(p.count for p in report.paid() if p.event.startswith("synop"))
    more = paid - report.synops
    if more < 0.5:
        return ""
    return (
        f"These are {number(more)} synops more than the layers have ({number(report.synops)}): "
        "where weights are stored with their zeros, a spike pays for the zeros too."
    )


def targets(evidence: Evidence, joules: Unit, seconds: Unit) -> Table:
    """The same model on every target and elsewhere, and why not."""
    rows: list[tuple[Cell, ...]] = []
    for row in evidence.targets:
        if not row["fits"]:
            why = counted(len(row["reasons"]), "reason") + ", below"
            rows.append((name(row["target"]), *[Cell("–")] * 10, Cell(f"does not fit: {why}")))
            continue
        changed = ", ".join(row.get("rewrites", {}).get("applied", ()))
        rows.append(
            (
                name(row["target"]), count(row["samples"]), share(row["accuracy"]),
                amount(row["synops"]), amount(row["latency_us"], seconds),
                *_spread(row["chip"]["dynamic_uj"], joules),
                *_spread(row["chip"]["total_uj"], joules),
                said(f"fits after rewrites: {changed}" if changed else "fits"),
            )
        )  # fmt: skip
    for row in evidence.others:
        samples = row.get("samples")
        rows.append(
            (
                said(f"{row['who']}, {row['runs_on']}"),
                Cell("–") if samples is None else count(samples), share(row["accuracy"]),
                Cell("–"), amount(row["latency_us"], seconds),
                *_spread(row["energy_uj"], joules), *_spread(None, joules), Cell("how: below"),
            )
        )  # fmt: skip
    head = (
        "runs on", "samples", "accuracy %", "synops", f"latency {seconds.sign}",
        f"dynamic {joules.sign}", "dynamic, low", "dynamic, high",
        f"total {joules.sign}", "total, low", "total, high", "how, or why not",
    )  # fmt: skip
    note = (
        "Compare chips and processors by dynamic energy, which is what a sample adds: neither a "
        "chip's static power nor a processor's idle power is in it. The total of a processor is "
        "not known."
    )
    return Table(
        "targets", "The same model side by side", head, tuple(rows), words=(11,),
        note=note if evidence.others else "",
    )  # fmt: skip


def hows(evidence: Evidence) -> list[tuple[str, str]]:
    """Say of what else runs the model how its numbers came about: who, and how."""
    found: dict[str, list[str]] = {}
    for row in evidence.others:
        found.setdefault(short(row["how"].rstrip("."), MOST_SAID), []).append(row["who"])
    return [(listed(map(short, who), "; "), how) for how, who in found.items()]


def _spread(uj: Mapping[str, float] | None, joules: Unit) -> list[Cell]:
    """Return three cells: typical, low and high; empty if nobody knows."""
    return [amount(uj[k] if uj else None, joules) for k in ("typical", "low", "high")]


def points(evidence: Evidence, joules: Unit) -> Table:
    """Runs and builds of the folder on the same samples."""
    rows = [
        (name(p.name), Cell(p.kind), count(p.samples), share(p.accuracy), amount(p.synops),
         amount(p.uj, joules))
        for p in evidence.points
    ]  # fmt: skip
    head = ("name", "kind", "samples", "accuracy %", "synops", f"energy {joules.sign}")
    return Table("folder", "Runs and builds of this folder", head, **_cut(rows, MOST_ROWS, "rows"))


def steps(subject: Subject, most: int, cells: int) -> Table:
    """Spikes of each layer at each step: so many layers and cells at most."""
    spikes = subject.activity.spikes
    length = max((len(x) for x in spikes.values()), default=0)
    shown = min(length, MOST_STEPS, max(8, cells // max(1, min(len(spikes), most))))
    rows = [
        (name(k), *(amount(float(n)) for n in x[:shown]), amount(float(np.sum(x))))
        for k, x in spikes.items()
    ]
    cut = _cut(rows, most, "layers")
    if shown < length:
        cut["note"] += f" The first {shown} of {length:,} steps are shown; the last column has all."
    head = ("layer", *(f"step {i + 1}" for i in range(shown)), "all steps")
    return Table("spikes-by-step", "Spikes of a sample by layer and step, on average", head, **cut)


def confusions(subject: Subject, most: int) -> Table | None:
    """The classes that are taken for others most often; None without labels."""
    found = subject.activity.confusion
    if found is None:
        return None
    wrong = found - np.diag(np.diag(found))
    order = np.argsort(-wrong, axis=None, kind="stable")
    rows: list[tuple[Cell, ...]] = []
    for place in order[: np.count_nonzero(wrong)]:
        i, j = divmod(int(place), len(found))
        whole = int(found[i].sum())
        rows.append((count(i), count(j), count(int(wrong[i, j])), count(whole)))
    head = ("class", "taken for", "samples", "samples of the class")
    caption = "Wrong predictions, the most frequent first"
    return Table("confusions", caption, head, **_cut(rows, most, "pairs of classes"))


def cores(subject: Subject, joules: Unit, most: int) -> Table:
    """The cores that do most, so many of them."""
    uj, sent = subject.activity.core_uj, subject.activity.core_sent
    held = floor_plan.fullest(subject.placement)
    per_chip = subject.placement["cores_per_chip"]
    order = np.argsort(-uj, kind="stable")
    whole = float(uj.sum())
    rows: list[tuple[Cell, ...]] = []
    for core in order.tolist():
        layers, full, what = held[core]
        rows.append(
            (
                count(core), count(core // per_chip), said(listed(map(short, layers), most=200)),
                share(full), Cell(what.replace("_", " ")), amount(float(sent[core])),
                amount(float(uj[core]), joules), share(float(uj[core]) / whole if whole else None),
            )
        )  # fmt: skip
    head = ("core", "chip", "layers", "full %", "of its", "spikes sent",
            f"dynamic {joules.sign}", "share %")  # fmt: skip
    caption = "Cores, the busiest first"
    return Table("cores", caption, head, words=(2,), **_cut(rows, most, "cores"))


def layers(subject: Subject, most: int) -> Table:
    """What each layer is on the chip."""
    rows: list[tuple[Cell, ...]] = []
    for layer in subject.info["layers"]:
        into, rounding = layer["inputs"], layer.get("quantization")
        heard = [
            short(c["from"]) + f" ({c['kind']}" + (f", 2^{c['exponent']}" if c["exponent"] else "")
            + (f", delay {c['delay']}" if c["delay"] > 1 else "") + ")"
            for c in into
        ]  # fmt: skip
        rows.append(
            (
                name(layer["name"]), Cell("×".join(map(str, layer["shape"]))),
                count(layer["phase"]), said(listed(heard, " + ", most=200)),
                count(sum(c["nonzero"] for c in into)),
                Cell(str(layer.get("vth", "–"))),
                share(rounding["relative_error"] if rounding else None),
                Cell(str(rounding["limited_by"]) if rounding else "–"),
            )
        )  # fmt: skip
    head = ("layer", "shape", "phase", "takes spikes from", "non-zero weights", "threshold",
            "rounding error %", "limited by")  # fmt: skip
    caption = "Layers as the chip holds them"
    return Table("layers", caption, head, words=(3,), **_cut(rows, most, "layers"))


def prices(report: EnergyReport) -> Table:
    """What an event costs, how sure that is, and who says so."""
    rows: list[tuple[Cell, ...]] = []
    for p in report.prices:
        values, unit = of_an_event(p)
        rows.append(
            (Cell(p.name.replace("_", " ")), *(Cell(f"{v:g}", v) for v in values), Cell(unit),
             Cell(p.kind), said(p.source))
        )  # fmt: skip
    head = ("event", "value", "low value", "high value", "unit", "kind", "source")
    return Table("prices", "Prices and times, and who says so", head, tuple(rows), words=(6,))


def provenance(evidence: Evidence) -> Table:
    """Where the page is from."""
    told = dict(evidence.made)
    several = len(evidence.subjects) > 1
    for subject in evidence.subjects:
        of = f"{short(subject.name)}: " if several else ""
        info = subject.info
        told[f"{of}program"] = info["digest"]
        told |= {f"{of}input {k}": x["sha256"] for k, x in info["inputs"].items()}
        told |= {f"{of}file {k}": x for k, x in info["outputs"].items()}
        told[f"{of}built with"] = listed(f"{k} {v}" for k, v in info["versions"].items())
        told[f"{of}options"] = listed(
            f"{k} {v}" for k, v in info["options"].items() if v not in (None, [])
        )
    rows = tuple((name(k), said(str(v) or "–")) for k, v in told.items())
    return Table("provenance", "Where this page is from", ("what", "is"), rows, words=(1,))
