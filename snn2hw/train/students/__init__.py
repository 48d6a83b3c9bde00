# pyright: basic
"""Spiking students and what they are made of. ``catalogue/students.py`` has them by name."""

from snn2hw.train.catalogue.students import STUDENTS, make_student
from snn2hw.train.students.wiring import (
    SOURCE,
    Branch,
    Branches,
    Chw,
    Diagonal,
    Neuron,
    Population,
    Readout,
    Settings,
    Spiking,
    Student,
    Synapse,
    predictions,
)

__all__ = [
    "SOURCE", "STUDENTS", "Branch", "Branches", "Chw", "Diagonal", "Neuron", "Population",
    "Readout", "Settings", "Spiking", "Student", "Synapse", "make_student", "predictions",
]  # fmt: skip
