# pyright: basic
"""Gradients through mean rates: a training that does not unroll time (DSR, arXiv:2205.00459).

The student first runs spiking, without gradients. Then it runs once more on mean rates: a neuron
is ``clamp(I / threshold, 0, 1)`` of its mean current I, whose value is replaced by the rate that it
really had. So weights get the gradient of the second pass at the values of the first, and the
memory that training takes does not grow with T. For integrate-and-fire neurons that reset by
subtraction the clamp is their rate in the limit of many steps; for others it is an approximation
(the paper's weighted rates for leaky neurons are not used here).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.evaluation import outputs_of
from snn2hw.train.methods import Outputs
from snn2hw.train.neurons import Lif
from snn2hw.train.students import SOURCE, Branches, Student


def rate_outputs(network: nn.Module, x: Tensor, scale: float = 1.0) -> Outputs:
    """Return a student's outputs with one step, the mean; gradients go through rates.

    Args:
        network: a ``Student``.
        x: integers ``[B, ...]``.
        scale: as in ``outputs_of``.

    Raises:
        InputError: the network is no student of ours, or it is recurrent.
    """
    if not isinstance(network, Student):
        raise InputError(
            f"Method 'dsr' does not train a {type(network).__name__}.", "Use one of our students."
        )
    if network.recurrent:
        raise InputError(
            "Method 'dsr' does not train recurrent students: a mean has no next step.",
            "Leave out 'dsr'.",
        )
    if any(n.most > 1 or n.bias is not None for n in network.populations().values()):
        raise InputError(
            "Method 'dsr' does not train neurons that send several spikes a step, or whose bias "
            "acts on the membrane.",
            "Leave out 'dsr'.",
        )
    with torch.no_grad():
        real = outputs_of(network, x, scale)
    rates: dict[str, Tensor] = {SOURCE: network.encode(x).mean(0, keepdim=True)}
    known: dict[Branches, Tensor] = {}
    with _statistics_kept(network):
        for population in network.wiring:
            current = network.current(population, rates, known)
            neuron = network.get_submodule(population.name)
            if isinstance(neuron, Lif):
                smooth = (current / neuron.threshold).clamp(0.0, 1.0)
                held = real.spikes[population.name].float().mean(0, keepdim=True)
                current = smooth + (held - smooth).detach()
            rates[population.name] = current
    spiking = network.output in real.spikes
    last = rates[network.output]
    steps = last.float() * scale if spiking else real.logits[None] + (last - last.detach())
    features = {n: rates[n][0].float() for n in real.features}
    # What spikes cost is counted over all steps.
    spikes = {
        n: rates[n].float().expand(network.steps(x), *rates[n].shape[1:]) for n in real.spikes
    }
    return Outputs(steps, features, spikes)


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    """Keep batch norm from counting a batch twice."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    before = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
