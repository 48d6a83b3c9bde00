# pyright: basic
"""What the pipeline calls: teach, distill, prune, save, load.

A run's folder holds ``recipe.json``, ``log.jsonl`` and ``checkpoint/``: there
``teacher.safetensors`` and ``student.safetensors`` when they are done, and
``<stage>.state.safetensors`` while a stage is under way. A teacher that came as a file is kept as
``teacher.<kind>`` with the facts about it in ``teacher.json``.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.files import read_json, sha256, write_json
from snn2hw.train import foreign, students, teachers
from snn2hw.train.loop import Devices, Job, Progress, evaluate, fit, state_path
from snn2hw.train.methods import find_method, labels_only
from snn2hw.train.prune import Pruner
from snn2hw.train.recipe import Recipe
from snn2hw.train.scaling import Scaled, Scaling, find_scaling, scalings
from snn2hw.train.state import read_tensors, write_tensors
from snn2hw.train.students import Student

# Training images on which the scaling of a ready teacher is measured.
TRIED = 500
# A scaling that does so much better than the one asked for is worth a warning.
MUCH_BETTER = 0.05


def new_teacher(recipe: Recipe, dataset: Dataset) -> Scaled:
    """Build the recipe's teacher for a data set, initial weights drawn from the seed.

    Raises:
        InputError: there is no such teacher, or the data are event frames.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return teachers.make_teacher(recipe.teacher, _settings(recipe, dataset))


def _settings(recipe: Recipe, dataset: Dataset) -> teachers.Settings:
    if dataset.frames is not None:
        raise InputError(
            f"Teacher {recipe.teacher!r} takes images; {dataset.name!r} holds event frames.",
            "Use --method none, or a teacher module of your own for frames.",
        )
    asked = recipe.teacher_input
    scaling = None if asked is None else find_scaling(asked, dataset)
    return teachers.Settings(dataset.shape, dataset.classes, dataset.max_value, scaling)


class Ready(NamedTuple):
    """A teacher before any training here.

    Args:
        teacher: the network.
        trained: it needs no training: it came from a file, with all its weights.
        integers: it takes pixels as they are and nothing else.
        kept: weights that the file had in another shape, with why.
        notes: what was decided for the user.
    """

    teacher: Scaled
    trained: bool
    integers: bool = False
    kept: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


def open_teacher(recipe: Recipe, dataset: Dataset) -> Ready:
    """Build the recipe's teacher, or read it, and load its weights; write nothing.

    Raises:
        InputError: there is no such teacher, a file cannot be used, or the data do not suit it.
    """
    if foreign.is_file(recipe.teacher):
        path = Path(recipe.teacher).expanduser()
        if recipe.teacher_weights is not None:
            raise InputError(
                f"{path} has its own weights.", "Leave out --teacher-weights, or name a network."
            )
        found = foreign.open_file(path, _settings(recipe, dataset), recipe.teacher_output)
        asked = recipe.teacher_input
        if found.integers and asked not in (None, "raw"):
            raise InputError(
                f"{path} takes integers, which cannot be scaled to {asked!r}.",
                "Leave out --teacher-input.",
            )
        if found.integers and dataset.max_value > 255:
            raise InputError(
                f"{path} takes bytes; pixels of {dataset.name!r} go to {dataset.max_value}.",
                "Use a teacher that takes floats.",
            )
        return Ready(found.teacher, True, found.integers, {}, found.notes)
    if recipe.teacher_output is not None:
        raise InputError(f"Teacher {recipe.teacher!r} has one output.", "Leave out its name.")
    teacher = new_teacher(recipe, dataset)
    if recipe.teacher_weights is None:
        return Ready(teacher, False)
    loaded = teachers.load_weights(teacher, Path(recipe.teacher_weights).expanduser())
    return Ready(teacher, not loaded.kept, False, loaded.kept)


def settle_scaling(
    ready: Ready, recipe: Recipe, dataset: Dataset, progress: Progress | None = None
) -> None:
    """Choose what a ready teacher sees of a pixel, and say how well it does.

    Unless the recipe says it, every usual scaling is tried on training images and the best is
    taken. A teacher that does badly, or better with another scaling, is warned about.
    """
    rows = np.linspace(0, len(dataset.x_train) - 1, min(TRIED, len(dataset.x_train)))
    x, y = (part[rows.astype(np.int64)] for part in (dataset.x_train, dataset.y_train))
    asked = recipe.teacher_input
    known = [find_scaling("raw", dataset)] if ready.integers else scalings(dataset)
    tried = known if asked is None else [find_scaling(asked, dataset), *known]
    found: dict[Scaling, float] = {}
    for scaling in dict.fromkeys(tried):
        ready.teacher.scale.set(scaling)
        found[scaling] = evaluate(ready.teacher, x, y).accuracy
    best = max(found, key=lambda s: found[s])
    chosen = tried[0] if asked is not None else best
    ready.teacher.scale.set(chosen)
    right = ", ".join(f"{s.name} {100 * share:.1f} %" for s, share in found.items())
    measured = f"right on {len(x)} training images by scaling of the pixels: {right}"
    if found[best] - found[chosen] > MUCH_BETTER:
        _warn(
            progress,
            f"the teacher does better with --teacher-input {best.name} than {chosen.name}; "
            f"{measured}",
        )
        return
    if asked is None:
        _tell(progress, [f"the teacher sees pixels as {chosen.name}; {measured}"])
    chance = 1 / dataset.classes
    if found[chosen] < (1 + chance) / 2:
        _warn(
            progress,
            f"the teacher is nearer to chance ({100 * chance:.3g} %) than to right, with "
            f"{100 * found[chosen]:.1f} %: are these its data, its order of classes, and its "
            f"scaling ({chosen.name})?",
        )


