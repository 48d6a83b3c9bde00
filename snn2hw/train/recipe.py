# pyright: basic
"""What a run is made of: names, lengths and constants, as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from snn2hw.checkpoints import is_weights, no_network
from snn2hw.datasets import Dataset, default_time_steps
from snn2hw.datasets.naming import whole as whole_data
from snn2hw.encoders import LONGEST, Encoder, parse
from snn2hw.errors import InputError, unknown_name
from snn2hw.families import DEFAULT_TARGET
from snn2hw.fields import (
    LARGEST,
    Check,
    anything,
    flag,
    listed,
    maybe,
    named,
    real,
    require,
    table,
    text,
    whole,
)
from snn2hw.files import expanded
from snn2hw.train.catalogue import STUDENTS, SURROGATES, TEACHERS, Plan, Weights, is_file, plan
from snn2hw.train.chip import check_recipe, own_constants, rules_of

# The values that a recipe's words may have.
KINDS: dict[str, tuple[str, ...]] = {
    "neuron": ("lif", "if", "cuba"),
    "reset": ("zero", "subtract"),
    "surrogate": SURROGATES,
    "readout": ("spikes", "membrane"),
    "norm": ("batch", "none"),
    "minimize": ("synops", "energy"),
    "optimizer": ("adamw", "sgd"),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a run.

    Args:
        teacher: a name in ``TEACHERS``, or a file that ``foreign`` reads (any text for a module
            of your own).
        student: a name in ``STUDENTS`` (likewise).
        data: as in ``datasets.load``.
        method: a name in ``METHODS``.
        time_steps: T: how often an image is shown, or what a recording of events is cut into;
            frames in a file bring their own.
        encoder: how images are shown for T steps, as ``encoders.parse`` reads it.
        epochs: of the student.
        teacher_epochs: of the teacher.
        prune_epochs: of fine-tuning under pruning.
        batch: samples in a step.
        lr: highest learning rate of the student.
        teacher_lr: of the teacher.
        prune_lr: of fine-tuning.
        optimizer: ``adamw``, or ``sgd`` with momentum; the rates are for the one chosen.
        weight_decay: of weights, in each step a share of the learning rate.
        neuron: ``lif``, ``if`` (no leak: beta is 1) or ``cuba`` (the current has a memory too).
        beta: share of the membrane potential that survives a step, of those that the target has.
        current_beta: share of the input current of ``cuba`` that does.
        reset: of a neuron that spiked: ``zero`` or ``subtract``.
        surrogate: a name in ``neurons.SURROGATES``.
        learn_decay: train the decays, one for each population.
        readout: ``spikes`` of output neurons are counted, or the ``membrane`` is: the sum over
            time of what the last layer sends.
        norm: behind the student's linear maps: ``batch`` norm, which gives every layer currents of
            a fixed deviation, or ``none``.
        width: factor on the student's channels.
        seed: of initial weights and of the order of the data.
        alpha: the share of the loss that the teacher takes from the labels (``kd``, ``hetero``,
            ``sakd``, ``reverse``, ``trains``), and the teacher's weight in ``blurred``.
        tau_teacher: the teacher's temperature (and that of ``agree``).
        tau_student: the student's temperature (``hetero`` only).
        smoothing: part of a label that is spread over all classes.
        feature_weight: weight of the distance of features.
        stages: how many of the last stages have their features compared.
        blur: share of channels that ``blurred`` hides.
        step_weight: weight of the teacher at each step (``steps``).
        ensemble_weight: weight of the student's own right steps (``steps``).
        tau_steps: temperature of both.
        agree_weight: weight of ``agree``.
        logit_weight: weight of the mean square of logits (``logits``).
        train_weight: weight of the distance of spike trains (``trains``).
        spike_memory: what a spike's trace keeps of itself in a step there.
        density: share of the connections that ``reverse`` has.
        logit_scale: logits in the loss run from 0 to this (output spikes in every step).
        spike_cost: weight of what spikes cost, as a share of what all spikes would cost.
        minimize: what a spike costs: ``synops``, or ``energy`` at the target's prices.
        target: the chip that the student is for: its neurons follow that chip's rules, and its
            prices count.
        synops_budget: synaptic operations of a sample below which spikes cost nothing, or 0.
        shift: training images move by up to this many pixels.
        flip: half of the training images are mirrored.
        cutout: side of a square that is hidden in every training image, or 0.
        teacher_weights: file of weights for the teacher, or None to train it.
        teacher_input: how it sees pixels, as in ``scaling.find_scaling``; None is 0 to 1 for one
            that is trained here, and the best of the usual ways for one that is not.
        teacher_output: the tensor with its logits, for a file that leaves a choice.
    """

    teacher: str = "cnn"
    student: str = "cnn"
    data: str = "digits"
    method: str = "hetero"
    time_steps: int = 4
    encoder: str = "direct"
    epochs: int = 40
    teacher_epochs: int = 20
    prune_epochs: int = 30
    batch: int = 64
    lr: float = 3e-3
    teacher_lr: float = 2e-3
    prune_lr: float = 2e-3
    optimizer: str = "adamw"
    weight_decay: float = 1e-2
    neuron: str = "lif"
    beta: float = 0.5
    current_beta: float = 0.5
    reset: str = "zero"
    surrogate: str = "triangle"
    learn_decay: bool = False
    readout: str = "spikes"
    norm: str = "batch"
    width: float = 1.0
    seed: int = 0
    alpha: float = 0.7
    tau_teacher: float = 2.0
    tau_student: float = 1.0
    smoothing: float = 0.0
    feature_weight: float = 0.5
    stages: int = 1
    blur: float = 0.15
    step_weight: float = 0.2
    ensemble_weight: float = 0.5
    tau_steps: float = 3.0
    agree_weight: float = 1.0
    logit_weight: float = 0.01
    train_weight: float = 1.0
    spike_memory: float = 0.5
    density: float = 0.2
    logit_scale: float = 3.0
    spike_cost: float = 0.0
    minimize: str = "synops"
    target: str = DEFAULT_TARGET
    synops_budget: float = 0.0
    shift: int = 0
    flip: bool = False
    cutout: int = 0
    teacher_weights: str | None = None
    teacher_input: str | None = None
    teacher_output: str | None = None

    def __post_init__(self) -> None:
        wrong = listed(_TYPES(vars(self)))
        if wrong:
            raise InputError(f"The recipe cannot be used: {wrong}.")
        plan(self.method)  # raises if there is no such method
        parse(self.encoder, max(self.time_steps, 1))  # likewise
        problems = [
            f"{name} is {getattr(self, name)}"
            for name in ("time_steps", "epochs", "teacher_epochs", "prune_epochs", "stages")
            if getattr(self, name) < 1
        ]
        positive = (
            "lr", "teacher_lr", "prune_lr", "width", "tau_teacher", "tau_student", "tau_steps",
            "logit_scale",
        )  # fmt: skip
        problems += [f"{n} is {getattr(self, n)}" for n in positive if not getattr(self, n) > 0]
        if self.batch < 2:
            problems.append(f"batch is {self.batch} (batch norm needs two samples)")
        shares = ("alpha", "smoothing", "blur", "spike_memory")
        problems += [
            f"{n} is {getattr(self, n)}, not from 0 to 1"
            for n in shares
            if not 0.0 <= getattr(self, n) <= 1.0
        ]
        weights = (
            "feature_weight", "step_weight", "ensemble_weight", "agree_weight", "logit_weight",
            "train_weight", "spike_cost", "synops_budget", "shift", "cutout", "weight_decay",
        )  # fmt: skip
        problems += [f"{n} is {getattr(self, n)}" for n in weights if not getattr(self, n) >= 0]
        if not 0.0 < self.density <= 1.0:
            problems.append(f"density is {self.density}, not above 0 and up to 1")
        for name, known in KINDS.items():
            if getattr(self, name) not in known:
                either = " or ".join(map(repr, known))
                problems.append(f"{name} is {getattr(self, name)!r}, not {either}")
        if problems:
            raise InputError(f"The recipe cannot be used: {'; '.join(problems)}.")

    @property
    def weights(self) -> Weights:
        """The constants of the loss."""
        return Weights(*(getattr(self, name) for name in Weights._fields))

    @property
    def plan(self) -> Plan:
        """The methods, composed."""
        return plan(self.method)

    def shown_by(self, dataset: Dataset) -> Encoder:
        """Return the encoder with all it needs: T (that of frames, if there are any) and a seed."""
        return parse(self.encoder, dataset.frames or self.time_steps, self.seed)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        """Make a recipe from ``to_json``'s object.

        Raises:
            InputError: a key that no recipe has, or a value that cannot be used.
        """
        require(value, named(anything), "The recipe")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown:
            raise InputError(f"A recipe has no {', '.join(unknown)}.", f"Known: {sorted(known)}.")
        return cls(**value)


