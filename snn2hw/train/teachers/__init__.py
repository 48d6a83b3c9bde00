# pyright: basic
"""Teachers: ordinary networks that classify. ``catalogue/teachers.py`` has them by name."""

from snn2hw.train.catalogue.teachers import TEACHERS, make_teacher
from snn2hw.train.teachers.base import Copied, Layer, Layers, Settings

__all__ = ["TEACHERS", "Copied", "Layer", "Layers", "Settings", "make_teacher"]