def _tell(progress: Progress | None, notes: Sequence[str]) -> None:
    if progress is not None and notes:
        progress.update("teacher", 0, 0, notes=list(notes))


def _warn(progress: Progress | None, text: str) -> None:
    if progress is None:
        warnings.warn(text, stacklevel=4)
    else:
        progress.update("teacher", 0, 0, doubts=[text])


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
    *,
    ready: Ready | None = None,
) -> tuple[Scaled, float]:
    """Train or load the recipe's teacher.

    One that is a file is read. With ``teacher_weights`` it is loaded; only if the file's first
    convolution or last layer did not fit is it then trained. A teacher that this run has finished
    is loaded from it. ``ready`` is what ``open_teacher`` gave, if that was called already.

    Returns:
        The teacher and its accuracy on the test part.

    Raises:
        InputError: the weights cannot be used.
        Interrupted: Ctrl-C; the same call goes on.
    """
    if run_dir is not None and has_teacher(run_dir):
        done = load_teacher(run_dir, recipe)
        return done, evaluate(done, dataset.x_test, dataset.y_test).accuracy
    ready = ready or open_teacher(recipe, dataset)
    teacher = ready.teacher
    _tell(progress, ready.notes)
    if ready.kept and progress is not None:
        progress.update("teacher", 0, 1, kept=dict(ready.kept))
    if ready.trained:
        settle_scaling(ready, recipe, dataset, progress)
    else:
        job = Job(
            "teacher",
            lambda logits, targets, _teacher: labels_only(logits, targets, None, recipe.weights),
            recipe.teacher_epochs,
            recipe.batch,
            recipe.teacher_lr,
            seed=recipe.seed,
            shift=recipe.shift,
            facts={
                "teacher": recipe.teacher,
                "weights": recipe.teacher_weights,
                "input": recipe.teacher_input,
            },
        )
        fit(job, teacher, dataset, run_dir, progress=progress, devices=devices)
    if run_dir is not None:
        _keep_teacher(run_dir, teacher, recipe, dataset)
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


def _keep_teacher(run_dir: Path, teacher: Scaled, recipe: Recipe, dataset: Dataset) -> None:
    facts = _facts(recipe, dataset.shape, dataset.classes, dataset.max_value, 0)
    facts["scaling"] = teacher.scale.scaling._asdict()
    if foreign.is_file(recipe.teacher):
        source = Path(recipe.teacher).expanduser()
        kept = foreign.keep(teacher, source, run_dir / "checkpoint")
        # Written last: whoever finds it finds the teacher.
        write_json(_facts_file(run_dir), facts | {"file": kept.name, "sha256": sha256(kept)})
    else:
        write_tensors(_teacher_file(run_dir), teacher.state_dict(), facts)
        state_path(run_dir, "teacher").unlink(missing_ok=True)


def has_teacher(run_dir: Path) -> bool:
    """Say whether a run holds a finished teacher."""
    return _teacher_file(run_dir).exists() or _facts_file(run_dir).exists()


def _teacher_file(run_dir: Path) -> Path:
    return run_dir / "checkpoint" / "teacher.safetensors"


def _facts_file(run_dir: Path) -> Path:
    return run_dir / "checkpoint" / "teacher.json"


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


def load_teacher(run_dir: Path, expected: Recipe | None = None) -> Scaled:
    """Read a run's finished teacher.

    Raises:
        InputError: the run has none, the file is damaged, or it is not the ``expected`` one.
    """
    if _facts_file(run_dir).exists():
        tensors, path, facts = {}, _facts_file(run_dir), read_json(_facts_file(run_dir))
        recipe = Recipe.from_json(facts["recipe"])
    else:
        path = _teacher_file(run_dir)
        tensors, recipe, facts = _read(path, run_dir, "teacher")
    names = (
        "teacher", "data", "seed", "teacher_weights", "teacher_epochs", "teacher_input",
        "teacher_output",
    )  # fmt: skip
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
    settings = teachers.Settings(
        tuple(facts["shape"]), facts["classes"], facts["max_value"], _scaling(facts)
    )
    if "file" in facts:
        kept = path.with_name(Path(facts["file"]).name)
        if not kept.is_file() or sha256(kept) != facts["sha256"]:
            raise InputError(f"{kept} is missing or was changed.", "Distill again.")
        return foreign.open_file(kept, settings, recipe.teacher_output).teacher
    teacher = teachers.make_teacher(recipe.teacher, settings)
    _put(teacher, tensors, path)
    return teacher


def _scaling(facts: Mapping[str, Any]) -> Scaling | None:
    told = facts.get("scaling")  # runs from before it was kept saw 0 to 1
    if told is None:
        return None
    return Scaling(told["name"], told["top"], tuple(told["mean"]), tuple(told["std"]))


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
