# pyright: basic
"""Gradual pruning by a score: weights that matter least become zero while training goes on.

The sparsity rises on a cubic schedule over the first half of the epochs (Zhu and Gupta, 2017,
arXiv:1710.01878); the second half is fine-tuning. What was removed stays removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from snn2hw.train.pruning import masks
from snn2hw.train.structure import Structure

Scores = Callable[[Tensor], Tensor]


def lamp(weight: Tensor) -> Tensor:
    """Return the LAMP score of each weight, from 0 to 1, in the weight's shape.

    The square of a weight over the sum of squares of those in its layer that are at least as large
    (Lee et al., ICLR 2021, arXiv:2010.07611). Magnitude alone compares layers whose scales batch
    norm makes arbitrary.
    """
    squares = weight.detach().cpu().double().flatten().square()
    order = torch.argsort(squares, stable=True)
    ordered = squares[order]
    at_least = ordered.flip(0).cumsum(0).flip(0)
    found = torch.empty_like(squares)
    found[order] = ordered / at_least.clamp_min(torch.finfo(squares.dtype).tiny)
    return found.reshape(weight.shape)


def magnitude(weight: Tensor) -> Tensor:
    """Return the magnitude of each weight: one threshold for all layers."""
    return weight.detach().cpu().double().abs()


def layerwise(weight: Tensor) -> Tensor:
    """Return each weight's place in its layer by magnitude: every layer loses the same share."""
    flat = magnitude(weight).flatten()
    found = torch.empty_like(flat)
    places = torch.arange(flat.numel(), dtype=flat.dtype)
    found[torch.argsort(flat, stable=True)] = (places + 0.5) / flat.numel()
    return found.reshape(weight.shape)


class Gradual(Structure):
    """Prunes step by step, and keeps its zeros zero.

    Args:
        network: what to prune, in place.
        share: sparsity at the end.
        epochs: of the whole fine-tuning; pruning takes the first half.
        scores: of one layer's weights, comparable between layers.
        inputs: the most that a neuron of a dense layer may listen to; None for any number.

    Raises:
        InputError: the share cannot be had.
    """

    def __init__(
        self,
        network: nn.Module,
        share: float,
        epochs: int,
        scores: Scores = lamp,
        inputs: int | None = None,
    ) -> None:
        self.network, self.share, self.scores = network, share, scores
        self.ramp = max(1, epochs // 2)
        self.start = min(masks.sparsity(network), share)
        self.masks: dict[str, Tensor] = {}
        self.most = None if inputs is None else masks.most_inputs(network, inputs)
        self._choose(share)  # refuses now what it would refuse at the end

    def _choose(self, share: float) -> dict[str, Tensor]:
        found = {n: self.scores(w) for n, w in masks.weights(self.network).items()}
        return masks.choose(found, share, self.masks or None, self.most)

    def before_epoch(self, epoch: int) -> None:
        """Choose the weights of this epoch and zero the others."""
        if epoch < self.ramp:
            share = masks.scheduled(epoch, self.ramp, self.start, self.share)
            self.masks = self._choose(share)
        masks.apply(self.network, self.masks)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero what is pruned."""
        masks.apply(self.network, self.masks)

    def state(self) -> dict[str, Tensor]:
        """Return the masks, and the sparsity that the schedule began with."""
        start = torch.tensor(self.start, dtype=torch.float64)
        return masks.packed(self.masks) | {"start": start}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` returned."""
        self.masks, self.start = masks.unpacked(self.network, tensors), float(tensors["start"])

    def finish(self) -> None:
        """Zero what is pruned; what no epoch pruned is pruned now."""
        if not self.masks:
            self.masks = self._choose(self.share)
        masks.apply(self.network, self.masks)
