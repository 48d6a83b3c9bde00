# pyright: basic
"""Teachers: opened or made, told how to see pixels, and trained where they have to be."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.files import expanded
from snn2hw.leading import leads
from snn2hw.train import foreign, teachers
from snn2hw.train.catalogue import is_file
from snn2hw.train.devices import Devices
from snn2hw.train.evaluation import device_of, evaluate, tensor
from snn2hw.train.job import Job, Progress
from snn2hw.train.loop import fit
from snn2hw.train.methods import Objective, plan
from snn2hw.train.module_student import ModuleStudent
from snn2hw.train.modules.forms import FORMS
from snn2hw.train.modules.kinds import kind
from snn2hw.train.recipe import Recipe, job_options
from snn2hw.train.scaling import Scale, Scaled, Scaling, find_scaling, scalings, unit
from snn2hw.train.storage import (
    has_teacher,
    keep_teacher,
    load_recipe,
    load_student,
    load_teacher,
    need_student,
)
from snn2hw.train.students import Spiking, Student
from snn2hw.train.teachers import TEACHERS
from snn2hw.train.weights import load_weights

# Training images on which the scaling of a ready teacher is measured.
TRIED = 500
# A scaling that does so much better than the one asked for is worth a warning.
MUCH_BETTER = 0.05


class Ready(NamedTuple):
    """A teacher before any training here.

    Args:
        teacher: the network.
        trained: it needs no training: it came from a file, with all its weights.
        integers: it takes pixels as they are and nothing else.
        kept: weights that the file had in another shape, with why.
        notes: what was decided for the user.
    """

    teacher: Any  # Scaled or Student
    trained: bool
    integers: bool = False
    kept: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


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


def open_teacher(recipe: Recipe, dataset: Dataset) -> Ready:
    """Build the recipe's teacher, or read it, and load its weights; write nothing.

    Raises:
        InputError: there is no such teacher, a file cannot be used, or the data do not suit it.
    """
    path = expanded(recipe.teacher)
    if path.is_dir() and recipe.teacher not in TEACHERS:
        need_student(path)
        return Ready(_spiking_teacher(path, dataset), True)
    if is_file(recipe.teacher):
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
    loaded = load_weights(teacher, expanded(recipe.teacher_weights))
    return Ready(teacher, not loaded.kept, False, loaded.kept)


class ModuleTeacher(Scaled):
    """A network of the user's own, which sees scaled pixels; its stages are not known.

    Args:
        module: from pixels ``[B, C, H, W]`` to logits ``[B, classes]``.
        scaling: what it sees of them.
    """

    def __init__(self, module: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.module, self.scale = module, Scale(scaling)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of integers ``[B, C, H, W]``."""
        return self.module(self.scale(x))


def module_teacher(
    module: nn.Module, recipe: Recipe, dataset: Dataset, progress: Progress | None = None
) -> nn.Module:
    """Let a trained network of the user's own see pixels as its training had them.

    As of a file, every usual scaling is tried on training images unless ``teacher_input`` says it.
    What steps, scales for itself or takes event frames stays as it is. A module of spiking neurons
    that gives no logits teaches as it would learn: shown scaled pixels, its output summed over all
    steps.

    Raises:
        InputError: the module does not take these data, or gives no logits of their classes.
    """
    if isinstance(module, Scaled | Spiking):
        return module
    scaled = ModuleTeacher(module, unit(dataset.max_value))
    plain = scaled if dataset.frames is None else module
    if wrong := _without_logits(plain, dataset):
        if any(kind(m) in FORMS for m in module.modules()):
            steps = dataset.frames or recipe.time_steps
            return ModuleStudent(module, dataset.shape, dataset.classes, dataset.max_value, steps)
        raise InputError(
            f"The teacher {type(module).__name__} cannot teach {dataset.name!r}: {wrong}.",
            "Give a module from pixels [B, C, H, W] (or [B, T, C, H, W]) to logits [B, classes].",
        )
    if dataset.frames is None:
        settle_scaling(Ready(scaled, trained=True), recipe, dataset, progress)
    return plain


def _without_logits(teacher: nn.Module, dataset: Dataset) -> str:
    """Say why a teacher gives no logits for a sample; "" if it does."""
    x = tensor(dataset.x_train[:1], device_of(teacher))
    was_training = teacher.training
    teacher.eval()
    try:
        with torch.inference_mode():
            logits = teacher(x)
    except Exception as error:  # whatever a module of the user's own may raise
        return f"given samples {list(x.shape)}, it fails with {type(error).__name__}: {error}"
    finally:
        teacher.train(was_training)
    if isinstance(logits, Tensor) and logits.shape == (1, dataset.classes):
        return ""
    gives = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    return f"given samples {list(x.shape)}, it gives {gives}, not [1, {dataset.classes}]"


def _spiking_teacher(run_dir: Path, dataset: Dataset) -> Student:
    """Read a run's student as a teacher, if it is for such data."""
    encoder = load_recipe(run_dir).encoder
    if encoder != "direct":
        raise InputError(
            f"The student of {run_dir} is shown images by encoder {encoder!r}; a teacher sees them "
            "as they are.",
            "Use a run without --encoder.",
        )
    teacher = load_student(run_dir)
    wanted = (dataset.shape, dataset.classes, dataset.max_value)
    if (teacher.shape, teacher.classes, teacher.max_value) != wanted:
        raise InputError(
            f"The student of {run_dir} takes {teacher.shape} up to {teacher.max_value} and knows "
            f"{teacher.classes} classes; {dataset.name!r} has {wanted[0]}, {wanted[2]} and "
            f"{wanted[1]}.",
            "Use a run on the same data.",
        )
    return teacher


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


def train_teacher(
    recipe: Recipe,
    dataset: Dataset,
    run_dir: Path | None = None,
    progress: Progress | None = None,
    devices: Devices | None = None,
    *,
    ready: Ready | None = None,
) -> tuple[Scaled | Student, float]:
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
    if isinstance(teacher, Student):
        pass  # it has learned from the integers themselves
    elif ready.trained:
        settle_scaling(ready, recipe, dataset, progress)
    else:
        job = Job(
            "teacher",
            recipe.teacher_epochs,
            Objective(plan("none"), recipe.weights),
            recipe.batch,
            recipe.teacher_lr,
            seed=recipe.seed,
            **job_options(recipe),
            facts={
                "teacher": recipe.teacher,
                "weights": recipe.teacher_weights,
                "input": recipe.teacher_input,
            },
        )
        fit(job, teacher, dataset, run_dir, progress=progress, devices=devices)
    if run_dir is not None and leads():
        keep_teacher(run_dir, teacher, recipe, dataset)
    return teacher, evaluate(teacher, dataset.x_test, dataset.y_test).accuracy
