# pyright: basic
"""Pruning: a student's copy with most weights zero, trained on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.train.costs import cost_of
from snn2hw.train.devices import Devices
from snn2hw.train.evaluation import tensor
from snn2hw.train.job import Job, Progress
from snn2hw.train.loop import fit
from snn2hw.train.methods import Objective
from snn2hw.train.preparing import needed_teacher
from snn2hw.train.pruning import DEFAULT, GRADUAL, Plan, find_pruner
from snn2hw.train.recipe import Recipe, job_options, student_facts
from snn2hw.train.showing import Show, showing, shown
from snn2hw.train.storage import keep_student

# Training samples on which a pruner without training is calibrated.
CALIBRATED = 512
N = TypeVar("N", bound=nn.Module)


def prune_student(
    student: N,
    teacher: nn.Module | None,
    recipe: Recipe,
    sparsity: float,
    epochs: int | None,
    dataset: Dataset,
    run_dir: Path | None = None,
    progress: Progress | None = None,
    *,
    how: str = DEFAULT,
    inputs: int | None = None,
    devices: Devices | None = None,
) -> N:
    """Return a copy of a student with ``sparsity`` of its weights zero, fine-tuned.

    Args:
        student: what to prune; it stays as it is.
        teacher: as in ``distill_student``.
        recipe: method and constants.
        sparsity: share of convolution and dense weights that become zero.
        epochs: of fine-tuning; None for the recipe's, or none at all where the pruner needs none.
        dataset: what to train on.
        run_dir: where log and checkpoint go, and ``checkpoint/student.safetensors``.
        progress: told after every step.
        how: a name in ``PRUNERS``.
        inputs: the most that a neuron of a dense layer may listen to; for ``GRADUAL`` pruners.
        devices: where to train.

    Raises:
        InputError: no such pruner, a sparsity that cannot be had, or a missing teacher.
        Interrupted: Ctrl-C; the same call goes on.
    """
    pruned = copy.deepcopy(student)
    pruner = find_pruner(how)
    if inputs is not None and how not in GRADUAL:
        raise InputError(
            f"Pruner {how!r} does not count the inputs of a neuron.", f"Use {' or '.join(GRADUAL)}."
        )
    taught = needed_teacher(recipe, teacher)
    if epochs is None:
        epochs = recipe.prune_epochs if pruner.trains else 0
    show = showing(recipe, dataset)
    structure = pruner.build(
        Plan(
            pruned,
            sparsity,
            epochs,
            -(-len(dataset.x_train) // recipe.batch),
            recipe.prune_lr,
            recipe.seed,
            calibration(dataset, show),
            inputs,
        )
    )
    job = Job(
        "prune",
        epochs,
        Objective(recipe.plan, recipe.weights, cost_of(recipe, pruned, dataset)),
        recipe.batch,
        recipe.prune_lr,
        seed=recipe.seed,
        **job_options(recipe),
        scale=recipe.logit_scale,
        gradient=recipe.plan.gradient,
        structure=structure,
        show=show,
        facts=student_facts(recipe) | {"sparsity": sparsity, "how": how, "inputs": inputs},
    )
    if epochs:
        fit(job, pruned, dataset, run_dir, teacher=taught, progress=progress, devices=devices)
    else:
        structure.finish()
    keep_student(run_dir, pruned, recipe, "prune")
    return pruned


def calibration(dataset: Dataset, show: Show | None = None) -> torch.Tensor:
    """Return training samples for what is measured before pruning, evenly from the whole set."""
    count = min(CALIBRATED, len(dataset.x_train))
    rows = np.linspace(0, len(dataset.x_train) - 1, count).astype(np.int64)
    return shown(show, tensor(dataset.x_train[rows], "cpu"), rows.tolist())
