# pyright: basic
"""Distillation: a student trained by a recipe's method."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from snn2hw.datasets import Dataset
from snn2hw.train.chip import check_module, rules_of
from snn2hw.train.copying import copy_teacher
from snn2hw.train.costs import cost_of
from snn2hw.train.devices import Devices
from snn2hw.train.evaluation import placed, tensor
from snn2hw.train.job import Job, Progress
from snn2hw.train.loop import fit
from snn2hw.train.methods import Objective
from snn2hw.train.preparing import needed_teacher, new_student
from snn2hw.train.pruning import Evolving
from snn2hw.train.recipe import Recipe, job_options, student_facts
from snn2hw.train.showing import showing
from snn2hw.train.storage import keep_student
from snn2hw.train.structure import Several, Stagewise, Structure
from snn2hw.train.students import Student

# Batches on which thresholds and batch norms of a copied student are measured.
COPIED_ON = 16
N = TypeVar("N", bound=nn.Module)


def distill_student(
    recipe: Recipe,
    dataset: Dataset,
    teacher: nn.Module | None,
    run_dir: Path | None = None,
    progress: Progress | None = None,
    *,
    student: N | None = None,
    devices: Devices | None = None,
    tensorboard: bool = False,
) -> N | Student:
    """Train a student by the recipe's method.

    Args:
        recipe: method and constants.
        dataset: what to train on.
        teacher: any module from integer samples to logits; None if the method needs none.
        run_dir: where log and checkpoint go, and ``checkpoint/student.safetensors``.
        progress: told after every step.
        student: trained in place; by default the recipe's.
        devices: where to train.
        tensorboard: write events to ``run_dir/tensorboard``.

    Raises:
        InputError: the method needs a teacher, or another one; the budget cannot be met; a student
            that is no ``Student`` has not the neurons of the recipe's target.
        Interrupted: Ctrl-C; the same call goes on.
    """
    if student is not None and not isinstance(student, Student):
        check_module(recipe, rules_of(recipe.target))
    made = new_student(recipe, dataset) if student is None else student
    taught = needed_teacher(recipe, teacher)
    plans = recipe.plan
    show = showing(recipe, dataset)
    if plans.has("start") and taught is not None:
        device = (devices or Devices()).fabric().device
        batches = _batches(dataset, recipe, device)
        copy_teacher(placed(made, device), placed(taught, device), batches, show=show)
    structures: list[Structure] = []
    if plans.has("stagewise"):
        structures.append(Stagewise(made, recipe.epochs))
    if plans.has("evolves"):
        structures.append(Evolving(made, recipe.density, seed=recipe.seed))
    job = Job(
        "student",
        recipe.epochs,
        Objective(plans, recipe.weights, cost_of(recipe, made, dataset)),
        recipe.batch,
        recipe.lr,
        seed=recipe.seed,
        **job_options(recipe),
        scale=recipe.logit_scale,
        gradient=plans.gradient,
        structure=Several(structures),
        tensorboard=tensorboard,
        show=show,
        facts=student_facts(recipe),
    )
    fit(job, made, dataset, run_dir, teacher=taught, progress=progress, devices=devices)
    keep_student(run_dir, made, recipe, "student")
    return made


def _batches(dataset: Dataset, recipe: Recipe, device: torch.device) -> list[torch.Tensor]:
    """Return some training samples as batches, the same for a seed."""
    generator = torch.Generator().manual_seed(recipe.seed)
    rows = torch.randperm(len(dataset.x_train), generator=generator)[: COPIED_ON * recipe.batch]
    return [tensor(dataset.x_train[part.numpy()], device) for part in rows.split(recipe.batch)]
