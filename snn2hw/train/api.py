# pyright: basic
"""What the pipeline calls: teach, distill, prune.

A run's folder holds ``recipe.json``, ``log.jsonl`` and ``checkpoint/`` (``storage.py``).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from snn2hw import families
from snn2hw import target as targets
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.files import expanded
from snn2hw.leading import leads
from snn2hw.train import foreign, students, teachers
from snn2hw.train.chip import check_input, check_module, rules_of
from snn2hw.train.copying import copy_teacher, matched
from snn2hw.train.devices import Devices
from snn2hw.train.evaluation import evaluate, outputs_of, placed, tensor
from snn2hw.train.events import writer_class
from snn2hw.train.loop import Job, Progress, fit, state_path
from snn2hw.train.methods import Cost, Objective, plan
from snn2hw.train.pruning import DEFAULT, GRADUAL, Evolving, Plan, find_pruner
from snn2hw.train.recipe import Recipe
from snn2hw.train.scaling import Scaled, Scaling, find_scaling, scalings
from snn2hw.train.showing import Show, shown
from snn2hw.train.storage import (
    has_teacher,
    is_run,
    keep_teacher,
    load_recipe,
    load_student,
    load_teacher,
    make_student,
    save_student,
)
from snn2hw.train.structure import Several, Stagewise, Structure
from snn2hw.train.students import Spiking, Student

# Training images on which the scaling of a ready teacher is measured.
TRIED = 500
# Batches on which thresholds and batch norms of a copied student are measured.
COPIED_ON = 16
# Training samples whose input events are counted for a budget.
INPUTS_COUNTED = 1000
# Training samples on which a pruner without training is calibrated.
CALIBRATED = 512
# A scaling that does so much better than the one asked for is worth a warning.
MUCH_BETTER = 0.05
N = TypeVar("N", bound=nn.Module)


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

    teacher: Any  # Scaled or Student
    trained: bool
    integers: bool = False
    kept: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


def open_teacher(recipe: Recipe, dataset: Dataset) -> Ready:
    """Build the recipe's teacher, or read it, and load its weights; write nothing.

    Raises:
        InputError: there is no such teacher, a file cannot be used, or the data do not suit it.
    """
    path = expanded(recipe.teacher)
    if is_run(path):
        return Ready(_spiking_teacher(path, dataset), True)
    if foreign.is_file(recipe.teacher):
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
    loaded = teachers.load_weights(teacher, expanded(recipe.teacher_weights))
    return Ready(teacher, not loaded.kept, False, loaded.kept)


def showing(recipe: Recipe, dataset: Dataset) -> Show | None:
    """Return how the recipe's student is shown a data set; None for as it is.

    Raises:
        InputError: the recipe's encoder does not take such data.
    """
    encoder = recipe.shown_by(dataset)
    if encoder.name == "direct":
        return None
    encoder.encode(dataset.x_train[:1], dataset.max_value)  # raises if it cannot
    return Show(encoder, dataset.max_value)


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
    taught = _needed(recipe, teacher)
    if recipe.plan.has("start") and taught is not None:
        matched(student, taught)
    x = tensor(dataset.x_train[:2], "cpu")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        found = outputs_of(student.eval(), shown(showing(recipe, dataset), x, range(len(x))))
        theirs = None if taught is None else outputs_of(taught.eval(), x)
        Objective(recipe.plan, recipe.weights).prepare(found, theirs)
    if tensorboard:
        writer_class()


def new_student(recipe: Recipe, dataset: Dataset) -> Student:
    """Build the recipe's student for a data set, initial weights drawn from the seed.

    Raises:
        InputError: there is no such student or target, or the target's neurons and inputs do not
            do what the recipe asks for.
    """
    encoder = recipe.shown_by(dataset)
    check_input(recipe, rules_of(recipe.target), encoder.max_value(dataset.max_value))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return make_student(
            recipe,
            encoder.shape(dataset.shape),
            dataset.classes,
            encoder.max_value(dataset.max_value),
            encoder.time_steps,
        )


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
            **_seen(recipe),
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
    taught = _needed(recipe, teacher)
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
        **_seen(recipe),
        scale=recipe.logit_scale,
        gradient=plans.gradient,
        structure=Several(structures),
        tensorboard=tensorboard,
        show=show,
        facts=_taught(recipe),
    )
    fit(job, made, dataset, run_dir, teacher=taught, progress=progress, devices=devices)
    _finish(run_dir, made, recipe, "student")
    return made


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
    taught = _needed(recipe, teacher)
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
        **_seen(recipe),
        scale=recipe.logit_scale,
        gradient=recipe.plan.gradient,
        structure=structure,
        show=show,
        facts=_taught(recipe) | {"sparsity": sparsity, "how": how, "inputs": inputs},
    )
    if epochs:
        fit(job, pruned, dataset, run_dir, teacher=taught, progress=progress, devices=devices)
    else:
        structure.finish()
    _finish(run_dir, pruned, recipe, "prune")
    return pruned


def _batches(dataset: Dataset, recipe: Recipe, device: torch.device) -> list[torch.Tensor]:
    """Return some training samples as batches, the same for a seed."""
    generator = torch.Generator().manual_seed(recipe.seed)
    rows = torch.randperm(len(dataset.x_train), generator=generator)[: COPIED_ON * recipe.batch]
    return [tensor(dataset.x_train[part.numpy()], device) for part in rows.split(recipe.batch)]


def calibration(dataset: Dataset, show: Show | None = None) -> torch.Tensor:
    """Return training samples for what is measured before pruning, evenly from the whole set."""
    count = min(CALIBRATED, len(dataset.x_train))
    rows = np.linspace(0, len(dataset.x_train) - 1, count).astype(np.int64)
    return shown(show, tensor(dataset.x_train[rows], "cpu"), rows.tolist())


def _needed(recipe: Recipe, teacher: nn.Module | None) -> nn.Module | None:
    """Return the teacher if the method has use for it, and refuse one that it cannot use."""
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


def cost_of(recipe: Recipe, student: nn.Module, dataset: Dataset) -> Cost | None:
    """Return what spikes cost in a student's training; None if they are free.

    A budget of synaptic operations counts those of the input too, which are what they are.

    Raises:
        InputError: there is no such target, it has no price for an operation, or the input alone
            exceeds the budget.
    """
    budget = recipe.synops_budget
    weight = recipe.spike_cost or (1.0 if budget or recipe.minimize == "energy" else 0.0)
    if not weight or not isinstance(student, Spiking):
        return None
    fan_out = student.fan_out()
    if budget:
        given = fan_out[students.SOURCE] * _input_events(recipe, dataset)
        if given >= budget:
            raise InputError(
                f"The input alone takes {given:.0f} synaptic operations a sample, the budget is "
                f"{budget:.0f}.",
                "Prune the first layer, take fewer time steps, or a larger --synops-budget.",
            )
        budget -= given
    # The target's price of what a spike sets off; a neuron's updates cost the same without it.
    price = 1.0
    if recipe.minimize == "energy":
        chip = targets.load(recipe.target)
        price = families.of(chip).synop_price(chip)
    reached = {n: f * price for n, f in fan_out.items() if n != students.SOURCE}
    return Cost(weight, reached, budget * price)


def _input_events(recipe: Recipe, dataset: Dataset) -> float:
    """Return how many events the input sends for a sample, over all its steps.

    They are its values that are not 0, or the sum of all where a neuron may send several spikes.
    """
    x = dataset.x_train[:INPUTS_COUNTED]
    encoded = recipe.shown_by(dataset).encode(x, dataset.max_value)
    counted = encoded if rules_of(recipe.target).several else encoded != 0
    return float(counted.sum(dtype=np.int64)) / len(x)


def _seen(recipe: Recipe) -> dict[str, Any]:
    """Return what every job of a recipe has: how images are altered, and how weights move."""
    names = ("shift", "flip", "cutout", "optimizer", "weight_decay")
    return {n: getattr(recipe, n) for n in names}


def _taught(recipe: Recipe) -> dict[str, Any]:
    names = (
        "student", "teacher", "method", "time_steps", "encoder", "neuron", "beta", "current_beta",
        "reset", "surrogate", "learn_decay", "readout", "norm", "width", "density", "spike_cost",
        "minimize", "target", "synops_budget",
    )  # fmt: skip
    return {n: getattr(recipe, n) for n in names} | recipe.weights._asdict()


def _finish(run_dir: Path | None, student: nn.Module, recipe: Recipe, stage: str) -> None:
    if run_dir is not None and isinstance(student, Student):
        save_student(run_dir, student, recipe)
        state_path(run_dir, stage).unlink(missing_ok=True)
