# pyright: basic
"""What training offers by name: teachers, students, methods, pruners, surrogates.

Nothing here imports PyTorch before something is built, so that a list, or a name that is none, is
answered at once.
"""

from pathlib import Path

from snn2hw.train.catalogue.methods import METHODS, Method, Plan, Weights, plan
from snn2hw.train.catalogue.pruners import PRUNERS, Pruner, find_pruner
from snn2hw.train.catalogue.students import STUDENTS, make_student
from snn2hw.train.catalogue.teachers import TEACHERS, make_teacher

# The functions are in ``neurons.SURROGATES``, in this order.
SURROGATES = ("triangle", "atan", "sigmoid", "box", "fast-sigmoid")
TEACHER_FILES = (".onnx", ".h5")  # ``foreign.OPENERS`` reads them

__all__ = [
    "METHODS", "PRUNERS", "STUDENTS", "SURROGATES", "TEACHERS", "TEACHER_FILES", "Method", "Plan",
    "Pruner", "Weights", "find_pruner", "is_file", "make_student", "make_teacher", "plan",
]  # fmt: skip


def is_file(teacher: str) -> bool:
    """Say whether a teacher's name is a file of a kind that is read here."""
    return Path(teacher).suffix.lower() in TEACHER_FILES
