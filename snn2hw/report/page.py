"""One self-contained HTML page: what an inference costs, what was proved, and what is where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from snn2hw.errors import visible
from snn2hw.estimator import EnergyReport
from snn2hw.report import floor_plan, tables
from snn2hw.report.evidence import Evidence, Subject
from snn2hw.report.pictures import activity
from snn2hw.report.pictures.scatter import Spot, scatter
from snn2hw.report.text import RANDOM, number, part, percent, short
from snn2hw.report.units import Unit, energy_unit, time_unit
from snn2hw.report.verdict import KEPT_TOGETHER, least_of, sureness, verdict

MOST_CLASSES = 16  # of a confusion matrix that is drawn whole
MOST_BARS = 32  # layers of a picture
MOST_SAMPLES = 4
# Of a page, which several builds and samples share, so that it stays small.
MOST_ROWS, MOST_RUNS = 80, 9000
MOST_BYTES = 480_000  # of a page; one that is larger is made again with less in it
THINNER = (1, 2, 4, 8, 16, 32)  # what these numbers are divided by


def _shown(value: Any) -> Any:
    """Show what would turn the direction of writing, or is no text, as such."""
    if type(value) is not str:
        return value
    return KEPT_TOGETHER.join(map(visible, value.split(KEPT_TOGETHER)))


# Names of layers and files come from outside: everything is escaped.
_ENVIRONMENT = Environment(
    loader=PackageLoader("snn2hw", "report/templates"),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(number=number, percent=percent, part=part, short=short)


@dataclass(frozen=True, slots=True)
class Bar:
    """What a layer's events take of the widest layer's energy, in percent, event by event."""

    layer: str
    parts: tuple[tuple[str, float], ...]
    words: str


def render(evidence: Evidence) -> str:
    """Render the page, with as much in its tables and pictures as it may be large."""
    text = ""
    for thinner in THINNER:
        text = _rendered(evidence, thinner)
        if len(text.encode()) <= MOST_BYTES:
            break
    return text


def _rendered(evidence: Evidence, thinner: int) -> str:
    """Render the page with so many times fewer rows, marks and samples."""
    reports = [s.report for s in evidence.subjects]
    joules, seconds = energy_unit(reports), time_unit(reports)
    least = least_of(evidence)
    several = max(1, len(reports))
    pictures = sum(len(x.layers) for s in evidence.subjects for x in s.activity.samples)
    most = Most(
        rows=max(4, MOST_ROWS // several // thinner),
        cells=max(32, tables.MOST_CELLS // several // thinner),
        bars=max(4, MOST_BARS // thinner),
        runs=MOST_RUNS // max(1, pictures) // thinner,
        samples=max(1, MOST_SAMPLES // thinner),
    )
    return _ENVIRONMENT.get_template("page.html.j2").render(
        evidence=evidence,
        verdict=verdict(evidence, joules),
        sureness=sureness(least.report) if least else "",
        joules=joules,
        seconds=seconds,
        chain=tables.chain(evidence),
        targets=tables.targets(evidence, joules, seconds),
        hows=tables.hows(evidence),
        points=tables.points(evidence, joules),
        scatters=_scatters(evidence, joules),
        provenance=tables.provenance(evidence),
        parts=[
            _parts(f"b{i}", s, (joules, seconds), most, named=several > 1)
            for i, s in enumerate(evidence.subjects)
        ],
        css=_inlined("page.css"),
        script=_inlined("page.js"),
    )


def _inlined(name: str) -> Markup:
    """Return a file of ours, which stands in the page as it is."""
    return Markup(files("snn2hw.report").joinpath("templates", name).read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Most:
    """What the sections about one build hold at most.

    Args:
        rows: of a table.
        cells: of the table of spikes by step.
        bars: layers of a picture.
        runs: marks in a raster, of a layer.
        samples: that are shown one by one.
    """

    rows: int
    cells: int
    bars: int
    runs: int
    samples: int


def _parts(
    name: str, subject: Subject, units: tuple[Unit, Unit], most: Most, *, named: bool
) -> dict[str, Any]:
    """Return what the sections about one build show.

    Args:
        name: that their anchors begin with.
        subject: the build.
        units: of energies and times.
        most: what they hold at most.
        named: whether the names of the sections begin with the build's, as there are several.
    """
    (joules, seconds), report, seen = units, subject.report, subject.activity
    hues = {layer.name: (47 * i + 190) % 360 for i, layer in enumerate(report.layers)}
    return {
        "id": name,
        "named": f"{name} " if named else "",
        "subject": subject,
        "boundaries": tables.boundaries(report, joules, seconds),
        "layer_by_event": tables.layer_by_event(report, joules, most.rows),
        "events": tables.events(report, joules),
        "bars": _bars(report, joules, most.bars),
        "paid": [p.event.replace("_", " ") for p in report.paid() if p.count],
        "steps": tables.steps(subject, most.rows, most.cells),
        "by_step": activity.by_step(
            seen.spikes, {x.name: x.neurons for x in report.layers}, most.bars
        ),
        "drawn": min(len(seen.spikes), most.bars),
        "samples": [
            (
                s,
                activity.raster(s, most.runs),
                [activity.membranes(x) for x in s.layers if x.watched.size],
            )
            for s in seen.samples[: most.samples]
        ],
        "matrix": _matrix(subject),
        "confusions": tables.confusions(subject, most.rows),
        "chips": floor_plan.chips(
            subject.placement, seen.core_uj.tolist(), seen.core_sent.tolist()
        ),
        "notes": floor_plan.notes(subject.placement),
        "hues": dict(list(hues.items())[: most.bars]),
        "all_hues": hues,
        "cores": tables.cores(subject, joules, min(tables.MOST_CORES, most.rows)),
        "layers": tables.layers(subject, most.rows),
        "prices": tables.prices(report),
        "rewritten": _rewritten(subject.info["rewrites"]),
    }


def _bars(report: EnergyReport, joules: Unit, most: int) -> list[Bar]:
    paid = [p for p in report.paid() if p.count]
    widest = max((x.dynamic_uj.typical for x in report.layers), default=0.0) or 1.0
    bars: list[Bar] = []
    for x in report.layers[:most]:
        uj = [(p.event.replace("_", " "), x.counts[p.event] * p.pj * 1e-6) for p in paid]
        told = ", ".join(f"{event} {joules.of(v)}" for event, v in uj if v)
        words = f"{short(x.name)}: {told or 'nothing'} {joules.sign}"
        bars.append(Bar(x.name, tuple((e, 100 * v / widest) for e, v in uj), words))
    return bars


def _matrix(subject: Subject) -> list[list[tuple[int, float]]]:
    """Return counts and shares of their class, a row for each class; nothing if too many."""
    found = subject.activity.confusion
    if found is None or len(found) > MOST_CLASSES:
        return []
    whole = found.sum(axis=1)
    return [
        [(int(n), float(n) / max(1, int(whole[i]))) for n in row] for i, row in enumerate(found)
    ]


def _scatters(evidence: Evidence, joules: Unit) -> list[Markup]:
    """Draw accuracy against energy of builds, and against synops of runs and builds."""
    uj: list[Spot] = [
        (p.name, p.uj / joules.size, p.accuracy, p.here, False) for p in evidence.points if p.uj
    ]
    synops: list[Spot] = [
        (p.name, p.synops, p.accuracy, p.here, p.uj is None) for p in evidence.points if p.synops
    ]
    drawn = ((uj, f"energy of an inference, {joules.sign}"), (synops, "synops of an inference"))
    return [scatter(spots, what) for spots, what in drawn if spots]


def _rewritten(done: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what was measured before and after rewrites: where, spikes, kept, accuracy."""
    if not done:
        return None
    right = (*done.get("accuracy", (None, None)), done["on_chip"].get("accuracy"))
    kept = (None, done["same_predictions"], done["on_chip"]["same_predictions"])
    spikes = (*done["spikes_per_sample"], done["on_chip"]["spikes_per_sample"])
    where = ("before, in float", "after, in float", "after, on the chip")
    rows = list(zip(where, spikes, kept, right, strict=True))
    return {
        "applied": done["applied"], "measured_on": done["measured_on"], "rows": rows,
        "random": done["measured_on"].endswith(RANDOM),
    }  # fmt: skip
