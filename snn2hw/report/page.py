"""One self-contained HTML page: what runs on the chip, the proof, and the bill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from snn2hw.errors import visible
from snn2hw.estimator import EnergyReport
from snn2hw.report import floor_plan
from snn2hw.report.text import RANDOM, number, part, percent


def _shown(value: Any) -> Any:
    return visible(value) if type(value) is str else value


# Names of layers and files come from outside: everything is escaped, and what turns the direction
# of writing is shown as such.
_ENVIRONMENT = Environment(
    loader=PackageLoader("snn2hw", "report"),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(number=number, part=part, percent=percent)


def render(
    *,
    name: str,
    info: Mapping[str, Any],
    report: EnergyReport,
    placement: Mapping[str, Any],
    accuracy: float | None,
    verification: Mapping[str, Any] | None,
    story: list[tuple[str, float | None, float | None, float | None]] | None = None,
) -> str:
    """Render the page.

    Args:
        name: of the build.
        info: ``build.json``.
        report: the energy report.
        placement: ``placement.json``.
        accuracy: on chip integers, if labels were there.
        verification: the document of ``snn2hw verify``, if it ran.
        story: rows (who, accuracy, spikes, synops) from teacher to chip.
    """
    boundaries = report.boundaries()
    widest = max((x.dynamic_uj.high for x in report.layers), default=1.0) or 1.0
    largest = max(b["total_uj"].high for b in boundaries.values())
    hues = {layer.name: (37 * i) % 360 for i, layer in enumerate(report.layers)}
    return _ENVIRONMENT.get_template("page.html.j2").render(
        name=name,
        info=info,
        report=report,
        boundaries=boundaries,
        widest=widest,
        largest=largest,
        chips=floor_plan.chips(placement),
        notes=floor_plan.notes(placement),
        hues=hues,
        accuracy=accuracy,
        verification=verification,
        story=story or [],
        **_rewritten(info["rewrites"]),
    )


def _rewritten(done: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what was measured before and after rewrites: where, spikes, kept, accuracy."""
    if not done:
        return {}
    right = (*done.get("accuracy", (None, None)), done["on_chip"].get("accuracy"))
    kept = (None, done["same_predictions"], done["on_chip"]["same_predictions"])
    spikes = (*done["spikes_per_sample"], done["on_chip"]["spikes_per_sample"])
    where = ("before, in float", "after, in float", "after, on the chip")
    rows = list(zip(where, spikes, kept, right, strict=True))
    return {"rewritten": rows, "random": done["measured_on"].endswith(RANDOM)}