# The values that its fields may have, by their types; more than these nobody means.
_MOST = {"time_steps": LONGEST, "shift": 1024, "cutout": 1024, "stages": 1024, "width": 1024}
_OF_TYPE: dict[str, Callable[[str], Check]] = {
    "int": lambda name: whole(high=_MOST.get(name, LARGEST)),
    "float": lambda name: real(high=_MOST.get(name, math.inf)),
    "bool": lambda _: flag,
    "str": lambda _: text(),
    "str | None": lambda _: maybe(text()),
}
_TYPES = table({f.name: _OF_TYPE[str(f.type)](f.name) for f in fields(Recipe)})

# Measured on two cores; the whole story (teach, distill, prune) in about a minute on digits
# and ten on MNIST.
_CIFAR: dict[str, Any] = {
    "batch": 128,
    "epochs": 60,
    "teacher_epochs": 40,
    "prune_epochs": 20,
    "shift": 4,
    "flip": True,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {
        "time_steps": 8,
        "epochs": 40,
        "prune_epochs": 25,
        "shift": 1,
        "logit_scale": 4.0,
        "spike_cost": 0.3,
    },
    "mnist": {"batch": 128, "epochs": 10, "teacher_epochs": 4, "prune_epochs": 8, "shift": 1},
    "fashion-mnist": {"batch": 128, "epochs": 12, "teacher_epochs": 6, "prune_epochs": 8},
    "cifar10": {**_CIFAR},
    "cifar100": {**_CIFAR},
}


