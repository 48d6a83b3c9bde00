# pyright: basic
"""Pruning that is learned: a value for each weight, above zero while the connection lives.

For the first part of the epochs the values are trained with the weights. The published methods pull
them down with a fixed force and take the sparsity that comes out. Here the sparsity is asked for:
several times an epoch all values go down together, just so far that the share of them at or below
zero is what a cubic schedule wants (the force as the multiplier of a constraint). Values may rise
again in between. Then the lowest are cut, exactly the asked number of them, and the rest is
fine-tuned as ordinary weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snn2hw.train.pruning import masks
from snn2hw.train.structure import Structure

SEARCH = 0.6  # share of the epochs in which values are learned
TIMES = 20  # an epoch, that values go down


class Valued(nn.Module):
    """A parametrization that gives each entry of a weight a value; the cut makes it a mask.

    ``hard`` and ``keep`` are buffers: a checkpoint of the network holds them.
    """

    hard: Tensor
    keep: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("hard", torch.zeros((), dtype=torch.bool, device=weight.device))
        self.register_buffer("keep", torch.ones_like(weight, dtype=torch.bool))

    def values(self, original: Tensor) -> Tensor:
        """Return the values, in the weight's shape."""
        raise NotImplementedError

    def lower(self, original: Tensor, by: float) -> None:
        """Let all values go down by ``by``."""
        raise NotImplementedError

    def settle(self, original: Tensor) -> None:
        """Prepare what is kept for being an ordinary weight."""


class Searching(Structure):
    """What the pruners with learned values have in common.

    Args:
        network: what to prune, in place; its weights are parametrized until ``finish``.
        share: sparsity at the end.
        epochs: of the whole fine-tuning.
        steps: of one epoch.
        modules: the parametrization of each layer, by the layer's name.
    """

    def __init__(
        self,
        network: nn.Module,
        share: float,
        epochs: int,
        steps: int,
        modules: Mapping[str, Valued],
    ) -> None:
        masks.choose(masks.weights(network), share)  # refuses what the cut would refuse
        self.network, self.share = network, share
        self.search = max(1, round(SEARCH * epochs))
        self.steps = max(1, self.search * steps)
        self.each = steps
        self.step = 0
        self.modules = dict(modules)
        for name, layer in masks.layers(network).items():
            parametrize.register_parametrization(layer, "weight", self.modules[name])
        self.start = self.found()

    def original(self, name: str) -> nn.Parameter:
        """Return the parameter that a layer's weight is computed from."""
        layer = self.network.get_submodule(name)
        return layer.parametrizations["weight"].original  # type: ignore[index,union-attr,return-value]

    @property
    def hard(self) -> bool:
        """The cut has been made."""
        return all(bool(m.hard) for m in self.modules.values())

    def values(self) -> dict[str, Tensor]:
        """Return the value of each weight, by name."""
        with torch.no_grad():
            return {n: m.values(self.original(n)) for n, m in self.modules.items()}

    def found(self) -> float:
        """Return the share of values at or below zero."""
        values = self.values().values()
        return sum(int((v <= 0).sum()) for v in values) / sum(v.numel() for v in values)

    def before_epoch(self, epoch: int) -> None:
        """Cut, when the search is over."""
        self.step = epoch * self.each
        if epoch >= self.search:
            self.cut()

    def after_backward(self, step: int, steps: int) -> None:
        """Remember where the search is."""
        self.step = step

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let as many values fall to zero as the schedule wants."""
        if self.hard or self.step % max(1, self.each // TIMES):
            return
        wanted = masks.scheduled(self.step, self.steps, self.start, self.share)
        values = torch.cat([v.flatten() for v in self.values().values()])
        number = masks.count(wanted, values.numel())
        if number < 1:
            return
        by = float(torch.kthvalue(values.detach(), number).values)
        if by > 0.0:
            with torch.no_grad():
                for name, module in self.modules.items():
                    module.lower(self.original(name), by)

    def cut(self) -> None:
        """Keep exactly the asked number of connections, those with the highest values."""
        if self.hard:
            return
        chosen = masks.choose(self.values(), self.share)
        with torch.no_grad():
            for name, module in self.modules.items():
                module.keep.copy_(chosen[name])
                module.settle(self.original(name))
                module.hard.fill_(True)

    def finish(self) -> None:
        """Leave plain modules with exact zeros."""
        if not any(parametrize.is_parametrized(m) for m in masks.layers(self.network).values()):
            return
        self.cut()
        for name, layer in masks.layers(self.network).items():
            keep = self.modules[name].keep
            final = layer.weight.detach().masked_fill(~keep, 0.0)
            parametrize.remove_parametrizations(layer, "weight")
            with torch.no_grad():
                layer.weight.copy_(final)
