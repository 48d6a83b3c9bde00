# pyright: basic
"""What a student learns from: see ``METHODS``, in ``catalogue/methods.py``."""

from snn2hw.train.catalogue.methods import METHODS, Method, Plan, Weights, plan
from snn2hw.train.methods.cost import Cost
from snn2hw.train.methods.objective import Objective
from snn2hw.train.methods.outputs import Means, Outputs, watch

__all__ = [
    "METHODS",
    "Cost",
    "Means",
    "Method",
    "Objective",
    "Outputs",
    "Plan",
    "Weights",
    "plan",
    "watch",
]
