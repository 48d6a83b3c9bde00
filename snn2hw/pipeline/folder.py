"""The working directory as a page shows it: where a build comes from, and what else is there.

The documents of other runs and builds may be broken or from elsewhere: these are left out, and it
is said why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from snn2hw.errors import InputError, Snn2hwError
from snn2hw.estimator import EnergyReport
from snn2hw.files import expanded
from snn2hw.pipeline.keeping import last_bill, last_proof
from snn2hw.pipeline.run_folders import asked
from snn2hw.report.evidence import Point, Step
from snn2hw.store import folders
from snn2hw.store.folders import Run
from snn2hw.store.replacing import BILL

MOST = 200  # runs, and builds, that are looked at
GENERATIONS = 8  # runs of which one was pruned from the next
# What of a recipe decides only how a teacher teaches, or what comes after the training.
TEACHING = frozenset({
    "method", "teacher", "teacher_epochs", "teacher_lr", "teacher_weights", "teacher_input",
    "teacher_output", "alpha", "tau_teacher", "tau_student", "feature_weight", "stages", "blur",
    "step_weight", "ensemble_weight", "tau_steps", "agree_weight", "logit_weight", "train_weight",
    "spike_memory", "density", "prune_epochs", "prune_lr",
})  # fmt: skip
LABELS_ONLY = "none"  # the method without a teacher


def chain(info: Mapping[str, Any], reports: Sequence[EnergyReport], root: Path) -> list[Step]:
    """Follow a build back to its teacher: teacher, student, what was pruned of it, chips.

    Args:
        info: ``build.json``.
        reports: of the build, or of builds of the same model.
        root: the working directory, with the runs.
    """
    runs = _ancestors(str(info["model"]), root)
    chips = [
        Step(f"on {r.title}, integers", r.accuracy, r.samples, r.spikes, r.synops) for r in reports
    ]
    if runs:
        first = runs[0].metrics
        alone = twin(runs[0], root)
        steps = [_alone(alone)] if alone else []
        steps += [_of_run(run) for run in runs]
        teacher = first["teacher_accuracy"]
        who = f"teacher ({first.get('teacher', 'a module')})"
    else:
        known = info["run"]
        teacher, who = known.get("teacher_accuracy"), "teacher"
        steps = [Step("student, float", known["accuracy"], None)] if "accuracy" in known else []
    told = [Step(who, teacher, steps[0].samples)] if teacher is not None and steps else []
    return [*told, *steps, *chips]


def _ancestors(model: str, root: Path) -> list[Run]:
    """Return the run that a build was made of, and before it those that it was pruned from."""
    found: list[Run] = []
    places = [p for p in (expanded(model), root / "runs" / model) if model and p.is_dir()]
    path = places[0] if places else None
    while path is not None and len(found) < GENERATIONS:
        try:
            run = folders.read_run(path)
        except Snn2hwError:
            break
        if path in (r.path for r in found):
            break
        found.insert(0, run)
        parent = (asked(path) or {}).get("parent")
        path = path.parent / Path(str(parent)).name if parent else None
    return found


def twin(run: Run, root: Path) -> Run | None:
    """Return the run of a folder that differs from a taught one in having had no teacher."""
    asked_for = (asked(run.path) or {}).get("recipe")
    if not asked_for or asked_for.get("method") == LABELS_ONLY:
        return None
    for name in folders.names("runs", root)[:MOST]:
        path = root / "runs" / name
        other = (asked(path) or {}).get("recipe", {})
        shared = (other.keys() & asked_for.keys()) - TEACHING
        if other.get("method") == LABELS_ONLY and all(other[k] == asked_for[k] for k in shared):
            with suppress(Snn2hwError):
                found = folders.read_run(path)
                if "sparsity" not in found.metrics:
                    return found
    return None


def _alone(run: Run) -> Step:
    return replace(_of_run(run), who=f"the student without the teacher, float ({run.name})")


def _of_run(run: Run) -> Step:
    known = run.metrics
    zeros = known.get("sparsity")
    what = "student, float" if zeros is None else f"pruned, {100 * zeros:.0f} % zeros, float"
    return Step(
        f"{what} ({run.name})", known["accuracy"], known.get("samples"),
        known["spikes_per_sample"], known["synops_per_sample"], known["connections"],
    )  # fmt: skip


def points(
    root: Path, here: Mapping[str, EnergyReport], build: Path | None = None
) -> tuple[list[Point], list[str]]:
    """Return accuracy and cost of the runs and builds of a folder, on the same samples.

    Args:
        root: the working directory.
        here: reports by their names, at least one, which decides the data and the number of
            samples; all are among the points.
        build: the build that the report is of, whose ``energy.json`` is not shown beside it.

    Returns:
        The points, and what is left out, and why.
    """
    report = next(iter(here.values()))
    found, left = [_point(k, r) for k, r in here.items() if r.accuracy is not None], list[str]()
    if not found:
        return [], ["The report has no accuracy, so there is nothing to compare it by."]
    for kind in ("runs", "builds"):
        there = folders.names(kind, root)
        if len(there) > MOST:
            left.append(f"The first {MOST} of {len(there):,} {kind} are looked at.")
        for one in there[:MOST]:
            path = root / kind / one
            if build is not None and path.resolve() == build.resolve():
                continue
            point = _run_point(path) if kind == "runs" else _build_point(path)
            if isinstance(point, str):
                left.append(f"{kind}/{one}: {point}")
            elif (point.data, point.samples) != (report.data, report.samples):
                of = f"{point.samples:,} samples of {point.data}"
                left.append(f"{kind}/{one}: its accuracy is of {of}.")
            else:
                found.append(point)
    return found, left


def _point(name: str, report: EnergyReport) -> Point:
    uj = report.boundaries()["chip"]["total_uj"].typical
    return Point(
        name, "build", report.data or "", report.samples, report.accuracy or 0.0, report.synops, uj,
        here=True,
    )  # fmt: skip


def proof_of(root: Path, program: str) -> dict[str, Any] | None:
    """Return the proof of a program that a build of the folder keeps, if there is one."""
    for name in folders.names("builds", root)[:MOST]:
        with suppress(InputError):
            found = last_proof(root / "builds" / name)
            if found is not None and found.get("program") == program:
                return found
    return None


def _run_point(path: Path) -> Point | str:
    try:
        known = folders.read_run(path).metrics
    except InputError as error:
        return error.message
    if "samples" not in known:
        return "does not say of how many samples its accuracy is."
    return Point(
        path.name, "run", known["data"], known["samples"], known["accuracy"],
        known["synops_per_sample"],
    )  # fmt: skip


def _build_point(path: Path) -> Point | str:
    info: dict[str, Any] = {}
    with suppress(Snn2hwError):
        info = folders.read_document(path)
    if not info:
        return "is no build that can be read."
    try:
        bill = last_bill(path)
    except InputError as error:
        return error.message
    if bill is None:
        return "has no energy report yet."
    if bill.get("program") != info["digest"]:
        return f"its {BILL} is of another program."
    if bill["accuracy"] is None or bill["data"] is None:
        return "its energy report has no accuracy."
    return Point(
        path.name, "build", bill["data"], bill["samples"], bill["accuracy"], bill["synops"],
        bill["chip"]["total_uj"]["typical"],
    )  # fmt: skip
