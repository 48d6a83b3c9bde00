# pyright: basic
"""Pruning: weights that matter least become zero while training goes on.

Weights of all convolutions and dense layers are ranked together by LAMP (Lee et al., ICLR
2021, arXiv:2010.07611): the square of a weight over the sum of squares of those in its layer
that are at least as large. Magnitude alone would compare layers whose scales batch norm makes
arbitrary. Biases and batch norm stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.structure import Structure

FLOOR = 0.02  # share of each layer that is kept whatever its scores: no layer dies


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the prunable weights by name: those of convolutions and dense layers."""
    return {
        f"{name}.weight": module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def sparsity(network: nn.Module) -> float:
    """Return the share of weights that are exactly zero."""
    found = weights(network).values()
    total = sum(w.numel() for w in found)
    return sum(int((w == 0).sum()) for w in found) / max(total, 1)


def scores(weight: Tensor) -> Tensor:
    """Return the LAMP score of each weight, from 0 to 1, in the weight's shape."""
    squares = weight.detach().cpu().double().flatten().square()
    order = torch.argsort(squares, stable=True)
    ordered = squares[order]
    at_least = ordered.flip(0).cumsum(0).flip(0)
    found = torch.empty_like(squares)
    found[order] = ordered / at_least.clamp_min(torch.finfo(squares.dtype).tiny)
    return found.reshape(weight.shape)


def masks(layers: Mapping[str, Tensor], share: float, floor: float = FLOOR) -> dict[str, Tensor]:
    """Choose which weights stay: boolean masks with at least ``share`` of all entries False.

    Args:
        layers: weights by name.
        share: what part of them all goes, 0 to 1.
        floor: what part of each layer stays in any case (one weight at the least).

    Raises:
        InputError: the share is not from 0 to below 1, or the floors do not allow it.
    """
    if not 0.0 <= share < 1.0:
        raise InputError(f"Sparsity is {share}, not from 0 to below 1.")
    ranked: list[Tensor] = []
    for weight in layers.values():
        score = scores(weight).flatten()
        kept = max(1, math.ceil(floor * score.numel()))
        score[torch.topk(score, kept).indices] = math.inf
        ranked.append(score)
    everything = torch.cat(ranked)
    remove = math.ceil(share * everything.numel())
    if int(torch.isinf(everything).sum()) > everything.numel() - remove:
        raise InputError(
            f"Sparsity {share:g} leaves less than {floor:.0%} of some layer.",
            f"Ask for less than {1 - floor:.2f}.",
        )
    keep = torch.ones_like(everything, dtype=torch.bool)
    keep[torch.argsort(everything, stable=True)[:remove]] = False
    parts = torch.split(keep, [s.numel() for s in ranked])
    return {n: p.reshape(w.shape) for (n, w), p in zip(layers.items(), parts, strict=True)}


def scheduled(epoch: int, ramp: int, start: float, final: float) -> float:
    """Return the sparsity for an epoch: cubic over ``ramp`` epochs (Zhu and Gupta, 2017)."""
    done = min(1.0, (epoch + 1) / max(ramp, 1))
    return final + (start - final) * (1.0 - done) ** 3


class Pruner(Structure):
    """Prunes a network step by step, and keeps its zeros zero.

    All it knows follows from the weights and the epoch, so a resumed run needs no state.

    Args:
        network: what to prune, in place.
        final: sparsity at the end.
        epochs: of the whole fine-tuning; pruning takes the first half.
    """

    def __init__(self, network: nn.Module, final: float, epochs: int) -> None:
        self.network, self.final = network, final
        self.ramp = max(1, epochs // 2)
        self.start = min(sparsity(network), final)
        self.masks: dict[str, Tensor] = {}
        masks(weights(network), final)  # refuses now what it would refuse at the end

    def before_epoch(self, epoch: int) -> None:
        """Choose the weights of this epoch and zero the others."""
        found = weights(self.network)
        if epoch < self.ramp:
            share = scheduled(epoch, self.ramp, self.start, self.final)
            self.masks = masks(found, share)
        else:
            self.masks = {n: w != 0 for n, w in found.items()}
        self.apply()

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep zeros zero."""
        self.apply()

    def apply(self) -> None:
        """Zero what is pruned: an optimizer's momentum moves zeros too."""
        with torch.no_grad():
            for name, weight in weights(self.network).items():
                weight.mul_(self.masks[name].to(weight.device))
