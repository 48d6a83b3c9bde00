# pyright: basic
"""Before a run: its student, the use it has for a teacher, and what would stop it only later."""

from __future__ import annotations

import torch
from torch import nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.train.chip import check_input, check_size, rules_of
from snn2hw.train.copying import matched
from snn2hw.train.costs import cost_of
from snn2hw.train.evaluation import outputs_of, tensor
from snn2hw.train.events import writer_class
from snn2hw.train.methods import Objective
from snn2hw.train.recipe import Recipe
from snn2hw.train.showing import showing, shown
from snn2hw.train.storage import make_student
from snn2hw.train.students import Student


def new_student(recipe: Recipe, dataset: Dataset) -> Student:
    """Build the recipe's student for a data set, initial weights drawn from the seed.

    Raises:
        InputError: there is no such student or target, or the target's neurons and inputs do not
            do what the recipe asks for.
    """
    encoder = recipe.shown_by(dataset)
    rules = rules_of(recipe.target)
    check_size(recipe, rules, encoder.shape(dataset.shape), dataset.classes)
    check_input(recipe, rules, encoder.max_value(dataset.max_value))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return make_student(
            recipe,
            encoder.shape(dataset.shape),
            dataset.classes,
            encoder.max_value(dataset.max_value),
            encoder.time_steps,
        )


def needed_teacher(recipe: Recipe, teacher: nn.Module | None) -> nn.Module | None:
    """Return the teacher if the method has use for it; None if it has none.

    Raises:
        InputError: the method needs a teacher, or another one.
    """
    if not recipe.plan.needs_teacher:
        return None
    kinds = {m.teacher for m in recipe.plan.methods}
    if teacher is None:
        raise InputError(f"Method {recipe.method!r} needs a teacher.", "Use --method none.")
    if "spiking" in kinds and not isinstance(teacher, Student):
        raise InputError(
            f"Method {recipe.method!r} learns from spike trains; the teacher has none.",
            "Name a run as the teacher: --teacher runs/NAME.",
        )
    return teacher


def check(
    recipe: Recipe, dataset: Dataset, teacher: nn.Module | None, *, tensorboard: bool = False
) -> None:
    """Find what would stop a distillation only after its teacher was trained.

    Args:
        recipe: of the run.
        dataset: what it trains on.
        teacher: trained or not; None if there is none.
        tensorboard: events are asked for.

    Raises:
        InputError: says what and why; no time is lost yet.
    """
    student = new_student(recipe, dataset)
    cost_of(recipe, student, dataset)
    taught = needed_teacher(recipe, teacher)
    if recipe.plan.has("start") and taught is not None:
        matched(student, taught)
    x = tensor(dataset.x_train[:2], "cpu")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        found = outputs_of(student.eval(), shown(showing(recipe, dataset), x, range(len(x))))
        theirs = None if taught is None else outputs_of(taught.eval(), x)
        Objective(recipe.plan, recipe.weights).prepare(found, theirs)
    if tensorboard:
        writer_class()
