# pyright: basic
"""What spikes cost in a student's training, and the budget below which they are free."""

from __future__ import annotations

import numpy as np
from torch import nn

from snn2hw import families
from snn2hw import target as targets
from snn2hw.datasets import Dataset
from snn2hw.errors import InputError
from snn2hw.train import students
from snn2hw.train.chip import rules_of
from snn2hw.train.methods import Cost
from snn2hw.train.recipe import Recipe
from snn2hw.train.students import Spiking

# Training samples whose input events are counted for a budget.
INPUTS_COUNTED = 1000


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