# How data reach a chip with few inputs: images row by row, recordings as counts in cells.
_FEW_INPUTS: dict[str, dict[str, Any]] = {
    "digits": {"time_steps": 16, "encoder": "rows:levels={most}"},
    "nmnist": {
        "time_steps": 20, "encoder": "grid:rows=4,columns=2,margin=5,most={most}",
        "spike_cost": 1.0,
    },
}  # fmt: skip


def default_student(teacher: str, target: str = DEFAULT_TARGET) -> str:
    """Return the student of a teacher where none is named, by the size of the target.

    Raises:
        InputError: there is no such target.
    """
    loop = rules_of(target).loop
    if loop is not None:
        return f"rnn-{loop}"
    return "cnn" if teacher == "cnn" else "resnet20"


def defaults(
    student: str = "cnn", data: str = "digits", teacher: str = "cnn", **own: Any
) -> Recipe:
    """Return the recipe for a student and a data set, with ``own`` values over it.

    Where the neurons of the target leave no choice, theirs is the default.

    Raises:
        InputError: there is no such student, teacher or target, or the target's neurons do not do
            what ``own`` asks for.
    """
    if student not in STUDENTS:
        raise unknown_name("student", student, STUDENTS)
    folder = expanded(teacher)
    if teacher not in TEACHERS and is_weights(folder) and folder.is_file():
        raise no_network(
            folder,
            f"Name the network that they are for: --teacher NAME --teacher-weights {teacher}, with "
            "a NAME of `snn2hw models`. Or export the module with torch.onnx.export and give the "
            ".onnx file.",
        )
    if teacher not in TEACHERS and not is_file(teacher) and not folder.is_dir():
        raise unknown_name("teacher", teacher, TEACHERS)
    kind = whole_data(data).partition(":")[0]
    chosen = dict(DEFAULTS.get(kind, {}))
    recorded = own.get("time_steps") or default_time_steps(data)
    if recorded is not None:
        chosen["time_steps"] = recorded
    recipe = Recipe(teacher=teacher, student=student, data=data, **chosen)
    if kind == "digits" and teacher != "cnn":
        # A deep teacher is slow: with still images its logits are computed once.
        recipe = replace(recipe, teacher_epochs=8, shift=0)
    if kind == "digits" and student.startswith("resnet"):
        deep = {"time_steps": 4, "epochs": 50, "prune_epochs": 20, "lr": 5e-3, "spike_cost": 0.0}
        recipe = replace(recipe, shift=0, **deep)
    set_by_method = plan(str(own["method"])).constants if "method" in own else {}
    rules = rules_of(str(own.get("target", recipe.target)))
    small: dict[str, Any] = {}
    if rules.loop is not None and kind in _FEW_INPUTS and "encoder" not in own:
        small = {**_FEW_INPUTS[kind]}
        small["encoder"] = small["encoder"].format(most=rules.most_in)
    recipe = replace(recipe, **{**own_constants(rules), **small, **set_by_method, **own})
    check_recipe(recipe, rules)
    return recipe


def job_options(recipe: Recipe) -> dict[str, Any]:
    """Return what every job of a recipe has: how images are altered, and how weights move."""
    names = ("shift", "flip", "cutout", "optimizer", "weight_decay")
    return {n: getattr(recipe, n) for n in names}


def student_facts(recipe: Recipe) -> dict[str, Any]:
    """Return what else decides a student, which its checkpoints have to agree in."""
    names = (
        "student", "teacher", "method", "time_steps", "encoder", "neuron", "beta", "current_beta",
        "reset", "surrogate", "learn_decay", "readout", "norm", "width", "density", "spike_cost",
        "minimize", "target", "synops_budget",
    )  # fmt: skip
    return {n: getattr(recipe, n) for n in names} | recipe.weights._asdict()
