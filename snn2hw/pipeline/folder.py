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

from snn2hw.datasets import in_training
from snn2hw.errors import InputError, Snn2hwError, counted
from snn2hw.estimator import EnergyReport
from snn2hw.files import expanded, sha256
from snn2hw.pipeline.keeping import last_bill, proof_or_why
from snn2hw.pipeline.run_folders import asked
from snn2hw.pipeline.samples import trained_data
from snn2hw.report.evidence import Of, Point, Step
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
SEEN = "its accuracy is of samples on which it was trained."


def chain(
    info: Mapping[str, Any], reports: Sequence[EnergyReport], root: Path
) -> tuple[list[Step], list[str]]:
    """Follow a build back to its teacher: teacher, student, what was pruned of it, chips.

    A run counts only if its student is the one that the build was made of, or the next run was
    pruned from, by its hash.

    Args:
        info: ``build.json``.
        reports: of the build, or of builds of the same model.
        root: the working directory, with the runs.

    Returns:
        The steps, and what is left out, and why.
    """
    runs, left = _ancestors(info, root)
    chips = [
        Step(f"on {r.title}, integers", r.accuracy, of_report(r), r.spikes, r.synops)
        for r in reports
    ]
    if runs:
        first = runs[0].metrics
        alone = twin(runs[0], root)
        steps = [_alone(alone)] if alone else []
        steps += [_of_run(run) for run in runs]
        taught, of = first, _of(first)
        who = f"teacher ({first.get('teacher', 'a module')})"
    else:
        taught, who = info["run"], "teacher"
        of = Of(None, info["data"], in_training(info["data"] or "", trained_data(info)))
        steps = [Step("student, float", taught["accuracy"], of)] if "accuracy" in taught else []
        if info.get("trained_before"):
            of = Of(None, None)  # the teacher's accuracy is of data before these
    teacher = taught.get("teacher_accuracy")
    of = replace(of, trained_on="teacher_note" in taught)
    told = [Step(who, teacher, of)] if teacher is not None and steps else []
    return [*told, *steps, *chips], left


def of_report(report: EnergyReport) -> Of:
    """Return what the accuracy of a report is of."""
    return Of(report.samples, report.data, report.trained_on, report.data_sha256)


def _of(metrics: Mapping[str, Any]) -> Of:
    """Return what the accuracy of a run is of."""
    data = metrics["data"]
    return Of(metrics.get("samples"), data, in_training(data, trained_data(metrics)))


def _ancestors(info: Mapping[str, Any], root: Path) -> tuple[list[Run], list[str]]:
    """Return the run that a build was made of, and before it those that it was pruned from.

    And what is not the one that it was, and so left out.
    """
    found, left = list[Run](), list[str]()
    model, made_of = str(info["model"]), info["inputs"].get("nir")
    places = [p for p in (expanded(model), root / "runs" / model) if model and p.is_dir()]
    path, wanted = places[0] if places else None, made_of and made_of["sha256"]
    while path is not None and len(found) < GENERATIONS:
        try:
            run = folders.read_run(path)
            known = sha256(run.student) if wanted else None
        except (Snn2hwError, OSError):
            break
        if path in (r.path for r in found):
            break
        if known != wanted:
            of = found[0].name if found else "this build"
            left.append(
                f"Run {run.name} is left out: its student is not the one that {of} was made of."
            )
            break
        found.insert(0, run)
        parent, wanted = (asked(path) or {}).get("parent"), run.metrics.get("parent_sha256")
        path = path.parent / Path(str(parent)).name if parent else None
    return found, left


def twin(run: Run, root: Path) -> Run | None:
    """Return the run of a folder that differs from a taught one in having had no teacher."""
    mine = _recipe(run.path)
    if not mine or mine.get("method") == LABELS_ONLY:
        return None
    for name in folders.names("runs", root)[:MOST]:
        path = root / "runs" / name
        other = _recipe(path)
        if other.get("method") == LABELS_ONLY and _shared(other) == _shared(mine):
            with suppress(Snn2hwError):
                found = folders.read_run(path)
                same = all(found.metrics[k] == run.metrics[k] for k in ("data", "seed"))
                if same and "sparsity" not in found.metrics:
                    return found
    return None


def _recipe(path: Path) -> dict[str, Any]:
    """Return a run's recipe, as its version wrote it; {} if there is none."""
    return (asked(path) or {}).get("recipe", {})


