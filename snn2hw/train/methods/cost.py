# pyright: basic
"""What spikes cost, as a part of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Cost(NamedTuple):
    """How much spikes weigh in the loss, and what one of them costs.

    Args:
        weight: of the share: every neuron spiking at every step costs 1.
        prices: of one spike by population, in any unit: its fan-out (then the unit is synaptic
            operations), or that times a target's price. Populations that are left out cost nothing.
        budget: cost of a sample, in the unit of the prices, below which nothing is charged; 0
            charges everything.
    """

    weight: float
    prices: Mapping[str, float]
    budget: float = 0.0

    def __call__(self, spikes: Mapping[str, Tensor]) -> Tensor:
        """Return what is added to the loss for spikes ``[T, B, ...]`` by population.

        Under a budget: by how much the cost of a mean sample is over it, as a share of it.
        """
        spent = torch.zeros(())
        most = 0.0
        for name, price in self.prices.items():
            if name not in spikes:
                continue
            s = spikes[name]
            everything = price * s[:, 0].numel()
            spent = spent.to(s.device) + s.float().mean() * everything
            most += everything
        if self.budget > 0:
            return self.weight * (spent / self.budget - 1.0).clamp_min(0.0)
        return self.weight * spent / max(most, 1e-12)


# Where a budget is not met yet, the weight of its excess grows by this factor in each epoch.
GROWTH = 1.5
