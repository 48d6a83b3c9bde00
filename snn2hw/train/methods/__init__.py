# pyright: basic
"""What a student learns from: see ``catalogue.METHODS``."""

from snn2hw.train.methods.catalogue import METHODS, Method, Plan, plan
from snn2hw.train.methods.cost import Cost
from snn2hw.train.methods.losses import Weights
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
