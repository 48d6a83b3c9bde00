# pyright: basic
"""What the pipeline calls: teach, distill, prune, save, load.

A run's folder holds ``recipe.json``, ``log.jsonl`` and ``checkpoint/``: there
``teacher.safetensors`` and ``student.safetensors`` when they are done, and
``<stage>.state.safetensors`` while a stage is under way.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.files import read_json, write_json
from snn2hw.train import students, teachers
from snn2hw.train.loop import Devices, Job, Progress, evaluate, fit, state_path
from snn2hw.train.methods import find_method, labels_only
from snn2hw.train.prune import Pruner
from snn2hw.train.recipe import Recipe
from snn2hw.train.state import read_tensors, write_tensors
from snn2hw.train.students import Student


def new_teacher(recipe: Recipe, dataset: Dataset) -> nn.Module:
    """Build the recipe's teacher for a data set, initial weights drawn from the seed.

    Raises:
        InputError: there is no such teacher, or the data are event frames.
    """
    if dataset.frames is not None:
        raise InputError(
            f"Teacher {recipe.teacher!r} takes images; {dataset.name!r} holds event frames.",
            "Use --method none, or a teacher module of your own for frames.",
        )
    settings = teachers.Settings(dataset.shape, dataset.classes, dataset.max_value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return teachers.make_teacher(recipe.teacher, settings)


def new_student(recipe: Recipe, dataset: Dataset) -> Student:
    """Build the recipe's student for a data set, initial weights drawn from the seed.

    Raises:
        InputError: there is no such student.
    """
    settings = students.Settings(
        dataset.shape,
        dataset.classes,
        dataset.max_value,
        dataset.frames or recipe.time_steps,
        recipe.beta,
        recipe.width,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return students.make_student(recipe.student, settings)


def train_teacher(
    recipe: Recipe,
    dataset: Dataset,
    run_dir: Path | None = None,
    progress: Progress | None = None,
    devices: Devices | None = None,
) -> tuple[nn.Module, float]:
    """Train or load the recipe's teacher.

    With ``teacher_weights`` it is loaded; only if the file's first convolution or last layer
    did not fit is it then trained. A teacher that this run has finished is loaded from it.

    Returns:
        The teacher and its accuracy on the test part.

    Raises:
        InputError: the weights cannot be used.
        Interrupted: Ctrl-C; the same call goes on.
    """
    if run_dir is not None and _teacher_file(run_dir).exists():
        done = load_teacher(run_dir, recipe)
        return done, evaluate(done, dataset.x_test, dataset.y_test).accuracy
    teacher = new_teacher(recipe, dataset)
    train = True
    if recipe.teacher_weights is not None:
        loaded = teachers.load_weights(teacher, Path(recipe.teacher_weights).expanduser())
        train = bool(loaded.kept)
        if progress is not None:
            progress.update("teacher", 0, 1, kept=dict(loaded.kept))
    if train:
        job = Job(
            "teacher",
            lambda logits, targets, _teacher: labels_only(logits, targets, None, recipe.weights),
            recipe.teacher_epochs,
            recipe.batch,
            recipe.teacher_lr,
            seed=recipe.seed,
            shift=recipe.shift,
            facts={"teacher": recipe.teacher, "weights": recipe.teacher_weights},
        )
        fit(job, teacher, dataset, run_dir, progress=progress, devices=devices)
    if run_dir is not None:
        facts = _facts(recipe, dataset.shape, dataset.classes, dataset.max_value, 0)
        write_tensors(_teacher_file(run_dir), teacher.state_dict(), facts)
        state_path(run_dir, "teacher").unlink(missing_ok=True)
    return teacher, evaluate(teacher, dataset.x_test, dataset.y_test).accuracy


def distill_student(
    recipe: Recipe,
    dataset: Dataset,
    teacher: nn.Module | None,
    run_dir: Path | None = None,
    progress: Progress | None = None,
    *,
    student: nn.Module | None = None,
    devices: Devices | None = None,
) -> nn.Module:
    """Train a student by the recipe's method.

    Args:
        recipe: method and constants.
        dataset: what to train on.
        teacher: any module from integer samples to logits; None if the method needs none.
        run_dir: where log and checkpoint go, and ``checkpoint/student.safetensors``.
        progress: told after every step.
        student: trained in place; by default the recipe's.
        devices: where to train.

    Raises:
        InputError: the method needs a teacher.
        Interrupted: Ctrl-C; the same call goes on.
    """
    student = student if student is not None else new_student(recipe, dataset)
    job = Job(
        "student",
        _criterion(recipe, student, teacher),
        recipe.epochs,
        recipe.batch,
        recipe.lr,
        seed=recipe.seed,
        shift=recipe.shift,
        spike_cost=recipe.spike_cost,
        facts=_taught(recipe),
    )
    fit(
        job,
        student,
        dataset,
        run_dir,
        teacher=teacher if find_method(recipe.method).needs_teacher else None,
        progress=progress,
        devices=devices,
    )
    _finish(run_dir, student, recipe, "student")
    return student


def prune_student(
    student: nn.Module,
    teacher: nn.Module | None,
    recipe: Recipe,
    sparsity: float,
    epochs: int | None,
    dataset: Dataset,
    run_dir: Path | None = None,
    progress: Progress | None = None,
    *,
    devices: Devices | None = None,
) -> nn.Module:
    """Return a copy of a student with ``sparsity`` of its weights zero, fine-tuned.

    Args:
        student: what to prune; it stays as it is.
        teacher: as in ``distill_student``.
        recipe: method and constants.
        sparsity: share of convolution and dense weights that become zero.
        epochs: of fine-tuning, pruning in the first half; None for the recipe's.
        dataset: what to train on.
        run_dir: where log and checkpoint go, and ``checkpoint/student.safetensors``.
        progress: told after every step.
        devices: where to train.

    Raises:
        InputError: a sparsity that cannot be had, or a missing teacher.
        Interrupted: Ctrl-C; the same call goes on.
    """
    pruned = copy.deepcopy(student)
    epochs = epochs or recipe.prune_epochs
    pruner = Pruner(pruned, sparsity, epochs)
    job = Job(
        "prune",
        _criterion(recipe, pruned, teacher),
        epochs,
        recipe.batch,
        recipe.prune_lr,
        seed=recipe.seed,
        shift=recipe.shift,
        spike_cost=recipe.spike_cost,
        before_epoch=pruner.before_epoch,
        after_step=pruner.apply,
        facts=_taught(recipe) | {"sparsity": sparsity},
    )
    fit(
        job,
        pruned,
        dataset,
        run_dir,
        teacher=teacher if find_method(recipe.method).needs_teacher else None,
        progress=progress,
        devices=devices,
    )
    _finish(run_dir, pruned, recipe, "prune")
    return pruned


def _criterion(recipe: Recipe, student: nn.Module, teacher: nn.Module | None) -> Any:
    method = find_method(recipe.method)
    if method.needs_teacher and teacher is None:
        raise InputError(f"Method {recipe.method!r} needs a teacher.", "Use --method none.")
    # Spike counts are few and whole: as they are, their softmax could not come near 0 or 1.
    scale = recipe.logit_scale / student.time_steps if isinstance(student, Student) else 1.0

    def criterion(counts: Tensor, targets: Tensor, taught: Tensor | None) -> Tensor:
        return method.loss(counts * scale, targets, taught, recipe.weights)

    return criterion


def _taught(recipe: Recipe) -> dict[str, Any]:
    names = ("student", "teacher", "method", "time_steps", "beta", "width", "logit_scale")
    return {n: getattr(recipe, n) for n in names} | recipe.weights._asdict()


def _teacher_file(run_dir: Path) -> Path:
    return run_dir / "checkpoint" / "teacher.safetensors"


def _student_file(run_dir: Path) -> Path:
    return run_dir / "checkpoint" / "student.safetensors"


def _facts(
    recipe: Recipe, shape: tuple[int, int, int], classes: int, max_value: int, steps: int
) -> dict[str, Any]:
    return {
        "recipe": recipe.to_json(),
        "shape": list(shape),
        "classes": classes,
        "max_value": max_value,
        "time_steps": steps,
    }


def _finish(run_dir: Path | None, student: nn.Module, recipe: Recipe, stage: str) -> None:
    if run_dir is not None and isinstance(student, Student):
        save_student(run_dir, student, recipe)
        state_path(run_dir, stage).unlink(missing_ok=True)


def save_student(run_dir: Path, student: Student, recipe: Recipe) -> None:
    """Write ``recipe.json`` and ``checkpoint/student.safetensors``."""
    facts = _facts(recipe, student.shape, student.classes, student.max_value, student.time_steps)
    write_json(run_dir / "recipe.json", recipe.to_json())
    write_tensors(_student_file(run_dir), student.state_dict(), facts)


def load_student(run_dir: Path) -> Student:
    """Read a run's finished student.

    Raises:
        InputError: the run has none, or the file is damaged.
    """
    path = _student_file(run_dir)
    tensors, recipe, facts = _read(path, run_dir, "student")
    shape, classes, max_value = tuple(facts["shape"]), facts["classes"], facts["max_value"]
    settings = students.Settings(
        shape, classes, max_value, facts["time_steps"], recipe.beta, recipe.width
    )
    student = students.make_student(recipe.student, settings)
    _put(student, tensors, path)
    return student


def load_teacher(run_dir: Path, expected: Recipe | None = None) -> nn.Module:
    """Read a run's finished teacher.

    Raises:
        InputError: the run has none, the file is damaged, or it is not the ``expected`` one.
    """
    path = _teacher_file(run_dir)
    tensors, recipe, facts = _read(path, run_dir, "teacher")
    names = ("teacher", "data", "seed", "teacher_weights", "teacher_epochs")
    differ = [
        f"{n} {getattr(recipe, n)!r} instead of {getattr(expected, n)!r}"
        for n in names
        if expected is not None and getattr(recipe, n) != getattr(expected, n)
    ]
    if differ:
        raise InputError(
            f"{run_dir} holds another teacher: {', '.join(differ)}.",
            "Give the run another name.",
        )
    settings = teachers.Settings(tuple(facts["shape"]), facts["classes"], facts["max_value"])
    teacher = teachers.make_teacher(recipe.teacher, settings)
    _put(teacher, tensors, path)
    return teacher


def load_recipe(run_dir: Path) -> Recipe:
    """Read a run's ``recipe.json``.

    Raises:
        InputError: it is missing or damaged.
    """
    return Recipe.from_json(read_json(run_dir / "recipe.json"))


def _read(path: Path, run_dir: Path, what: str) -> tuple[dict[str, Tensor], Recipe, dict[str, Any]]:
    if not path.exists():
        raise InputError(
            f"{run_dir} holds no finished {what}.",
            "Repeat its command: it goes on where it was.",
        )
    tensors, facts = read_tensors(path)
    if not isinstance(facts, dict) or "recipe" not in facts:
        raise InputError(f"{path} was not written by snn2hw.")
    return tensors, Recipe.from_json(facts["recipe"]), facts


def _put(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path} does not match its recipe: {error}") from None
