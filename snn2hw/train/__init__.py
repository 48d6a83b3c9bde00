# pyright: basic
"""Teachers, students, distillation, pruning and export. PyTorch lives here and nowhere else."""

from snn2hw.train.api import (
    distill_student,
    has_teacher,
    load_recipe,
    load_student,
    load_teacher,
    new_student,
    new_teacher,
    open_teacher,
    prune_student,
    save_student,
    train_teacher,
)
from snn2hw.train.export import to_network
from snn2hw.train.foreign import digest
from snn2hw.train.loop import Devices, Evaluation, Progress, Silent, evaluate, read_log
from snn2hw.train.methods import METHODS
from snn2hw.train.modules import from_module
from snn2hw.train.modules import run as run_module
from snn2hw.train.prune import sparsity
from snn2hw.train.recipe import Recipe, defaults
from snn2hw.train.students import STUDENTS, Student
from snn2hw.train.teachers import TEACHERS, load_weights

__all__ = [
    "METHODS",
    "STUDENTS",
    "TEACHERS",
    "Devices",
    "Evaluation",
    "Progress",
    "Recipe",
    "Silent",
    "Student",
    "defaults",
    "digest",
    "distill_student",
    "evaluate",
    "from_module",
    "has_teacher",
    "load_recipe",
    "load_student",
    "load_teacher",
    "load_weights",
    "new_student",
    "new_teacher",
    "open_teacher",
    "prune_student",
    "read_log",
    "run_module",
    "save_student",
    "sparsity",
    "to_network",
    "train_teacher",
]
