# pyright: basic
"""Teachers, students, distillation, pruning and export. PyTorch lives here and nowhere else.

Importing this is cheap: what a name needs is loaded when it is first used. The names of teachers,
students, methods and pruners, and recipes, need no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn2hw.train.catalogue import METHODS, PRUNERS, STUDENTS, TEACHERS
    from snn2hw.train.devices import Devices
    from snn2hw.train.distilling import distill_student
    from snn2hw.train.evaluation import Evaluation, evaluate
    from snn2hw.train.export import to_network
    from snn2hw.train.fine_tuning import prune_student
    from snn2hw.train.foreign import digest
    from snn2hw.train.job import Progress, Silent
    from snn2hw.train.lending import given_back
    from snn2hw.train.log import read_log
    from snn2hw.train.module_student import ModuleStudent
    from snn2hw.train.module_student import run as run_module
    from snn2hw.train.modules import from_module
    from snn2hw.train.preparing import check, new_student
    from snn2hw.train.pruning import at_once, sparsity
    from snn2hw.train.recipe import Recipe, default_student, defaults
    from snn2hw.train.scaling import Scaled
    from snn2hw.train.storage import (
        has_teacher,
        is_run,
        load_recipe,
        load_student,
        load_teacher,
        need_student,
        save_student,
        student_file,
    )
    from snn2hw.train.students import Spiking, Student
    from snn2hw.train.teacher_model import as_onnx
    from snn2hw.train.teaching import module_teacher, new_teacher, open_teacher, train_teacher
    from snn2hw.train.weights import load_weights

_HOMES = {
    "Devices": ("devices", "Devices"),
    "Evaluation": ("evaluation", "Evaluation"),
    "METHODS": ("catalogue", "METHODS"),
    "ModuleStudent": ("module_student", "ModuleStudent"),
    "PRUNERS": ("catalogue", "PRUNERS"),
    "Progress": ("job", "Progress"),
    "Recipe": ("recipe", "Recipe"),
    "STUDENTS": ("catalogue", "STUDENTS"),
    "Scaled": ("scaling", "Scaled"),
    "Silent": ("job", "Silent"),
    "Spiking": ("students", "Spiking"),
    "Student": ("students", "Student"),
    "TEACHERS": ("catalogue", "TEACHERS"),
    "as_onnx": ("teacher_model", "as_onnx"),
    "at_once": ("pruning", "at_once"),
    "check": ("preparing", "check"),
    "default_student": ("recipe", "default_student"),
    "defaults": ("recipe", "defaults"),
    "digest": ("foreign", "digest"),
    "distill_student": ("distilling", "distill_student"),
    "evaluate": ("evaluation", "evaluate"),
    "from_module": ("modules", "from_module"),
    "given_back": ("lending", "given_back"),
    "has_teacher": ("storage", "has_teacher"),
    "is_run": ("storage", "is_run"),
    "load_recipe": ("storage", "load_recipe"),
    "load_student": ("storage", "load_student"),
    "load_teacher": ("storage", "load_teacher"),
    "load_weights": ("weights", "load_weights"),
    "module_teacher": ("teaching", "module_teacher"),
    "need_student": ("storage", "need_student"),
    "new_student": ("preparing", "new_student"),
    "new_teacher": ("teaching", "new_teacher"),
    "open_teacher": ("teaching", "open_teacher"),
    "prune_student": ("fine_tuning", "prune_student"),
    "read_log": ("log", "read_log"),
    "run_module": ("module_student", "run"),
    "save_student": ("storage", "save_student"),
    "sparsity": ("pruning", "sparsity"),
    "student_file": ("storage", "student_file"),
    "to_network": ("export", "to_network"),
    "train_teacher": ("teaching", "train_teacher"),
}

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
    "as_onnx",
    "at_once",
    "check",
    "default_student",
    "defaults",
    "digest",
    "distill_student",
    "evaluate",
    "from_module",
    "given_back",
    "has_teacher",
    "is_run",
    "load_recipe",
    "load_student",
    "load_teacher",
    "load_weights",
    "module_teacher",
    "need_student",
    "new_student",
    "new_teacher",
    "open_teacher",
    "prune_student",
    "read_log",
    "run_module",
    "save_student",
    "sparsity",
    "student_file",
    "to_network",
    "train_teacher",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'snn2hw.train' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"snn2hw.train.{module}"), attribute)
