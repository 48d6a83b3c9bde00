"""The verdict of a page: what an inference costs, how sure, against what, and what was proved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from snn2hw.errors import listed
from snn2hw.estimator import EnergyReport
from snn2hw.report.evidence import Evidence, Subject
from snn2hw.report.text import percent, short
from snn2hw.report.units import Unit

KEPT_TOGETHER = "\u00a0"  # a space at which no line breaks: between a number and its unit
MOST_TOLD = 300  # characters of a processor's name
PROVED = {
    "equal": "every value that was compared with the vendor's simulator is equal",
    "part": "every value of a part that was compared with the vendor's simulator is equal",
    "differs": "some values differ from the vendor's simulator",
    "other": "nothing is proved of this program",
    "none": "nothing is proved of it yet",
}


def least_of(evidence: Evidence) -> Subject | None:
    """Return the build that takes least energy, which the verdict is about."""
    subjects = evidence.subjects
    return min(
        subjects, key=lambda s: s.report.boundaries()["chip"]["total_uj"].typical, default=None
    )


def verdict(evidence: Evidence, joules: Unit) -> str:
    """Say in one sentence what the page comes to."""
    least = least_of(evidence)
    if least is None:
        return f"{short(evidence.title)} fits none of {len(evidence.targets)} targets."
    r = least.report.boundaries()["chip"]["total_uj"]
    return (
        f"An inference of {short(least.name)} costs about {_with_unit(r.typical, joules)} on "
        f"{least.report.title}, by estimate between {joules.of(r.low)} and "
        f"{_with_unit(r.high, joules)}, "
        f"{_against(evidence, least, joules)}; {_right(least.report)}{PROVED[least.proof.state]}."
    )


def _with_unit(uj: float, joules: Unit) -> str:
    return f"{joules.of(uj)}{KEPT_TOGETHER}{joules.sign}"


def _share(value: float) -> str:
    return percent(value).replace(" ", KEPT_TOGETHER)


def _right(report: EnergyReport) -> str:
    if report.accuracy is None:
        return ""
    samples = "sample" if report.samples == 1 else "samples"
    seen = " on which it was trained" if report.trained_on else ""
    return f"it is right for {_share(report.accuracy)} of {report.samples:,} {samples}{seen}; "


def _against(evidence: Evidence, least: Subject, joules: Unit) -> str:
    """Say what it was compared with."""
    row = _beside(evidence, least.report)
    if row is not None:
        # Of a processor only what a sample adds is known, so the same of the chip stands beside it.
        own = _with_unit(least.report.dynamic_uj.typical, joules)
        uj = _with_unit(row["energy_uj"]["typical"], joules)
        return (
            f"of which its events take {own}, against {uj} for the {short(row['who'])} on "
            f"{short(row['runs_on'], MOST_TOLD)}{_less_right(row, least.report)}, idle power left "
            "out of both"
        )
    mine = least.report.target
    fit = [r for r in evidence.targets if r["fits"] and r["target"] != mine]
    if fit:
        best = min(fit, key=lambda r: float(r["chip"]["total_uj"]["typical"]))
        uj = _with_unit(best["chip"]["total_uj"]["typical"], joules)
        return f"against {uj} on {short(best['target'])}"
    if any(r["target"] != mine for r in evidence.targets):
        return "and it fits no other target"
    return "and it was compared with nothing else"


def _beside(evidence: Evidence, report: EnergyReport) -> Mapping[str, Any] | None:
    """Return what takes least elsewhere of what is as accurate as the chip, or else of the rest."""
    priced = [r for r in evidence.others if r["energy_uj"] and r["runs_on"] != report.title]
    as_right = [r for r in priced if _is_as_right(r, report)]
    return min(as_right or priced, key=lambda r: float(r["energy_uj"]["typical"]), default=None)


def _is_as_right(row: Mapping[str, Any], report: EnergyReport) -> bool:
    """Say whether a row is at least as accurate as the chip, on as many samples."""
    if report.accuracy is None:
        return True
    same = row.get("samples") in (None, report.samples)
    return same and row["accuracy"] is not None and row["accuracy"] >= report.accuracy - 1e-9


def _less_right(row: Mapping[str, Any], report: EnergyReport) -> str:
    """Say so where a row is not known to be as accurate as the chip."""
    if _is_as_right(row, report):
        return ""
    if row["accuracy"] is None:
        return ", whose accuracy is not known"
    samples = row.get("samples")
    of = "" if samples is None else f" of {samples:,} samples"
    return f", which is right for {_share(row['accuracy'])}{of}"


def sureness(report: EnergyReport) -> str:
    """Say on what the figures rest."""
    kinds = Counter(p.kind for p in report.prices)
    told = listed(f"{n} {kind}" for kind, n in kinds.most_common())
    share = report.dynamic_uj.typical / (report.boundaries()["chip"]["total_uj"].typical or 1.0)
    return (
        f"An estimate: events are counted exactly, and each has a price ({told}). The chip's "
        f"standing power takes {_share(1 - share)} of it, the network's own events "
        f"{_share(share)}."
    )
