# pyright: basic
"""Grad R: connections that gradients bring back (Chen et al., IJCAI 2021, arXiv:2105.04916).

``w = sign * max(theta, 0)``: the sign of a synapse is fixed, its strength is zero where theta is
not positive, and the gradient reaches theta there too, so that growing back needs no rule. A prior
pulls each theta towards ``mu``: that of a Laplace distribution of which the asked share lies below
zero.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from snn2hw.train.pruning import masks
from snn2hw.train.pruning.searching import Searching, Valued

# A connection that the cut keeps although its theta is not positive begins again with this share
# of its layer's mean magnitude.
RENEWED = 1e-3


def center(share: float, scale: float) -> float:
    """Return ``mu`` of the Laplace distribution with ``P(theta > 0) = 1 - share``.

    ``scale`` is the mean distance from ``mu``. For a share of a half and more it is the published
    ``ln(2 (1 - share)) / alpha`` with ``alpha = 1 / scale``; below, the same by symmetry.
    """
    if share >= 0.5:
        return scale * math.log(2.0 * (1.0 - share))
    return -scale * math.log(2.0 * max(share, 1e-12))


class _Strength(torch.autograd.Function):
    """``max(theta, 0)``, through which every gradient passes."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor) -> Tensor:
        return theta.clamp_min(0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Strength(Valued):
    """Parametrization: theta ``[weights]`` to a weight, its signs fixed.

    Theta is flat because weight decay, which would pull it to zero from below as well, spares
    parameters of one dimension.
    """

    sign: Tensor

    def __init__(self, weight: Tensor, share: float, scale: float) -> None:
        super().__init__(weight)
        self.register_buffer("sign", torch.where(weight.detach() < 0, -1.0, 1.0).to(weight.dtype))
        self.scale = max(float(weight.detach().abs().mean()), 1e-12)
        self.center = center(share, scale)

    def forward(self, theta: Tensor) -> Tensor:
        """Return the weight."""
        theta = theta.view(self.keep.shape)
        free = theta * self.keep
        strength: Tensor = _Strength.apply(theta)  # type: ignore[assignment]
        return self.sign * torch.where(self.hard, free, strength)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the theta that gives a weight."""
        return (weight * self.sign).flatten()

    def values(self, original: Tensor) -> Tensor:
        """Return theta."""
        return original.view(self.keep.shape)

    def lower(self, original: Tensor, by: float) -> None:
        """Apply the prior: theta moves towards mu, and not past it."""
        original.sub_((original - self.center).clamp(-by, by))

    def settle(self, original: Tensor) -> None:
        """Give every kept connection a positive strength."""
        kept = original.view(self.keep.shape)
        kept.copy_(torch.where(self.keep, kept.clamp_min(RENEWED * self.scale), kept))


class GradR(Searching):
    """Grad R to an asked sparsity.

    The prior's step is ``theta -= a * sign(theta - mu)``, not past ``mu``, which is one for all
    layers; a is what the schedule wants.

    Args:
        network: what to prune, in place; parametrized until ``finish``.
        share: sparsity at the end.
        epochs: of the whole fine-tuning.
        steps: of one epoch.

    Raises:
        InputError: the share cannot be had.
    """

    def __init__(self, network: nn.Module, share: float, epochs: int, steps: int) -> None:
        found = masks.layers(network)
        masks.check_share(share)
        every = torch.cat([m.weight.detach().abs().flatten() for m in found.values()])
        scale = max(float(every.mean()), 1e-12)
        modules = {n: Strength(m.weight, share, scale) for n, m in found.items()}
        super().__init__(network, share, epochs, steps, modules)
