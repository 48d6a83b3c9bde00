"""The page about a build, or about one model on several targets: gathered, rendered, written."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from snn2hw.fields import require
from snn2hw.files import new_file
from snn2hw.pipeline import folder
from snn2hw.pipeline.activity import activity
from snn2hw.pipeline.builds import Measured
from snn2hw.report import page
from snn2hw.report.evidence import Evidence, Step, Subject
from snn2hw.report.proof import proved
from snn2hw.store.documents import BESIDE
from snn2hw.store.folders import Build
from snn2hw.store.layout import placement_json

VERSIONS = ("snn2hw", "numpy", "numba")
FEW = 2  # samples that are shown of each of several builds


def subject(
    build: Build,
    measured: Measured,
    proof: Mapping[str, Any] | str | None,
    shown: int | None = None,
) -> Subject:
    """Gather what a page shows of a build.

    Args:
        build: the build.
        measured: what it did.
        proof: what ``verify`` found last, of whichever program, or why nobody can read it.
        shown: how many samples to look into; None for the usual number.
    """
    looked = {} if shown is None else {"shown": shown}
    return Subject(
        name=build.name,
        info=build.info,
        placement=placement_json(build.program.placement),
        report=measured.report,
        proof=proved(proof, build.digest),
        activity=activity(build.program, measured, **looked),
        notes=measured.samples.notes,
    )


def of_build(
    build: Build,
    measured: Measured,
    proof: Mapping[str, Any] | str | None,
    *,
    command: str,
    root: Path | None,
    targets: Sequence[Mapping[str, Any]] = (),
    others: Sequence[Mapping[str, Any]] = (),
) -> Evidence:
    """Gather what a page about one build shows.

    Args:
        build: the build.
        measured: what it did.
        proof: as in ``subject``.
        command: what was called.
        root: the working directory, whose runs and builds are shown too; None for none.
        targets: rows of ``comparing.compare_targets``.
        others: rows of what else runs the model (``Evidence.others``).

    Raises:
        InputError: a row of ``others`` lacks something.
    """
    _check_beside(others)
    about = subject(build, measured, proof)
    chain: Sequence[Step] = ()
    notes, points, left_out = [], [], []
    if root is not None:
        chain, notes = folder.chain(build.info, [measured.report], root)
        points, left_out = folder.points(
            root, {build.name: measured.report}, build.path, _asked_for(build.name, build.info)
        )
    return Evidence(
        title=build.name, subjects=(about,), chain=tuple(chain), chain_notes=tuple(notes),
        targets=tuple(targets), others=tuple(others), points=tuple(points),
        left_out=tuple(left_out), made=made(command),
    )  # fmt: skip


def of_targets(
    model: str,
    rows: Sequence[Mapping[str, Any]],
    subjects: Sequence[Subject],
    *,
    command: str,
    root: Path,
    others: Sequence[Mapping[str, Any]] = (),
) -> Evidence:
    """Gather what a page about one model on several targets shows.

    Args:
        model: its name.
        rows: of ``comparing.compare_targets``.
        subjects: the builds for the targets that it fits.
        command: what was called.
        root: the working directory.
        others: as in ``of_build``.

    Raises:
        InputError: a row of ``others`` lacks something.
    """
    _check_beside(others)
    reports = {f"{s.name} ({s.report.target})": s.report for s in subjects}
    chain: Sequence[Step] = ()
    notes, points, left_out = [], [], []
    if subjects:
        chain, notes = folder.chain(subjects[0].info, list(reports.values()), root)
        first = [n for s in subjects for n in _asked_for(s.name, s.info)]
        points, left_out = folder.points(root, reports, first=first)
    return Evidence(
        title=model, subjects=tuple(subjects), chain=tuple(chain), chain_notes=tuple(notes),
        targets=tuple(rows), others=tuple(others), points=tuple(points),
        left_out=tuple(left_out), made=made(command),
    )  # fmt: skip


def _asked_for(name: str, info: Mapping[str, Any]) -> list[str]:
    """Return the names of a build and of the run that it was made of."""
    return [name, Path(str(info["model"])).name]


def _check_beside(others: object) -> None:
    rows: object = others
    if isinstance(others, list | tuple):
        rows = [dict(row) if isinstance(row, Mapping) else row for row in others]
    require(rows, BESIDE, "What stands beside the build", "Give each row these fields.")


def made(command: str) -> dict[str, str]:
    """Return when and by what a page is made."""
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "versions": ", ".join(f"{k} {version(k)}" for k in VERSIONS),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def write(path: Path, evidence: Evidence) -> Path:
    """Write a page, whole or not at all."""
    text = page.render(evidence)
    with new_file(path, make_folder=False) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
