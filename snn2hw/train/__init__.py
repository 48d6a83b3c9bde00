# pyright: basic
"""Teachers, students, distillation, pruning and export. PyTorch lives here and nowhere else."""

from snn2hw.train.devices import Devices
from snn2hw.train.distilling import distill_student
from snn2hw.train.evaluation import Evaluation, evaluate
from snn2hw.train.export import to_network
from snn2hw.train.fine_tuning import prune_student
from snn2hw.train.foreign import digest
from snn2hw.train.job import Progress, Silent
from snn2hw.train.log import read_log
from snn2hw.train.methods import METHODS
from snn2hw.train.module_student import ModuleStudent
from snn2hw.train.module_student import run as run_module
from snn2hw.train.modules import from_module
from snn2hw.train.preparing import check, new_student
from snn2hw.train.pruning import PRUNERS, at_once, sparsity
from snn2hw.train.recipe import Recipe, default_student, defaults
from snn2hw.train.scaling import Scaled
from snn2hw.train.showing import showing
from snn2hw.train.storage import (
    has_teacher,
    is_run,
    load_recipe,
    load_student,
    load_teacher,
    save_student,
    student_file,
)
from snn2hw.train.students import STUDENTS, Spiking, Student
from snn2hw.train.teachers import TEACHERS
from snn2hw.train.teaching import module_teacher, new_teacher, open_teacher, train_teacher
from snn2hw.train.weights import load_weights

__all__ = [
    "METHODS",
    "PRUNERS",
    "STUDENTS",
    "TEACHERS",
    "Devices",
    "Evaluation",
    "ModuleStudent",
    "Progress",
    "Recipe",
    "Scaled",
    "Silent",
    "Spiking",
    "Student",
    "at_once",
    "check",
    "default_student",
    "defaults",
    "digest",
    "distill_student",
    "evaluate",
    "from_module",
    "has_teacher",
    "is_run",
    "load_recipe",
    "load_student",
    "load_teacher",
    "load_weights",
    "module_teacher",
    "new_student",
    "new_teacher",
    "open_teacher",
    "prune_student",
    "read_log",
    "run_module",
    "save_student",
    "showing",
    "sparsity",
    "student_file",
    "to_network",
    "train_teacher",
]
