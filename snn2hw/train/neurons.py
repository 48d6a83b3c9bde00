# pyright: basic
"""Leaky integrate-and-fire neurons over all time steps as one differentiable function.

One step is ``v = beta v + I``; a spike ``s`` where ``v > threshold``; then ``v = 0`` there, or
``v -= threshold``. This is the forward-Euler step of ``ir.network.Lif``, so what is trained is
what is exported.

The backward pass replaces the derivative of the spike by a surrogate (Neftci et al., 2019,
IEEE Signal Processing Magazine 36(6)) and treats the reset as constant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.ir.network import Reset

BETA_STEPS = 4096


def surrogate(v: Tensor, threshold: float) -> Tensor:
    """Slope used for the spike at membrane ``v``: a triangle of area 1 around the threshold.

    ``max(0, 1 - |v / threshold - 1|) / threshold`` (Bellec et al., 2018, arXiv:1803.09574).
    """
    return (v - threshold).abs_().mul_(-1.0 / threshold**2).add_(1.0 / threshold).clamp_min_(0.0)


class _LifFunction(torch.autograd.Function):
    """All time steps at once; only the membrane before reset is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, beta: float, threshold: float, reset: str) -> Tensor:
        before = torch.empty_like(current, memory_format=torch.contiguous_format)
        v = torch.zeros_like(before[0])
        for t in range(current.shape[0]):
            u = torch.add(current[t], v, alpha=beta, out=before[t])
            if reset == "zero":
                v = u.masked_fill(u > threshold, 0.0)
            else:
                v = torch.where(u > threshold, u - threshold, u)
        ctx.save_for_backward(before)
        ctx.constants = beta, threshold, reset
        return (before > threshold).to(current.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (before,) = ctx.saved_tensors
        beta, threshold, reset = ctx.constants
        slope = surrogate(before, threshold).mul_(grads[0])
        for t in range(before.shape[0] - 2, -1, -1):
            later = slope[t + 1]
            if reset == "zero":
                later = later.masked_fill(before[t] > threshold, 0.0)
            slope[t].add_(later, alpha=beta)
        return slope, None, None, None


def lif(current: Tensor, beta: float, threshold: float = 1.0, reset: Reset = "zero") -> Tensor:
    """Run neurons from rest over all time steps.

    Args:
        current: input current ``[T, B, ...]``.
        beta: share of the membrane potential that survives a step.
        threshold: a neuron spikes when its potential exceeds this.
        reset: what follows a spike: potential to zero, or less the threshold.

    Returns:
        Spikes, 0 or 1, of the same shape.
    """
    return _LifFunction.apply(current, beta, threshold, reset)  # type: ignore[return-value]


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.threshold = threshold
        return (v > threshold).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grads[0] * surrogate(v, ctx.threshold), None


def lif_definition(
    current: Tensor, beta: float, threshold: float = 1.0, reset: Reset = "zero"
) -> Tensor:
    """Compute what ``lif`` does, step by step through autograd: slow, and easy to believe."""
    v = torch.zeros_like(current[0])
    spikes = []
    for step in current:
        v = beta * v + step
        s: Tensor = _Spike.apply(v, threshold)  # type: ignore[assignment]
        spikes.append(s)
        fired = s.detach()
        v = v * (1.0 - fired) if reset == "zero" else v - threshold * fired
    return torch.stack(spikes)


class Lif(nn.Module):
    """A population of neurons without parameters to train.

    Args:
        beta: share of the membrane potential that survives a step, a multiple of 1/4096 in
            0 to 1, so that a chip holds it exactly.
        threshold: firing threshold, positive.
        reset: ``zero`` or ``subtract``.

    Raises:
        InputError: a value is out of range, or beta is no multiple of 1/4096.
    """

    def __init__(self, beta: float = 0.5, threshold: float = 1.0, reset: Reset = "zero") -> None:
        super().__init__()
        if not 0.0 <= beta <= 1.0 or beta * BETA_STEPS != round(beta * BETA_STEPS):
            near = min(max(round(beta * BETA_STEPS) / BETA_STEPS, 0.0), 1.0)
            raise InputError(
                f"beta is {beta}, not a multiple of 1/{BETA_STEPS} from 0 to 1.",
                f"The nearest is {near!r}.",
            )
        if not threshold > 0:
            raise InputError(f"The threshold is {threshold}, not positive.")
        if reset not in ("zero", "subtract"):
            raise InputError(f"reset is {reset!r}, neither 'zero' nor 'subtract'.")
        self.beta, self.threshold, self.reset = beta, threshold, reset

    def forward(self, current: Tensor) -> Tensor:
        """Map current ``[T, B, ...]`` to spikes of the same shape."""
        # Mixed precision may offer 16 bits: too few to add up a membrane in.
        wide = current if current.dtype == torch.float64 else current.float()
        return lif(wide, self.beta, self.threshold, self.reset)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """Show the constants in ``print(module)``."""
        return f"beta={self.beta}, threshold={self.threshold}, reset={self.reset!r}"
