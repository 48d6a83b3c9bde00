"""What a run is pruned with: its student, data and teacher, found again or given anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn2hw import datasets
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.files import expanded, sha256
from snn2hw.pipeline.loading import model_names
from snn2hw.pipeline.run_folders import asked, teacher_folder
from snn2hw.pipeline.samples import trained_data, trained_on
from snn2hw.pipeline.training import need_training
from snn2hw.store import folders
from snn2hw.store.folders import Run

if TYPE_CHECKING:
    from snn2hw.train import Recipe, Spiking


def prunable(run: str | None, root: Path) -> Run:
    """Find a run whose student can be trained on.

    Raises:
        InputError: there is none, it is of a module that only Python has, or it is a file or model.
    """
    from snn2hw import train

    if run is not None and run not in folders.names("runs", root):
        path = expanded(run)
        if path.is_file() or path.suffix == ".nir" or run in model_names():
            raise InputError(
                f"{run} is no run: only runs are pruned, and in Python modules.",
                "Distill a student first (snn2hw distill), or prune the module that it was made "
                "of: snn2hw.prune(module, data).",
            )
    found = folders.read_run(folders.find("runs", run, root))
    need_training()
    train.need_student(found.path)
    return found


def data_of(
    source: Run, recipe: Recipe, given: str | Dataset | None, data_dir: Path | None
) -> Dataset:
    """Return what to fine-tune on.

    Args:
        source: the run.
        recipe: of the fine-tuning, with the name of the data.
        given: what the caller gave; None for the run's own.
        data_dir: where to look for data first.

    Raises:
        InputError: the run's own are not kept.
    """
    if isinstance(given, Dataset):
        return given
    if given is None and datasets.split(recipe.data)[0] not in datasets.DATASETS:
        raise InputError(
            f"{source.path} was trained on {recipe.data!r}, data of a Python program that are not "
            "kept.",
            "Give them again: --data npz:FILE, in Python snn2hw.prune(run, data).",
        )
    return datasets.load(recipe.data, data_dir, time_steps=recipe.time_steps)


def check_data(owner: str, recipe: Recipe, student: Spiking, dataset: Dataset) -> None:
    """Refuse data that are not like those that a student was trained on.

    Raises:
        InputError: says in what they differ.
    """
    encoder = recipe.shown_by(dataset)
    problems = [
        f"{what} {theirs}, not {mine}"
        for what, theirs, mine in (
            ("samples of shape", list(encoder.shape(dataset.shape)), list(student.shape)),
            ("classes", dataset.classes, student.classes),
        )
        if theirs != mine
    ]
    most = encoder.max_value(dataset.max_value)
    if most > student.max_value:
        problems.append(f"values up to {most}, not {student.max_value}")
    if problems:
        raise InputError(
            f"{owner} was trained on other data than {recipe.data}, which has "
            f"{', '.join(problems)}.",
            "Give data like those of the training.",
        )


def of_parent(source: Run, dataset: Dataset) -> dict[str, Any]:
    """Return what the metrics of a pruned run tell of the run that it was pruned from.

    Args:
        source: that run.
        dataset: what is fine-tuned on.
    """
    taught = ("teacher_accuracy", "teacher_input", "teacher_note")
    student = {"parent_sha256": sha256(source.student)} if source.student.is_file() else {}
    return {
        "teacher_accuracy": None,
        **{k: v for k, v in source.metrics.items() if k in taught},
        "parent": source.name, **student,
        **learned_before(source.name, source.metrics, dataset),
    }  # fmt: skip


def learned_before(who: str, known: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Return what metrics tell of other data that a student was trained on before these.

    Args:
        who: was trained.
        known: the metrics of that.
        dataset: what it is trained on now.

    Returns:
        ``trained_before``, and ``data_note`` if samples that are held out now are among them.
    """
    before = [d for d in dict.fromkeys(trained_data(known)) if d and d != dataset.name]
    if not datasets.in_training(dataset.name, before):
        return {"trained_before": before} if before else {}
    note = f"{dataset.note}; {trained_on(who, dataset.name)}"
    return {"trained_before": before, "data_note": note}


def retold(
    source: Run, data: str | Dataset | None, seed: int | None
) -> tuple[Recipe, Path | None, list[str]]:
    """Return the recipe of a pruning, the run with the teacher, and what there is to say.

    No run, if the method needs none, or the teacher was a module in Python: then labels alone
    teach.

    Args:
        source: the run.
        data: what is given to fine-tune on; None for the run's own.
        seed: of fine-tuning; None for the run's own.

    Raises:
        InputError: the run with the teacher is gone.
    """
    from snn2hw import train

    recipe = train.load_recipe(source.path)
    if data is not None:
        recipe = replace(recipe, data=data.name if isinstance(data, Dataset) else data)
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    if not recipe.plan.needs_teacher:
        return recipe, None, []
    try:
        return recipe, teacher_folder(source), []
    except InputError:
        if (asked(source.path) or {}).get("command") != "python":
            raise
    doubt = (
        f"the teacher of {source.name} was a module in Python, which is not kept: fine-tuned on "
        "labels alone (method none)"
    )
    return replace(recipe, method="none"), None, [doubt]
