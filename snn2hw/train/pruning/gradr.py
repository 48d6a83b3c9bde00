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

    def __init__(self, weight: Tensor, share: float) -> None:
        super().__init__(weight)
        self.register_buffer("sign", torch.where(weight.detach() < 0, -1.0, 1.0).to(weight.dtype))
        self.scale = max(float(weight.detach().abs().mean()), 1e-12)
        self.center = center(share, self.scale)

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
        """Return theta in units of the layer's first mean magnitude: comparable between layers."""
        return original.view(self.keep.shape) / self.scale

    def settle(self, original: Tensor) -> None:
        """Give every kept connection a positive strength."""
        kept = original.view(self.keep.shape)
        kept.copy_(torch.where(self.keep, kept.clamp_min(RENEWED * self.scale), kept))


class GradR(Searching):
    """Grad R to an asked sparsity.

    After each step of the optimizer ``theta -= force * lr * scale * sign(theta - mu)``, not past
    ``mu``, where ``scale`` is the mean magnitude of the layer's weights at the start.

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
        modules = {n: Strength(m.weight, share) for n, m in found.items()}
        super().__init__(network, share, epochs, steps, modules)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Apply the prior."""
        if self.hard:
            return
        rate = float(optimizer.param_groups[0]["lr"])
        with torch.no_grad():
            for name, module in self.modules.items():
                assert isinstance(module, Strength)
                theta = self.original(name)
                way = theta - module.center
                most = self.force * rate * module.scale
                theta.sub_(way.clamp(-most, most))
        super().after_step(optimizer)