def _shared(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in recipe.items() if k not in TEACHING}


def _alone(run: Run) -> Step:
    return replace(_of_run(run), who=f"the student without the teacher, float ({run.name})")


def _of_run(run: Run) -> Step:
    known = run.metrics
    zeros = known.get("sparsity")
    what = "student, float" if zeros is None else f"pruned, {100 * zeros:.0f} % zeros, float"
    return Step(
        f"{what} ({run.name})", known["accuracy"], _of(known),
        known["spikes_per_sample"], known["synops_per_sample"], known["connections"],
    )  # fmt: skip


def points(
    root: Path,
    here: Mapping[str, EnergyReport],
    build: Path | None = None,
    first: Sequence[str] = (),
) -> tuple[list[Point], list[str]]:
    """Return accuracy and cost of the runs and builds of a folder, on the same samples.

    Args:
        root: the working directory.
        here: reports by their names, at least one, which decides the data and the number of
            samples; all are among the points.
        build: the build that the report is of, whose ``energy.json`` is not shown beside it.
        first: names of runs and builds that are looked at, however many there are.

    Returns:
        The points, and what is left out, and why.
    """
    of = of_report(next(iter(here.values())))
    found, left = [_point(k, r) for k, r in here.items() if r.accuracy is not None], list[str]()
    if not found:
        return [], ["The report has no accuracy, so there is nothing to compare it by."]
    if of.trained_on:
        return found, ["The report's accuracy is of samples on which it was trained, so no other "
                       "stands beside it."]  # fmt: skip
    for kind in ("runs", "builds"):
        there = folders.names(kind, root)
        if len(there) > MOST:
            left.append(f"{MOST} of {len(there):,} {kind} are looked at.")
        for one in _looked_at(there, first):
            path = root / kind / one
            if build is not None and path.resolve() == build.resolve():
                continue
            point = _run_point(path) if kind == "runs" else _build_point(path)
            if isinstance(point, str):
                left.append(f"{kind}/{one}: {point}")
            elif (why := _other(point, of)) is not None:
                left.append(f"{kind}/{one}: its accuracy is of {why}.")
            else:
                found.append(point)
    return found, left


def _looked_at(there: Sequence[str], first: Sequence[str]) -> list[str]:
    """Return the names that are looked at, of all there are: those of ``first`` among them."""
    return sorted(there, key=lambda name: name not in first)[:MOST]


def _other(point: Point, of: Of) -> str | None:
    """Say of which other samples a point is; None if they are the same."""
    if (point.data, point.samples) != (of.data, of.samples):
        return f"{counted(point.samples, 'sample')} of {point.data}"
    return None if point.sha256 == of.sha256 else f"other samples that are called {point.data}"


def _point(name: str, report: EnergyReport) -> Point:
    uj = report.boundaries()["chip"]["total_uj"].typical
    return Point(
        name, "build", report.data or "", report.samples, report.accuracy or 0.0, report.synops, uj,
        here=True, sha256=report.data_sha256,
    )  # fmt: skip


def proof_of(root: Path, program: str, first: Sequence[Path] = ()) -> dict[str, Any] | str | None:
    """Return the proof of a program that a build of the folder keeps, if there is one.

    If there is none, and that of one of ``first`` cannot be read, the reason.

    Args:
        root: the working directory.
        program: its hash.
        first: builds that are looked at before all others, wherever they are.
    """
    others = (root / "builds" / name for name in folders.names("builds", root)[:MOST])
    for path in (*first, *others):
        found = proof_or_why(path)
        if isinstance(found, dict) and found.get("program") == program:
            return found
    return next((why for why in map(proof_or_why, first) if isinstance(why, str)), None)


def _run_point(path: Path) -> Point | str:
    try:
        known = folders.read_run(path).metrics
    except InputError as error:
        return error.message
    if "samples" not in known:
        return "does not say of how many samples its accuracy is."
    if _of(known).trained_on:
        return SEEN
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
    if in_training(bill["data"], trained_data(info)):
        return SEEN
    return Point(
        path.name, "build", bill["data"], bill["samples"], bill["accuracy"], bill["synops"],
        bill["chip"]["total_uj"]["typical"], sha256=bill.get("data_sha256"),
    )  # fmt: skip
